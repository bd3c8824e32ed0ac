// What the two filters for 256-bit registers share; they differ in how four bytes are multiplied and added.
#ifndef RRN_SEARCH_FILTER_AVX_H_
#define RRN_SEARCH_FILTER_AVX_H_

#include <immintrin.h>

#include "search/filter_kernel.h"

namespace rrn::internal {

// Static, so that each instruction set has a copy of its own. `Multiply` has Right, Prepare and Add:
//   Right Prepare(__m256i b)                             once for every register of b
//   __m256i Add(__m256i sums, __m256i a, const Right& b)  sums + products of four neighbouring bytes
template <typename Multiply>
static inline bool FilterAvx(const FilterBlock& block) {
  constexpr std::size_t kRows = 4;  // 4 x 2 registers of sums, of 16
  constexpr std::size_t kColumns = 8;
  std::uint32_t any = 0;
  for (std::size_t i = 0; i < kFilterRows; ++i) block.flags[i] = 0;
  // A pack is two registers wide.
  for (std::size_t pack = 0; pack < 2; ++pack) {
    const std::int8_t* right = block.b + pack * kPackRows * block.depth;
    const std::size_t column = pack * kPackRows;
    const __m256 scales0 = _mm256_loadu_ps(block.b_scales + column);
    const __m256 scales1 = _mm256_loadu_ps(block.b_scales + column + kColumns);
    const __m256i start0 = Multiply::Start(block.b_sums + column);
    const __m256i start1 = Multiply::Start(block.b_sums + column + kColumns);
    for (std::size_t i = 0; i < kFilterRows; i += kRows) {
      __m256i sums[kRows][2];
      for (auto& row : sums) {
        row[0] = start0;
        row[1] = start1;
      }
      for (std::size_t d = 0; d < block.depth; d += 4) {
        const auto* packed = reinterpret_cast<const __m256i*>(right + d * kPackRows);
        const typename Multiply::Right b0 = Multiply::Prepare(_mm256_loadu_si256(packed));
        const typename Multiply::Right b1 = Multiply::Prepare(_mm256_loadu_si256(packed + 1));
        for (std::size_t r = 0; r < kRows; ++r) {
          std::int32_t four = 0;
          __builtin_memcpy(&four, block.a + (i + r) * block.depth + d, sizeof four);
          const __m256i a = _mm256_set1_epi32(four);
          sums[r][0] = Multiply::Add(sums[r][0], a, b0);
          sums[r][1] = Multiply::Add(sums[r][1], a, b1);
        }
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m256 limit = _mm256_set1_ps(block.a_limits[i + r]);
        const __m256 low = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[r][0]), scales0);
        const __m256 high = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[r][1]), scales1);
        const int first = _mm256_movemask_ps(_mm256_cmp_ps(low, limit, _CMP_NLE_UQ));
        const int second = _mm256_movemask_ps(_mm256_cmp_ps(high, limit, _CMP_NLE_UQ));
        const std::uint32_t both = static_cast<std::uint32_t>(first) | static_cast<std::uint32_t>(second) << kColumns;
        block.flags[i + r] |= both << column;
        any |= both;
      }
    }
  }
  return any != 0;
}

}  // namespace rrn::internal

#endif  // RRN_SEARCH_FILTER_AVX_H_
