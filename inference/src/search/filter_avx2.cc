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
  constexpr std::size_t kBytes = 16;
  const std::size_t whole = dim - dim % kBytes;
  __m256i sums = _mm256_setzero_si256();
  for (std::size_t d = 0; d < whole; d += kBytes) {
    const __m256i left = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + d)));
    const __m256i right = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + d)));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(left, right));
  }
  std::int32_t lanes[8];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), sums);
  std::int32_t sum = 0;
  for (const std::int32_t lane : lanes) sum += lane;
  for (std::size_t d = whole; d < dim; ++d) sum += a[d] * b[d];
  return sum;
}

bool FilterAvx2(const FilterBlock& block) { return FilterAvx<MultiplyAvx2>(block); }

}  // namespace rrn::internal
