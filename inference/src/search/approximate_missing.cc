#include "rrn/search.h"
#include "search/approximate.h"

namespace rrn {

bool ApproximateSearchAvailable() { return false; }

namespace internal {

Status CheckApproximate(const ApproximateOptions& /*options*/) {
  return {StatusCode::kUnsupported,
          "this build has no approximate search; install hnswlib (Debian: libhnswlib-dev) and build again"};
}

Status FindPairsApproximately(const EmbeddingsView& /*rows*/, const SearchOptions& options, float /*floor*/,
                              const PairSink& /*sink*/) {
  return CheckApproximate(options.approximate);
}

}  // namespace internal
}  // namespace rrn
