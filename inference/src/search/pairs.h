// What the exact searches share, besides scanner.h.
#ifndef RRN_SEARCH_PAIRS_H_
#define RRN_SEARCH_PAIRS_H_

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

// Prepares a scanner for pairs above a threshold. Errors: kRuntime.
Status PrepareForPairs(const SearchOptions& options, Scanner* scanner);

}  // namespace rrn::internal

#endif  // RRN_SEARCH_PAIRS_H_
