// Searches the rows of a set in jobs on all threads, and reports what they find in the order of the rows.
#ifndef RRN_SEARCH_ORDERED_JOBS_H_
#define RRN_SEARCH_ORDERED_JOBS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "rrn/search.h"
#include "rrn/status.h"

namespace rrn::internal {

// The fewest and the most rows of a job: many, so that the other side is read from memory rarely.
inline constexpr std::size_t kMinRowsPerJob = 32;
inline constexpr std::size_t kMaxRowsPerJob = 512;

// Rows of each job when `rows` are shared by `workers`: enough jobs for all threads, since the first ones may be the
// longest. A multiple of kMinRowsPerJob.
std::size_t RowsPerJob(std::size_t rows, std::size_t workers);

// Finds the similar rows of some rows, which are in ascending order; may throw std::bad_alloc. Called on several
// threads at a time.
using ScanRows = std::function<void(const std::vector<std::uint32_t>& rows, Neighbours* found)>;

// Scans rows 0 ... count - 1 on options.threads threads. `pairs_per_row` is an estimate.
// Errors: kCancelled (by the sink or options.progress), kRuntime.
Status ScanInOrder(std::size_t count, double pairs_per_row, const ScanRows& scan, const SearchOptions& options,
                   const PairSink& sink);

}  // namespace rrn::internal

#endif  // RRN_SEARCH_ORDERED_JOBS_H_
