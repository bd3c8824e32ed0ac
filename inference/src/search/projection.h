// Short rows: a few numbers of each row that bound its products with all others, for a first look before the 8-bit
// rows.
//
// Embeddings of photos lie near a space of few dimensions. With a matrix Q [k, dim] that makes no row longer
// (|Qx| <= |x| for all x), I - Q'Q has no negative eigenvalue, so by Cauchy and Schwarz for that form
//
//   x.y = Qx.Qy + x'(I - Q'Q)y <= Qx.Qy + r(x) r(y)   with r(x)^2 = |x|^2 - |Qx|^2.
//
// So x.y <= u(x).u(y) for the short rows u(x) = (Qx, r(x)), of 64 or 128 numbers, which are as long as the rows
// themselves: |u(x)| = |x|. No orthogonal matrix changes their products; Hadamard's for each 64 numbers spreads the
// largest ones over all, so that 8 bits round them well. Q holds the principal directions of a sample, which make r
// small; if they were anything else, more pairs would be left over, and none would be lost.
//
// What is computed differs. Products with the k rows of Q are float32 sums, each off by at most g |x| |q| (g of
// rounded_rows.h), so Qx by sqrt(k) g |x|; |x|^2 - |Qx|^2 is raised by 3 sqrt(k) g |x|^2, which is more than that can
// change; the six additions of Hadamard's matrix round six times. So the short rows are off by at most h |x| with
// h = sqrt(k) g + 1e-6, but for r, which is never too small; that makes them longer by at most 3 h |x|. So for the
// computed u and v
//
//   x.y <= u.v + (2 h + 7 h^2) |x| |y|   and   |x| <= |u| / (1 - h).
//
// That Q lengthens nothing is seen from its own products: by Gershgorin, no eigenvalue of QQ' is above the largest sum
// of magnitudes in a row. Q is divided by the root of that.
#ifndef RRN_SEARCH_PROJECTION_H_
#define RRN_SEARCH_PROJECTION_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "rrn/search.h"
#include "search/dot_kernel.h"

namespace rrn::internal {

// Numbers of a short row: for a first look at all pairs, and for a second one at those that are left over.
inline constexpr std::size_t kShortDim = 64;
inline constexpr std::size_t kMediumDim = 128;

// Rows of a sample from which a projection of `count` rows is made: more leave over fewer pairs.
std::size_t SampleRows(std::size_t count);

// The float32 sums of products of `dim` numbers are off by at most this times the rows' lengths.
double SumError(std::size_t dim);

// The sum of squares of a row, in double precision.
double SquaredLength(const float* x, std::size_t dim);

// Whether a row's length is far enough from overflow and underflow for the bounds: 0 is not.
bool HasUsualLength(double length);

// Thread-safety: immutable.
class Projection {
 public:
  // The principal directions of a sample of at most `most` rows of all `sides`, which have one dim above 0: enough for
  // short rows of `longest` numbers. Depends on nothing but these. Throws std::bad_alloc.
  Projection(const std::vector<EmbeddingsView>& sides, std::size_t most, std::size_t longest, DotTileFunction dot_tile);

  // The products [count, directions()] of rows [count, dim] with the directions.
  void Multiply(const float* rows, std::size_t count, float* to) const;

  // Short rows [count, size] of rows [count, dim] and their products, for a `size` of kShortDim or kMediumDim, at most
  // `longest`. All NaN for rows of an unusual length, zeros for zeros.
  void Shorten(const float* rows, const float* products, std::size_t count, std::size_t size, float* to) const;

  std::size_t directions() const { return directions_; }

  // What the float32 sum of products of two rows can be above the product of their short rows, as a share of the
  // product of these rows' lengths.
  double error() const { return error_; }

 private:
  void ShortenRow(const float* row, const float* products, std::size_t directions, std::size_t size, float* to) const;

  const std::size_t dim_;
  const DotTileFunction dot_tile_;
  std::size_t directions_ = 0;  // k, below `longest`
  std::vector<float> basis_;    // [k, dim]
  float shrink_ = 1;            // what Q is multiplied by
  double error_ = 0;            // (g + 2 h + 7 h^2) / (1 - h)^2
  double rest_error_ = 0;       // of |x|^2 - |Qx|^2, as a share of |x|^2
};

// Where short rows pay: a projection for `rows` and `columns` (one and the same for a search among one set); null
// where not. Looks at a sample of a few hundred rows, always the same ones.
//   threshold: of the search; for the `nearest` rows, what is found in the sample counts if it is above that.
//   most: the largest share of pairs that may be left over.
// Throws std::bad_alloc.
std::shared_ptr<const Projection> ChooseProjection(const EmbeddingsView& rows, const EmbeddingsView& columns,
                                                   float threshold, bool nearest, double most,
                                                   DotTileFunction dot_tile);

}  // namespace rrn::internal

#endif  // RRN_SEARCH_PROJECTION_H_
