// The inner loops of the operator on CPUs, one set for each instruction set; all give the same bits (but for
// which of several NaN).
#ifndef RRN_REDUCTION_SUMS_H_
#define RRN_REDUCTION_SUMS_H_

#include <cstdint>

#include "rrn/reduction.h"

namespace rrn::internal {

// For one type of storage. Pointers need not be aligned to more than an element.
struct SumKernels {
  // sums[c] = data[c * pixels] + ... + data[(c + 1) * pixels - 1] for c in [0, channels), both at least 1.
  void (*channels)(const void* data, std::int64_t channels, std::int64_t pixels, float* sums);
  // Channels of one pixel lie side by side, `pitch` elements from one pixel to the next:
  // sums[c] = data[c] + data[pitch + c] + ... over all pixels, for c in [0, count), count at most kSlice.
  void (*columns)(const void* data, std::int64_t pitch, std::int64_t pixels, std::int64_t count, float* sums);
  // to[i] = from[i], rounded to nearest even. A NaN stays one.
  void (*store)(const float* from, std::int64_t count, void* to);
};

inline constexpr std::int64_t kSlice = 32;

struct SumKernelSet {
  const char* name;  // as in /proc/cpuinfo; "portable" for plain C++
  SumKernels float32;
  SumKernels float16;
  SumKernels bfloat16;

  const SumKernels& For(ReductionType type) const noexcept;
};

extern const SumKernelSet kPortableSums;
#if defined(__x86_64__)
extern const SumKernelSet kAvx2Sums;
#endif

// The fastest set that this machine can run. Takes no time after the first call, from whichever thread.
const SumKernelSet& ChooseSums() noexcept;

}  // namespace rrn::internal

#endif  // RRN_REDUCTION_SUMS_H_
