// Progress of long calls, and how to cancel them.
#ifndef RRN_PROGRESS_H_
#define RRN_PROGRESS_H_

#include <cstddef>
#include <functional>

namespace rrn {

// Receives `done` of `total` steps; returns false to cancel, and the call then ends with kCancelled. It may be called
// on any thread of the call, but never on two at once. `done` never decreases. An empty one is never called.
using Progress = std::function<bool(std::size_t done, std::size_t total)>;

}  // namespace rrn

#endif  // RRN_PROGRESS_H_
