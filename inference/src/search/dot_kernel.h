// The dot products of a few rows with a few rows, compiled once for each instruction set (dot_*.cc).
//
// Element i of a product goes to lane i % 16; the 16 lanes are added in a fixed tree. Multiply and add round separately
// (-ffp-contract=off), so SSE2, AVX2, AVX-512, NEON and plain code give the same bits.
//
// Only <cstddef> may be included here: an inline function of a standard header, compiled with AVX-512 in one file,
// could be the copy that the linker keeps for the whole program.
#ifndef RRN_SEARCH_DOT_KERNEL_H_
#define RRN_SEARCH_DOT_KERNEL_H_

#include <cstddef>

namespace rrn::internal {

inline constexpr std::size_t kTileRows = 4;

// out[i * kTileRows + j] = dot(a_i, b_j) for i < a_rows, j < b_rows, both at most kTileRows; rows are `dim` apart.
using DotTileFunction = void (*)(const float* a, std::size_t a_rows, const float* b, std::size_t b_rows,
                                 std::size_t dim, float* out);

// 16 floats at any float's address; the compiler splits them over registers of the machine's width.
using Lanes __attribute__((vector_size(64), aligned(4))) = float;
inline constexpr std::size_t kLanes = 16;

// Everything below is static: each instruction set needs a copy of its own, which the linker must not merge.

static inline float SumLanes(const Lanes& lanes) {
  float sum[kLanes];
  __builtin_memcpy(sum, &lanes, sizeof sum);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) sum[i] += sum[i + width];
  }
  return sum[0];
}

static inline void LoadTail(const float* from, std::size_t count, Lanes* lanes) {
  float padded[kLanes] = {};
  for (std::size_t i = 0; i < count; ++i) padded[i] = from[i];
  __builtin_memcpy(lanes, padded, sizeof padded);
}

// kA x kB products at a time stay in registers.
template <std::size_t kA, std::size_t kB>
static inline void DotBlock(const float* a, const float* b, std::size_t dim, float* out) {
  Lanes sums[kA][kB] = {};
  const std::size_t whole = dim - dim % kLanes;
  for (std::size_t d = 0; d < whole; d += kLanes) {
    for (std::size_t i = 0; i < kA; ++i) {
      const Lanes left = *reinterpret_cast<const Lanes*>(a + i * dim + d);
      for (std::size_t j = 0; j < kB; ++j) sums[i][j] += left * *reinterpret_cast<const Lanes*>(b + j * dim + d);
    }
  }
  if (whole < dim) {
    for (std::size_t i = 0; i < kA; ++i) {
      Lanes left;
      LoadTail(a + i * dim + whole, dim - whole, &left);
      for (std::size_t j = 0; j < kB; ++j) {
        Lanes right;
        LoadTail(b + j * dim + whole, dim - whole, &right);
        sums[i][j] += left * right;
      }
    }
  }
  for (std::size_t i = 0; i < kA; ++i) {
    for (std::size_t j = 0; j < kB; ++j) out[i * kTileRows + j] = SumLanes(sums[i][j]);
  }
}

// Covers a tile with blocks of kA x kB where they fit, and single products at the edges.
template <std::size_t kA, std::size_t kB>
static inline void DotTile(const float* a, std::size_t a_rows, const float* b, std::size_t b_rows, std::size_t dim,
                           float* out) {
  for (std::size_t i = 0; i < a_rows; i += kA) {
    for (std::size_t j = 0; j < b_rows; j += kB) {
      if (i + kA <= a_rows && j + kB <= b_rows) {
        DotBlock<kA, kB>(a + i * dim, b + j * dim, dim, out + i * kTileRows + j);
        continue;
      }
      for (std::size_t ii = i; ii < a_rows && ii < i + kA; ++ii) {
        for (std::size_t jj = j; jj < b_rows && jj < j + kB; ++jj) {
          DotBlock<1, 1>(a + ii * dim, b + jj * dim, dim, out + ii * kTileRows + jj);
        }
      }
    }
  }
}

void DotTilePortable(const float* a, std::size_t a_rows, const float* b, std::size_t b_rows, std::size_t dim,
                     float* out);
#ifdef __x86_64__
void DotTileAvx2(const float* a, std::size_t a_rows, const float* b, std::size_t b_rows, std::size_t dim, float* out);
void DotTileAvx512(const float* a, std::size_t a_rows, const float* b, std::size_t b_rows, std::size_t dim, float* out);
#endif

}  // namespace rrn::internal

#endif  // RRN_SEARCH_DOT_KERNEL_H_
