// A cheap test that says of 32 x 32 pairs of rows which ones may be similar, compiled once for each instruction set
// (filter_*.cc). It multiplies rows rounded to 8 bits; scanner.h says why no similar pair can slip through.
//
// As in dot_kernel.h, nothing of the standard library but <cstddef> and <cstdint> may be included here.
#ifndef RRN_SEARCH_FILTER_KERNEL_H_
#define RRN_SEARCH_FILTER_KERNEL_H_

#include <cstddef>
#include <cstdint>

namespace rrn::internal {

inline constexpr std::size_t kFilterRows = 32;   // rows, and columns, of one call
inline constexpr std::size_t kFilterDepth = 64;  // rows are padded with zeros to a multiple of this
inline constexpr std::size_t kPackRows = 16;     // rows that are packed together

// What narrow kernels add to every byte of `a`. They add products in 16 bits, so rows must be rounded for them
// (rounded_rows.h).
inline constexpr int kNarrowOffset = 64;

// Rows of bytes b, -127 <= b <= 127, `depth` of each. Packed means: sixteen rows side by side, four bytes at a time,
// [depth / 4][16][4]; that is the second operand of a matrix tile, and sixteen columns of a vector instruction.
struct FilterBlock {
  const std::int8_t* a = nullptr;        // [32][depth]; with Filter::offset, every byte b is stored as b + 128
  const std::int8_t* b = nullptr;        // two packs
  std::size_t depth = 0;                 // a multiple of kFilterDepth
  const std::int32_t* b_sums = nullptr;  // [32] sums of the rows of b
  const float* b_scales = nullptr;       // [32]
  const float* a_limits = nullptr;       // [32]
  std::uint32_t* flags = nullptr;        // [32] output
  std::size_t rows = kFilterRows;        // of `a`; the flags of later ones mean nothing
};

// Sets bit j of flags[i] unless dot(a_i, b_j) * b_scales[j] <= a_limits[i], in float32; NaN sets it. Returns whether
// any bit is set.
using FilterFunction = bool (*)(const FilterBlock& block);

struct Filter {
  FilterFunction run = nullptr;
  bool offset = false;        // `a` holds unsigned bytes
  void (*enter)() = nullptr;  // to be called on a thread before `run`, if not null
  void (*leave)() = nullptr;  // to be called after it
  // For short rows, where it is another function than `run`: adds in 16 bits, for a depth of kFilterDepth and rows that
  // are rounded for that.
  FilterFunction run_narrow = nullptr;
  // The largest share of pairs that short rows may leave over; with more, `run` alone is faster.
  double most_left_over = 0;
};

// dot(a, b) of `dim` bytes, -127 ... 127.
using DotBytesFunction = std::int32_t (*)(const std::int8_t* a, const std::int8_t* b, std::size_t dim);

// Pairs of rows whose bytes, -127 ... 127, are multiplied one by one.
struct BytePairs {
  const std::int8_t* const* a = nullptr;  // [32] rows
  const std::int8_t* b = nullptr;         // [32][depth]
  std::size_t depth = 0;                  // a multiple of kFilterDepth
  const float* b_scales = nullptr;        // [32]
  const float* a_limits = nullptr;        // [32]
};

// Of `count` pairs, as 32 i + j, keeps those at the front that Filter::run would flag. Returns how many.
using KeepPairsFunction = std::size_t (*)(const BytePairs& bytes, std::uint16_t* pairs, std::size_t count);

// The same for any instruction set; `dot` is a DotBytesFunction that can be inlined. Static, so that each has a copy of
// its own. Without branches: which pairs are kept cannot be foreseen.
template <typename Dot>
static inline std::size_t KeepPairs(const BytePairs& bytes, std::uint16_t* pairs, std::size_t count, const Dot& dot) {
  std::size_t kept = 0;
  for (std::size_t k = 0; k < count; ++k) {
    const std::uint16_t pair = pairs[k];
    const std::size_t i = pair / kFilterRows;
    const std::size_t j = pair % kFilterRows;
    const std::int32_t product = dot(bytes.a[i], bytes.b + j * bytes.depth, bytes.depth);
    pairs[kept] = pair;
    kept += static_cast<float>(product) * bytes.b_scales[j] <= bytes.a_limits[i] ? 0 : 1;
  }
  return kept;
}

std::size_t KeepPairsPortable(const BytePairs& bytes, std::uint16_t* pairs, std::size_t count);

#ifdef __x86_64__
std::int32_t DotBytesAvx2(const std::int8_t* a, const std::int8_t* b, std::size_t dim);
std::size_t KeepPairsAvx2(const BytePairs& bytes, std::uint16_t* pairs, std::size_t count);
bool FilterAvx2(const FilterBlock& block);
bool FilterNarrowAvx2(const FilterBlock& block);
bool FilterAvxVnni(const FilterBlock& block);     // offset
bool FilterAvx512Vnni(const FilterBlock& block);  // offset
bool FilterAmx(const FilterBlock& block);         // between EnterAmx and LeaveAmx
void EnterAmx();
void LeaveAmx();
#endif
#ifdef __aarch64__
bool FilterNeonDot(const FilterBlock& block);
#endif

}  // namespace rrn::internal

#endif  // RRN_SEARCH_FILTER_KERNEL_H_
