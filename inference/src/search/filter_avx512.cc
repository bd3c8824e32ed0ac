// The filter for AVX-512 with VNNI.
#include <immintrin.h>

#include "search/filter_kernel.h"

namespace rrn::internal {

bool FilterAvx512Vnni(const FilterBlock& block) {
  // Without a mask, GCC 12 warns of an uninitialised value in its own header.
  constexpr __mmask16 kAll = 0xFFFF;
  constexpr std::size_t kRows = 8;  // 8 x 2 registers of sums
  constexpr std::size_t kColumns = 16;
  const std::int8_t* right0 = block.b;
  const std::int8_t* right1 = block.b + kPackRows * block.depth;
  const __m512 scales0 = _mm512_loadu_ps(block.b_scales);
  const __m512 scales1 = _mm512_loadu_ps(block.b_scales + kColumns);
  // The 128 that was added to every byte of `a` has added 128 times the column's sum.
  const __m512i start0 = _mm512_mullo_epi32(_mm512_loadu_si512(block.b_sums), _mm512_set1_epi32(-128));
  const __m512i start1 = _mm512_mullo_epi32(_mm512_loadu_si512(block.b_sums + kColumns), _mm512_set1_epi32(-128));
  std::uint32_t any = 0;
  for (std::size_t i = 0; i < kFilterRows; i += kRows) {
    __m512i sums[kRows][2];
    for (auto& row : sums) {
      row[0] = start0;
      row[1] = start1;
    }
    for (std::size_t d = 0; d < block.depth; d += 4) {
      const __m512i b0 = _mm512_loadu_si512(right0 + d * kPackRows);
      const __m512i b1 = _mm512_loadu_si512(right1 + d * kPackRows);
      for (std::size_t r = 0; r < kRows; ++r) {
        std::int32_t four = 0;
        __builtin_memcpy(&four, block.a + (i + r) * block.depth + d, sizeof four);
        const __m512i a = _mm512_set1_epi32(four);
        sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], a, b0);
        sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], a, b1);
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      const __m512 limit = _mm512_set1_ps(block.a_limits[i + r]);
      const __m512 left = _mm512_mul_ps(_mm512_maskz_cvtepi32_ps(kAll, sums[r][0]), scales0);
      const __m512 right = _mm512_mul_ps(_mm512_maskz_cvtepi32_ps(kAll, sums[r][1]), scales1);
      const std::uint32_t low = _mm512_cmp_ps_mask(left, limit, _CMP_NLE_UQ);
      const std::uint32_t high = _mm512_cmp_ps_mask(right, limit, _CMP_NLE_UQ);
      block.flags[i + r] = low | high << kColumns;
      any |= block.flags[i + r];
    }
  }
  return any != 0;
}

}  // namespace rrn::internal
