// Running one function on several threads.
#ifndef RRN_BASE_PARALLEL_H_
#define RRN_BASE_PARALLEL_H_

#include <cstddef>
#include <functional>

#include "rrn/status.h"

namespace rrn {

// The number of threads to use: `threads`, or one for each core if it is 0 or less, but never more than `jobs` (and at
// least 1).
std::size_t ThreadCount(int threads, std::size_t jobs);

// Runs `work` on `threads` threads at once, the calling one among them, and waits for all. Where the system has no more
// threads to give, fewer run. `work` should therefore take jobs from a shared queue until none is left.
//
// An exception in `work` does not escape: `stop` is called (from that thread, perhaps more than once), which must make
// the other threads end soon, and the first exception comes back as kRuntime.
Status RunOnThreads(std::size_t threads, const std::function<void()>& work, const std::function<void()>& stop);

}  // namespace rrn

#endif  // RRN_BASE_PARALLEL_H_
