// Compares given rows with all columns: a filter on 8-bit rows (rounded_rows.h says why it loses nothing), then the
// exact product of what it leaves over.
//
// In stages, the filter gets short rows (projection.h). Of each pair that it leaves over, rows of twice as many numbers
// are multiplied, then the 8-bit rows, and the exact product is computed of what these leave over.
#ifndef RRN_SEARCH_SCANNER_H_
#define RRN_SEARCH_SCANNER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rrn/search.h"
#include "search/projection.h"
#include "search/rounded_rows.h"
#include "search/target.h"

namespace rrn::internal {

// Rounding can lift the cosine of two equal rows above 1.
float ClampSimilarity(float similarity);

// The order in which the nearest rows are listed.
bool IsNearer(const Neighbour& a, const Neighbour& b);

// Which columns a row is compared with: those after it, all but itself, or (rows of another scanner) all.
enum class Columns { kLater, kOthers, kAll };

// What a scan for the nearest rows looks for.
struct NearestScan {
  std::size_t k = 0;                // at least 1
  float threshold = kNoThreshold;   // only what is above it
  Columns columns = Columns::kAll;  // kOthers or kAll
  std::size_t begin = 0;            // columns [begin, end), begin a multiple of RoundedRows::kChunk
  std::size_t end = 0;
};

// Thread-safety: after Prepare, any number of threads may scan.
class Scanner {
 public:
  // The embeddings must stay where they are.
  Scanner(const EmbeddingsView& embeddings, const SearchTarget& target);

  // Rounds the rows for the filter, where the target has one. Without it, the scans do without the filter.
  // Errors: kRuntime.
  Status Prepare(int threads);

  // The same, to scan in stages. Without a projection, short rows are left out: for few rows that are compared with
  // many columns. Scanners of one scan have the same projection.
  Status PrepareStages(int threads, const std::shared_ptr<const Projection>& projection);

  // For each of `rows` (ascending), the rows with a similarity above `threshold`, in ascending order of index. They are
  // appended to (*found)[i] for rows[i]; `found` is resized. A threshold of NaN finds nothing. May throw
  // std::bad_alloc.
  void Scan(const std::vector<std::uint32_t>& rows, float threshold, Columns columns, Neighbours* found) const;

  // The same for rows of `from`: a scanner of the same dim and target, which has been prepared too, or neither has. The
  // embeddings of this scanner are the columns, and `columns` is kAll unless `from` is this very scanner.
  void ScanRowsOf(const Scanner& from, const std::vector<std::uint32_t>& rows, float threshold, Columns columns,
                  Neighbours* found) const;

  // For each of `rows` of `from` (ascending), the nearest rows, sorted by IsNearer. `found` is replaced.
  void ScanNearest(const Scanner& from, const std::vector<std::uint32_t>& rows, const NearestScan& scan,
                   Neighbours* found) const;

 private:
  // The rows of one scan, in groups of kFilterRows, and what was found of them.
  struct Left;

  Left Take(const Scanner& from, const std::vector<std::uint32_t>& rows, Columns columns, Neighbours* found) const;
  // All of these look at columns [column, column_end).
  void ScanColumns(const Scanner& from, std::size_t column, std::size_t column_end, Left* left) const;
  // Columns of one chunk, through the filter. Returns whether the filter left over so much that it cost more than it
  // saved.
  bool ScanChunk(const Scanner& from, std::size_t column, std::size_t column_end, Left* left) const;
  // The same in stages, the first one only with `use_short`.
  struct StagesLeftOver;
  StagesLeftOver ScanChunkInStages(const Scanner& from, std::size_t column, std::size_t column_end, bool use_short,
                                   Left* left) const;
  void ScanExactly(std::size_t row, std::size_t row_end, std::size_t column, std::size_t column_end, Left* left) const;
  // `flags` as from the filter. Returns the number of pairs that were left over.
  std::size_t Recheck(std::size_t row, std::size_t column, const std::uint32_t* flags, Left* left) const;
  void ExactTile(std::size_t row, std::size_t rows, std::size_t column, std::size_t columns, Left* left) const;

  const EmbeddingsView embeddings_;
  const SearchTarget target_;
  std::unique_ptr<RoundedRows> rounded_;  // null: no filter
  std::unique_ptr<RoundedRows> short_;    // null: no such stage
  std::unique_ptr<RoundedRows> medium_;   // null exactly where short_ is
  bool in_stages_ = false;
};

}  // namespace rrn::internal

#endif  // RRN_SEARCH_SCANNER_H_
