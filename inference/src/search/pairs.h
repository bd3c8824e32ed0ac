// What the exact searches share, besides scanner.h.
#ifndef RRN_SEARCH_PAIRS_H_
#define RRN_SEARCH_PAIRS_H_

#include <cstddef>

#include "rrn/search.h"
#include "rrn/status.h"
#include "search/scanner.h"

namespace rrn::internal {

// Errors: kInvalidArgument (too many rows).
Status CheckRows(const EmbeddingsView& rows);

// Errors: kInvalidArgument (too many rows, two lengths, an approximate search).
Status CheckSides(const EmbeddingsView& rows, const EmbeddingsView& columns, const SearchOptions& options);

// FindPairs among the rows of a scanner that has been prepared, exactly. `options` were checked.
Status ScanPairs(const EmbeddingsView& rows, const Scanner& scanner, const SearchOptions& options,
                 const PairSink& sink);

// Prepares a scanner for pairs above a threshold, without short rows. Errors: kRuntime.
Status PrepareForPairs(const SearchOptions& options, Scanner* scanner);

// Two sets of embeddings that are compared, and their scanners; one and the same for a search among one set.
struct Sides {
  EmbeddingsView rows;
  EmbeddingsView columns;
  Scanner* from = nullptr;
  Scanner* against = nullptr;
};

// Prepares both scanners for pairs above a threshold, or for the `nearest` columns of each row; with short rows where
// these pay, or as the options say. Errors: kRuntime.
Status PrepareSides(const SearchOptions& options, bool nearest, const Sides& sides);

// Errors: kInvalidArgument (k is 0).
Status CheckK(std::size_t k);

// How many rows are compared with how many columns.
struct Counts {
  std::size_t rows = 0;
  std::size_t columns = 0;
};

// Blocks of rows of `from` against spans of the columns of `against`, on all threads. Both scanners are prepared, or
// neither is; they are one and the same for Columns::kOthers. Errors: kCancelled, kRuntime.
Result<Neighbours> ScanForNearest(const Scanner& from, const Scanner& against, const NearestScan& scan,
                                  const Counts& counts, const SearchOptions& options);

}  // namespace rrn::internal

#endif  // RRN_SEARCH_PAIRS_H_
