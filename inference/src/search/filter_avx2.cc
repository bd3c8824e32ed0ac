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

bool FilterAvx2(const FilterBlock& block) { return FilterAvx<MultiplyAvx2>(block); }

}  // namespace rrn::internal
