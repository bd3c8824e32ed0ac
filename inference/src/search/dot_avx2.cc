// The dot kernel for AVX2. As dot_kernel.h's, with two registers for the 16 lanes: compilers keep the wider type of
// that file in memory.
#include <immintrin.h>

#include "search/dot_kernel.h"

namespace rrn::internal {
namespace {

// 16 lanes.
struct Halves {
  __m256 low;
  __m256 high;
};

Halves Load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + kLanes / 2)}; }

Halves LoadTail(const float* from, std::size_t count) {
  float padded[kLanes] = {};
  for (std::size_t i = 0; i < count; ++i) padded[i] = from[i];
  return Load(padded);
}

// Multiplies and adds separately, so that both round.
void Add(const Halves& a, const Halves& b, Halves* sums) {
  sums->low = _mm256_add_ps(sums->low, _mm256_mul_ps(a.low, b.low));
  sums->high = _mm256_add_ps(sums->high, _mm256_mul_ps(a.high, b.high));
}

// The tree of dot_kernel.h.
float SumLanes(const Halves& lanes) {
  const __m256 eight = _mm256_add_ps(lanes.low, lanes.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// kA x kB products at a time stay in registers.
template <std::size_t kA, std::size_t kB>
void DotHalves(const float* a, const float* b, std::size_t dim, float* out) {
  Halves sums[kA][kB];
  for (auto& row : sums) {
    for (Halves& sum : row) sum = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  }
  const std::size_t whole = dim - dim % kLanes;
  for (std::size_t d = 0; d < whole; d += kLanes) {
    Halves left[kA];
    for (std::size_t i = 0; i < kA; ++i) left[i] = Load(a + i * dim + d);
    for (std::size_t j = 0; j < kB; ++j) {
      const Halves right = Load(b + j * dim + d);
      for (std::size_t i = 0; i < kA; ++i) Add(left[i], right, &sums[i][j]);
    }
  }
  if (whole < dim) {
    for (std::size_t i = 0; i < kA; ++i) {
      const Halves left = LoadTail(a + i * dim + whole, dim - whole);
      for (std::size_t j = 0; j < kB; ++j) Add(left, LoadTail(b + j * dim + whole, dim - whole), &sums[i][j]);
    }
  }
  for (std::size_t i = 0; i < kA; ++i) {
    for (std::size_t j = 0; j < kB; ++j) out[i * kTileRows + j] = SumLanes(sums[i][j]);
  }
}

}  // namespace

void DotTileAvx2(const float* a, std::size_t a_rows, const float* b, std::size_t b_rows, std::size_t dim, float* out) {
  for (std::size_t i = 0; i < a_rows; i += 2) {
    for (std::size_t j = 0; j < b_rows; j += 2) {
      const float* left = a + i * dim;
      const float* right = b + j * dim;
      float* to = out + i * kTileRows + j;
      const bool two_rows = i + 1 < a_rows;
      const bool two_columns = j + 1 < b_rows;
      if (two_rows && two_columns) {
        DotHalves<2, 2>(left, right, dim, to);
      } else if (two_rows) {
        DotHalves<2, 1>(left, right, dim, to);
      } else if (two_columns) {
        DotHalves<1, 2>(left, right, dim, to);
      } else {
        DotHalves<1, 1>(left, right, dim, to);
      }
    }
  }
}

}  // namespace rrn::internal
