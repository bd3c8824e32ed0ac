// The inner loops of ResizeImage, one set for each instruction set; all give the same bytes.
#ifndef RRN_IMAGE_RESIZE_ROWS_H_
#define RRN_IMAGE_RESIZE_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rrn::image_internal {

// Weights are fixed-point numbers with 22 bits behind the point: 8 bits of pixel, and 2 bits to spare in 32.
inline constexpr int kPrecision = 32 - 8 - 2;
inline constexpr std::int32_t kHalf = 1 << (kPrecision - 1);
// Vector units multiply numbers of 16 bits, so a weight is split into its lowest bits and the rest.
inline constexpr int kLowBits = 15;
// Rows that are resized at a time, with one look at the weights.
inline constexpr int kRowBlock = 4;
// Bytes behind a source row that must be readable (their values do not matter).
inline constexpr std::size_t kReadAhead = 32;

// Which source positions make one output position, and how much each counts.
struct Span {
  int first = 0;
  int count = 0;
  std::size_t weights = 0;  // The first weight in Filter::weights.
  std::size_t packed = 0;   // The first number in Filter::packed.
};

struct Filter {
  std::vector<Span> spans;
  std::vector<std::int32_t> weights;
  // The same weights for vector code. Four source positions 0 ... 3 are four numbers: the low parts of 0 and 1 in the
  // lower and upper half, the low parts of 2 and 3, the high parts of 0 and 1, of 2 and 3. Zeros fill the last four.
  std::vector<std::uint32_t> packed;
};

// Fills `packed` from `weights`, which are never negative.
void PackWeights(Filter* filter);

struct RowKernels {
  // Resizes `count` (1 ... kRowBlock) RGB rows; the target rows do not overlap.
  void (*resize_rows)(const std::uint8_t* const* from, int count, const Filter& filter, std::uint8_t* const* to);
  // sums[i] += row[i] * weight.
  void (*add_row)(const std::uint8_t* row, std::int32_t weight, std::size_t size, std::int32_t* sums);
  // Sums, to which kHalf was added, as bytes.
  void (*to_bytes)(const std::int32_t* sums, std::size_t size, std::uint8_t* to);
};

extern const RowKernels kPortableRowKernels;
#if defined(__x86_64__)
extern const RowKernels kAvx2RowKernels;
#endif

// The fastest set that this machine can run.
const RowKernels& ChooseRowKernels();

}  // namespace rrn::image_internal

#endif  // RRN_IMAGE_RESIZE_ROWS_H_
