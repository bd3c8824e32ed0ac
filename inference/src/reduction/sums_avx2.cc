// The loops for AVX2 and F16C, chosen at run time. The instruction set is named here and not in a build file, because
// setuptools, which can build the PyTorch op, gives all files the same flags.
#ifdef __x86_64__

// Before the pragma: what these define must not be compiled for AVX2.
#include <immintrin.h>

#include <cstdint>

#include "reduction/sums.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,f16c")
#endif

#include "reduction/sums_kernel.h"

namespace rrn::internal {
namespace {

// Each Format has
//   Element                            the storage
//   __m256 Load(const Element* from)   8 of them
//   void Save(__m256 values, Element* to)

struct Float32 {
  using Element = float;
  static __m256 Load(const float* from) { return _mm256_loadu_ps(from); }
  static void Save(__m256 values, float* to) { _mm256_storeu_ps(to, values); }
};

__m128i Load8(const std::uint16_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
void Save8(__m128i values, std::uint16_t* to) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), values); }

struct Float16 {
  using Element = std::uint16_t;
  static __m256 Load(const std::uint16_t* from) { return _mm256_cvtph_ps(Load8(from)); }
  static void Save(__m256 values, std::uint16_t* to) { Save8(_mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT), to); }
};

// bfloat16 is the upper half of float32.
struct BrainFloat16 {
  using Element = std::uint16_t;
  static __m256 Load(const std::uint16_t* from) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(Load8(from)), 16));
  }
  static void Save(__m256 values, std::uint16_t* to) {
    const __m256i bits = _mm256_castps_si256(values);
    const __m256i upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
    // A NaN is cut off, and kept quiet.
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    const __m256i unordered = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
    const __m256i words = _mm256_blendv_epi8(rounded, quiet, unordered);
    Save8(_mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)), to);
  }
};

constexpr std::int64_t kWidth = 8;

template <typename Format>
class Avx2Lanes {
 public:
  using Element = typename Format::Element;

  // GCC gives the pragma's instruction set to no constructor that it writes itself.
  Avx2Lanes() noexcept : low_(_mm256_setzero_ps()), high_(_mm256_setzero_ps()) {}

  void Add(const Element* from) noexcept {
    low_ = _mm256_add_ps(low_, Format::Load(from));
    high_ = _mm256_add_ps(high_, Format::Load(from + kWidth));
  }
  void Add(const Avx2Lanes& other) noexcept {
    low_ = _mm256_add_ps(low_, other.low_);
    high_ = _mm256_add_ps(high_, other.high_);
  }
  float Sum() const noexcept {
    const __m256 eight = _mm256_add_ps(low_, high_);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  void Store(float* to) const noexcept {
    _mm256_storeu_ps(to, low_);
    _mm256_storeu_ps(to + kWidth, high_);
  }
  static void Widen(const Element* from, float* to) noexcept {
    _mm256_storeu_ps(to, Format::Load(from));
    _mm256_storeu_ps(to + kWidth, Format::Load(from + kWidth));
  }
  static void Narrow(const float* from, Element* to) noexcept {
    Format::Save(_mm256_loadu_ps(from), to);
    Format::Save(_mm256_loadu_ps(from + kWidth), to + kWidth);
  }

 private:
  __m256 low_;
  __m256 high_;
};

}  // namespace

const SumKernelSet kAvx2Sums = {"avx2", MakeSumKernels<Avx2Lanes<Float32>>(), MakeSumKernels<Avx2Lanes<Float16>>(),
                                MakeSumKernels<Avx2Lanes<BrainFloat16>>()};

}  // namespace rrn::internal

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__
