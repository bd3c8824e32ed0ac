// Rows rounded to 8-bit integers, and a bound on what rounding can change: the first, cheap look of a search.
//
// Why it loses nothing. A row x is rounded to s q with a scale s and integers |q| <= 127; what is left over is
// e = x - s q. For two rows x = s q + e and y = t p + f, by Cauchy and Schwarz,
//
//   |x.y - s t q.p| = |x.f + e.(t p)| <= |x||f| + |e||t p| <= |x||f| + |e|(|y| + |f|).
//
// The product that counts is not x.y but its float32 sum, which differs from it by at most g |x||y| and what products
// lose that are too small for a float: every term is rounded once and takes part in ceil(dim / 16) - 1 additions of its
// lane and 4 across lanes, so g = k u / (1 - k u) with k = ceil(dim / 16) + 4 and u = 2^-24. So the pair can be above
// the threshold T only if
//
//   s t q.p + |x| (|f| + g |y|) + |e| (|y| + |f|) + tiny > T.
//
// The columns y of a chunk share the largest |f| + g |y| and |y| + |f| of them, and the kernels compare t q.p with
// (T - ...) / s. The norms are computed in double precision and g is made larger by 1e-6, which is more than all
// roundings of this computation itself: t q.p has three of 2^-24, its magnitude times s is at most 4 |x||y|.
//
// Short rows (projection.h) are rounded in the same way. Their exact products are at least those of the rows less a
// share of the lengths' product, which is added to g.
//
// For kernels that add in 16 bits (filter_kernel.h, "narrow"), a row is rounded twice: finer as a column, coarser as a
// row. Elements d with d % 4 < 2, and the others, are summed apart; by Cauchy and Schwarz such a sum is at most the
// product of the halves' lengths, in steps. A half has at most 32 elements that rounding moves by half a step,
// so no sum leaves 16 bits where halves of rows are at most 125 steps long and halves of columns 252:
// (125 + sqrt(32) / 2) (252 + sqrt(32) / 2) < 2^15.
//
// Rows that are not finite, or whose length is so far from 1 that these floats might overflow or vanish, are always
// left over.
#ifndef RRN_SEARCH_ROUNDED_ROWS_H_
#define RRN_SEARCH_ROUNDED_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rrn/search.h"
#include "rrn/status.h"

namespace rrn::internal {

class Projection;

// Bytes on cache lines.
struct FreeBytes {
  void operator()(std::int8_t* bytes) const;
};
using AlignedBytes = std::unique_ptr<std::int8_t[], FreeBytes>;

// Null where there is not enough memory.
AlignedBytes AllocateBytes(std::size_t bytes);

// Thread-safety: after Prepare, any number of threads may read.
class RoundedRows {
 public:
  // Columns that share one bound; their rounded rows should fit the second-level cache.
  static constexpr std::size_t kChunk = 256;

  // What all columns of a chunk have in common.
  struct Bound {
    double error = 0;   // at least |f| + g |y|
    double length = 0;  // at least |y| + |f|
  };

  // How the bytes lie: packed for a filter, or row after row for single products.
  enum class Layout { kPacked, kRowByRow };

  // The embeddings must stay where they are.
  RoundedRows(const EmbeddingsView& embeddings, Layout layout);

  // Their short rows: of kShortDim numbers, packed, with `narrow` for kernels that add in 16 bits; or of kMediumDim,
  // row after row.
  RoundedRows(const EmbeddingsView& embeddings, std::shared_ptr<const Projection> projection, Layout layout,
              bool narrow);

  // Rounds the rows: a quarter of the embeddings' memory. Where there is no memory for that, or where rows are too long
  // for the bound, nothing is rounded. Errors: kRuntime.
  Status Prepare(int threads);

  // The same for short rows of the same embeddings and projection: 64 and 128 bytes a row, and 64 more for narrow ones.
  static Status PrepareShort(int threads, RoundedRows* packed, RoundedRows* row_by_row);

  // Whether the rows are rounded; the functions below may be called only then.
  bool ready() const { return ready_; }

  // Bytes of a row: dim, padded with zeros.
  std::size_t depth() const { return depth_; }

  // Of the columns from `column`, a multiple of kFilterRows, as FilterBlock wants them. For a layout row by row, the
  // bytes of any one row.
  const std::int8_t* packed(std::size_t column) const { return bytes_.get() + column * depth_; }
  const std::int32_t* sums(std::size_t column) const { return sums_.data() + column; }
  const float* scales(std::size_t column) const { return scales_.data() + column; }

  // Of chunk `chunk`, the columns from chunk * kChunk.
  const Bound& bound(std::size_t chunk) const { return bounds_[chunk]; }

  // One packed row as `depth` bytes, for FilterBlock::a; with `offset`, every byte b as b + 128. Narrow rows always
  // have their own offset.
  void Unpack(std::uint32_t row, bool offset, std::int8_t* to) const;

  // For each of `count` rows, what t q.p must be above so that the similarity to a column can be above above[i],
  // rounded down. `bound` is of a chunk of columns of any RoundedRows of the same dim.
  void Limits(const std::uint32_t* rows, std::size_t count, const Bound& bound, const float* above,
              float* limits) const;

 private:
  // What is known of a row besides its bytes. With length = NaN, nothing.
  struct Row {
    double scale = 0;
    double length = 0;  // at least |x|
    double error = 0;   // at least |e|
  };

  float Limit(const Row& row, const Bound& bound, float threshold) const;
  std::size_t chunks() const;
  bool Allocate();
  // x: [rows of the chunk, dim_].
  void RoundChunk(std::size_t chunk, const float* x);
  // x: [dim_]. Returns the column's |f|.
  double RoundRow(std::size_t row, const float* x);
  void RoundNarrowRow(std::size_t row, const float* x, float largest, double half);

  const EmbeddingsView embeddings_;
  const std::shared_ptr<const Projection> projection_;  // null: the rows themselves
  const Layout layout_;
  const bool narrow_;
  const std::size_t dim_;  // numbers that are rounded
  const std::size_t depth_;
  const double sum_error_;  // g
  bool ready_ = false;
  AlignedBytes bytes_;
  AlignedBytes narrow_rows_;  // [rows, depth]
  std::vector<Row> rows_;
  std::vector<float> scales_;  // of columns: NaN leaves all pairs over
  std::vector<std::int32_t> sums_;
  std::vector<Bound> bounds_;
};

}  // namespace rrn::internal

#endif  // RRN_SEARCH_ROUNDED_ROWS_H_
