// The loops of sums.h, for sums_*.cc to compile each for one instruction set.
//
// A file that compiles this for more than the baseline instructions includes all other headers before it: an inline
// function of a standard header, compiled with AVX2 in one file, could be the copy that the linker keeps for the whole
// program. For the same reason `Lanes`, the template argument of everything here, must be of an unnamed namespace.
#ifndef RRN_REDUCTION_SUMS_KERNEL_H_
#define RRN_REDUCTION_SUMS_KERNEL_H_

#include <cstdint>

#include "reduction/sums.h"

namespace rrn::internal {

inline constexpr std::int64_t kSumLanes = 16;

// A `Lanes` is 16 float32 sums of elements of one type, and has
//   Element                          the type's storage
//   Lanes()                          zeros
//   void Add(const Element* from)    adds 16 elements, one to each lane
//   void Add(const Lanes& other)
//   float Sum()                      lane i + lane i + 8, then + 4, + 2, + 1
//   void Store(float* to)            16 floats
//   static void Widen(const Element* from, float* to)    16 elements
//   static void Narrow(const float* from, Element* to)   16 elements, rounded to nearest even

// The sum of `count` elements, split over 16 partial sums: they fill vector registers, and the rounding error grows
// with count / 16 instead of count. The order is fixed, so every machine gets the same bits.
template <typename Lanes>
float SumRow(const typename Lanes::Element* from, std::int64_t count) noexcept {
  Lanes lanes;
  const std::int64_t whole = count - count % kSumLanes;
  for (std::int64_t i = 0; i < whole; i += kSumLanes) lanes.Add(from + i);
  if (whole < count) {
    // Zeros change nothing: a sum that began with +0 is never -0.
    typename Lanes::Element padded[kSumLanes] = {};
    for (std::int64_t i = whole; i < count; ++i) padded[i - whole] = from[i];
    lanes.Add(padded);
  }
  return lanes.Sum();
}

template <typename Lanes>
void SumChannels(const void* data, std::int64_t channels, std::int64_t pixels, float* sums) noexcept {
  const auto* from = static_cast<const typename Lanes::Element*>(data);
  if (pixels > 1) {
    for (std::int64_t c = 0; c < channels; ++c) sums[c] = SumRow<Lanes>(from + c * pixels, pixels);
    return;
  }
  const std::int64_t whole = channels - channels % kSumLanes;
  for (std::int64_t c = 0; c < whole; c += kSumLanes) Lanes::Widen(from + c, sums + c);
  if (whole < channels) {
    typename Lanes::Element padded[kSumLanes] = {};
    float wide[kSumLanes];
    for (std::int64_t c = whole; c < channels; ++c) padded[c - whole] = from[c];
    Lanes::Widen(padded, wide);
    for (std::int64_t c = whole; c < channels; ++c) sums[c] = wide[c - whole];
  }
}

// kRun pixels in turn, then the runs in turn, so that the rounding error grows with kRun + pixels / kRun.
template <typename Lanes>
void SumColumns(const void* data, std::int64_t pitch, std::int64_t pixels, std::int64_t count, float* sums) noexcept {
  constexpr std::int64_t kRun = 64;
  static_assert(kSlice == 2 * kSumLanes);
  const auto* from = static_cast<const typename Lanes::Element*>(data);
  typename Lanes::Element padded[kSlice] = {};
  Lanes low;
  Lanes high;
  for (std::int64_t first = 0; first < pixels; first += kRun) {
    const std::int64_t last = first + kRun < pixels ? first + kRun : pixels;
    Lanes low_run;
    Lanes high_run;
    for (std::int64_t p = first; p < last; ++p) {
      const typename Lanes::Element* row = from + p * pitch;
      if (count < kSlice) {
        for (std::int64_t c = 0; c < count; ++c) padded[c] = row[c];
        row = padded;
      }
      low_run.Add(row);
      high_run.Add(row + kSumLanes);
    }
    low.Add(low_run);
    high.Add(high_run);
  }
  float wide[kSlice];
  low.Store(wide);
  high.Store(wide + kSumLanes);
  for (std::int64_t c = 0; c < count; ++c) sums[c] = wide[c];
}

template <typename Lanes>
void StoreRow(const float* from, std::int64_t count, void* to) noexcept {
  auto* out = static_cast<typename Lanes::Element*>(to);
  const std::int64_t whole = count - count % kSumLanes;
  for (std::int64_t i = 0; i < whole; i += kSumLanes) Lanes::Narrow(from + i, out + i);
  if (whole < count) {
    float padded[kSumLanes] = {};
    typename Lanes::Element narrow[kSumLanes];
    for (std::int64_t i = whole; i < count; ++i) padded[i - whole] = from[i];
    Lanes::Narrow(padded, narrow);
    for (std::int64_t i = whole; i < count; ++i) out[i] = narrow[i - whole];
  }
}

template <typename Lanes>
constexpr SumKernels MakeSumKernels() noexcept {
  return {SumChannels<Lanes>, SumColumns<Lanes>, StoreRow<Lanes>};
}

}  // namespace rrn::internal

#endif  // RRN_REDUCTION_SUMS_KERNEL_H_
