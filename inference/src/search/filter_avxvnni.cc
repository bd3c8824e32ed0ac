// The filter for AVX2 with VNNI, which Intel's and AMD's newer desktop processors have.
#include "search/filter_avx.h"

namespace rrn::internal {
namespace {

struct MultiplyAvxVnni {
  using Right = __m256i;
  // The 128 that was added to every byte of `a` has added 128 times the column's sum.
  static __m256i Start(const std::int32_t* sums) {
    const __m256i value = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums));
    return _mm256_mullo_epi32(value, _mm256_set1_epi32(-128));
  }
  static Right Prepare(__m256i b) { return b; }
  static __m256i Add(__m256i sums, __m256i a, const Right& b) { return _mm256_dpbusd_avx_epi32(sums, a, b); }
};

}  // namespace

bool FilterAvxVnni(const FilterBlock& block) { return FilterAvx<MultiplyAvxVnni>(block); }

}  // namespace rrn::internal
