// The filter for AVX2.
#include "search/filter_avx.h"

namespace rrn::internal {
namespace {

// The instruction multiplies unsigned by signed bytes and adds two products in 16 bits, saturated. |b| times a with b's
// sign is the same product, and 2 * 127 * 127 stays below 2^15.
struct MultiplyAvx2 {
  struct Right {
    __m256i value;
    __m256i magnitude;
  };
  static __m256i Start(const std::int32_t* /*sums*/) { return _mm256_setzero_si256(); }
  static Right Prepare(__m256i b) { return {b, _mm256_abs_epi8(b)}; }
  static __m256i Add(__m256i sums, __m256i a, const Right& b) {
    const __m256i twos = _mm256_maddubs_epi16(b.magnitude, _mm256_sign_epi8(a, b.value));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(twos, _mm256_set1_epi16(1)));
  }
};

}  // namespace

std::int32_t DotBytesAvx2(const std::int8_t* a, const std::int8_t* b, std::size_t dim) {
  constexpr std::size_t kBytes = 32;
  const std::size_t whole = dim - dim % kBytes;
  __m256i sums = _mm256_setzero_si256();
  for (std::size_t d = 0; d < whole; d += kBytes) {
    const __m256i left = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + d));
    const __m256i right = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + d));
    sums = MultiplyAvx2::Add(sums, left, MultiplyAvx2::Prepare(right));
  }
  std::int32_t lanes[8];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), sums);
  std::int32_t sum = 0;
  for (const std::int32_t lane : lanes) sum += lane;
  for (std::size_t d = whole; d < dim; ++d) sum += a[d] * b[d];
  return sum;
}

bool FilterAvx2(const FilterBlock& block) { return FilterAvx<MultiplyAvx2>(block); }

// A row's bytes have kNarrowOffset added: 127 (127 + 127) stays below 2^15. Sums may leave 16 bits on the way; without
// what the offset has added, the last ones do not, and only those count.
bool FilterNarrowAvx2(const FilterBlock& block) {
  constexpr std::size_t kRows = 4;  // 4 x 2 registers of sums, each of two halves of 8 columns
  constexpr std::size_t kColumns = 8;
  const __m256i offsets = _mm256_set1_epi8(kNarrowOffset);
  const __m256i ones = _mm256_set1_epi16(1);
  std::uint32_t any = 0;
  for (std::size_t i = 0; i < block.rows; ++i) block.flags[i] = 0;
  for (std::size_t pack = 0; pack < 2; ++pack) {
    const auto* right = reinterpret_cast<const __m256i*>(block.b + pack * kPackRows * kFilterDepth);
    const std::size_t column = pack * kPackRows;
    const __m256 scales0 = _mm256_loadu_ps(block.b_scales + column);
    const __m256 scales1 = _mm256_loadu_ps(block.b_scales + column + kColumns);
    __m256i start0 = _mm256_setzero_si256();
    __m256i start1 = start0;
    for (std::size_t d = 0; d < kFilterDepth; d += 4) {
      start0 = _mm256_sub_epi16(start0, _mm256_maddubs_epi16(offsets, _mm256_loadu_si256(right + d / 2)));
      start1 = _mm256_sub_epi16(start1, _mm256_maddubs_epi16(offsets, _mm256_loadu_si256(right + d / 2 + 1)));
    }
    for (std::size_t i = 0; i < block.rows; i += kRows) {
      __m256i sums[kRows][2];
      for (auto& row : sums) {
        row[0] = start0;
        row[1] = start1;
      }
      const std::int8_t* left = block.a + i * kFilterDepth;
      for (std::size_t d = 0; d < kFilterDepth; d += 4) {
        const __m256i b0 = _mm256_loadu_si256(right + d / 2);
        const __m256i b1 = _mm256_loadu_si256(right + d / 2 + 1);
        for (std::size_t r = 0; r < kRows; ++r) {
          std::int32_t four = 0;
          __builtin_memcpy(&four, left + r * kFilterDepth + d, sizeof four);
          const __m256i a = _mm256_set1_epi32(four);
          sums[r][0] = _mm256_add_epi16(sums[r][0], _mm256_maddubs_epi16(a, b0));
          sums[r][1] = _mm256_add_epi16(sums[r][1], _mm256_maddubs_epi16(a, b1));
        }
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m256 limit = _mm256_set1_ps(block.a_limits[i + r]);
        const __m256 low = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_madd_epi16(sums[r][0], ones)), scales0);
        const __m256 high = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_madd_epi16(sums[r][1], ones)), scales1);
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
