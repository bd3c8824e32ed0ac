// Which kernels this machine can run. All give the same results, bit for bit.
#ifndef RRN_SEARCH_PATH_H_
#define RRN_SEARCH_PATH_H_

#include <vector>

#include "rrn/status.h"
#include "search/dot_kernel.h"
#include "search/filter_kernel.h"

namespace rrn::internal {

// How similar pairs are found: with `filter`, exact products are computed only of the pairs that it leaves over.
struct SearchPath {
  const char* name = nullptr;
  DotTileFunction dot_tile = nullptr;
  Filter filter;  // run is null: none
};

// The paths of this machine, the fastest one first, "float32" (the best exact kernel without a filter) and "portable"
// last. The first call asks the operating system for the matrix unit; where it refuses, that path is not among them.
// Safe from several threads.
const std::vector<SearchPath>& AvailablePaths();

// The path that RRN_SEARCH_PATH names, or the fastest one without it (or with an empty one).
// Errors: kInvalidArgument (no such path on this machine; the message lists those there are).
Result<SearchPath> ChoosePath();

}  // namespace rrn::internal

#endif  // RRN_SEARCH_PATH_H_
