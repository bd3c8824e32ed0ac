// The approximate search. approximate.cc is built where hnswlib was found, approximate_missing.cc elsewhere.
#ifndef RRN_SEARCH_APPROXIMATE_H_
#define RRN_SEARCH_APPROXIMATE_H_

#include "rrn/search.h"
#include "rrn/status.h"

namespace rrn::internal {

// Errors: kUnsupported (built without it), kInvalidArgument (out of range).
Status CheckApproximate(const ApproximateOptions& options);

// FindPairs with SearchMethod::kApproximate; `options` were checked. `sink` receives the pairs above `floor`, which is
// at most the threshold; the recall is that of pairs above the threshold.
Status FindPairsApproximately(const EmbeddingsView& rows, const SearchOptions& options, float floor,
                              const PairSink& sink);

}  // namespace rrn::internal

#endif  // RRN_SEARCH_APPROXIMATE_H_
