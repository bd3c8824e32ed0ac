// Finds the rows that are similar to given rows: a filter on 8-bit rows, then the exact product of what it leaves over.
//
// Why the filter loses nothing. A row x is rounded to s q with a scale s and integers |q| <= 127; what is left over is
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
// Rows that are not finite, or whose length is so far from 1 that these floats might overflow or vanish, are always
// left over.
#ifndef RRN_SEARCH_SCANNER_H_
#define RRN_SEARCH_SCANNER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rrn/search.h"
#include "search/path.h"

namespace rrn::internal {

// Rounding can lift the cosine of two equal rows above 1.
float ClampSimilarity(float similarity);

// Which columns a row is compared with: those after it, all but itself, or (rows of another scanner) all.
enum class Columns { kLater, kOthers, kAll };

// Thread-safety: after Prepare, any number of threads may scan.
class Scanner {
 public:
  // The embeddings must stay where they are. A threshold of NaN finds nothing.
  Scanner(const EmbeddingsView& embeddings, float threshold, const SearchPath& path);

  // Rounds the rows for the filter: a quarter of the embeddings' memory. Where there is no memory for that, the scans
  // do without the filter. Errors: kRuntime.
  Status Prepare(int threads);

  // For each of `rows` (ascending), the similar rows in ascending order. They are appended to (*found)[i] for rows[i];
  // `found` is resized. May throw std::bad_alloc.
  void Scan(const std::vector<std::uint32_t>& rows, Columns columns,
            std::vector<std::vector<GroupMember>>* found) const;

  // The same for rows of `from`: a scanner of the same dim, threshold and path, which has been prepared too. The
  // embeddings of this scanner are the columns, and `columns` is kAll unless `from` is this very scanner.
  void ScanRowsOf(const Scanner& from, const std::vector<std::uint32_t>& rows, Columns columns,
                  std::vector<std::vector<GroupMember>>* found) const;

 private:
  // Columns that share one bound; their rounded rows should fit the second-level cache.
  static constexpr std::size_t kChunk = 256;

  // What is known of a row besides its bytes. With length = NaN, nothing.
  struct Rounded {
    double scale = 0;
    double length = 0;  // at least |x|
    double error = 0;   // at least |e|
  };
  struct ChunkBound {
    double error = 0;   // at least |f| + g |y|
    double length = 0;  // at least |y| + |f|
  };
  struct Free {
    void operator()(std::int8_t* bytes) const;
  };
  using Bytes = std::unique_ptr<std::int8_t[], Free>;

  // The rows of one scan, in groups of kFilterRows.
  struct Left;

  static Bytes Allocate(std::size_t bytes);
  void RoundChunk(std::size_t chunk);
  void RoundRow(std::size_t row);
  void Unpack(std::uint32_t row, std::int8_t* to) const;
  // For a row of this scanner and a chunk of any.
  float Limit(std::size_t row, const ChunkBound& bound) const;

  // Both look at rows [row, row_end) of `left` and columns [column, column_end).
  void ScanExactly(const Left& left, std::size_t row, std::size_t row_end, std::size_t column,
                   std::size_t column_end) const;
  // `flags` as from the filter. Returns the number of pairs that were left over.
  std::size_t Recheck(const Left& left, std::size_t row, std::size_t column, const std::uint32_t* flags) const;
  void ExactTile(const Left& left, std::size_t row, std::size_t rows, std::size_t column, std::size_t columns) const;

  const EmbeddingsView embeddings_;
  const float threshold_;
  const SearchPath path_;
  const std::size_t depth_;  // bytes of a rounded row
  const double sum_error_;   // g
  bool filtering_ = false;
  Bytes packed_;
  std::vector<Rounded> rounded_;
  std::vector<float> scales_;  // of columns: NaN leaves all pairs over
  std::vector<std::int32_t> sums_;
  std::vector<ChunkBound> bounds_;
};

}  // namespace rrn::internal

#endif  // RRN_SEARCH_SCANNER_H_
