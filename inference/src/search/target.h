// Which kernels this machine can run. All give the same results, bit for bit.
#ifndef RRN_SEARCH_TARGET_H_
#define RRN_SEARCH_TARGET_H_

#include <string>
#include <vector>

#include "rrn/status.h"
#include "search/dot_kernel.h"
#include "search/filter_kernel.h"

namespace rrn::internal {

// A set of instructions to search with: with `filter`, exact products are computed only of the pairs that it leaves
// over.
struct SearchTarget {
  const char* name = nullptr;
  DotTileFunction dot_tile = nullptr;
  Filter filter;                                     // run is null: none
  KeepPairsFunction keep_pairs = KeepPairsPortable;  // for what short rows leave over
};

// The targets of this machine, the fastest one first, "float32" (the best exact kernel without a filter) and "portable"
// last. The first call asks the operating system for the matrix unit; where it refuses, that target is not among them.
// Thread-safe.
const std::vector<SearchTarget>& AvailableTargets();

// The target of this name, or the fastest one for an empty name.
// Errors: kInvalidArgument (no such target on this machine; the message lists those there are).
Result<SearchTarget> ChooseTarget(const std::string& name);

}  // namespace rrn::internal

#endif  // RRN_SEARCH_TARGET_H_
