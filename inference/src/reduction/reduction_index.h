// The index arithmetic of the CUDA kernel, shared with host code so that it can be checked without a GPU.
//
// A block computes outputs [first, first + count) of one batch item. For every input it needs the channels that feed
// these outputs; each block reads whole channels, so tiles that end inside a channel make a neighbour read it again.
// TileSize picks the smallest tile without such ends: then every feature map is read exactly once.
#ifndef RRN_REDUCTION_REDUCTION_INDEX_H_
#define RRN_REDUCTION_REDUCTION_INDEX_H_

#include <cstdint>

#include "rrn/reduction.h"

#ifdef __CUDACC__
#define RRN_HOST_DEVICE __host__ __device__
#else
#define RRN_HOST_DEVICE
#endif

namespace rrn::internal {

// The float32 sums of a tile live in shared memory: 16 KiB at most.
inline constexpr std::int64_t kMaxTile = 4096;

// The channels [first, last) of one input that a tile needs.
struct ChannelRange {
  std::int64_t first;
  std::int64_t last;
};

RRN_HOST_DEVICE inline ChannelRange ChannelsOfTile(std::int64_t first_output, std::int64_t count,
                                                   std::int64_t repeats) {
  return {first_output / repeats, (first_output + count - 1) / repeats + 1};
}

// The outputs of the tile, counted from its start, that `channel` feeds: [first, last).
RRN_HOST_DEVICE inline ChannelRange OutputsOfChannel(std::int64_t channel, std::int64_t first_output,
                                                     std::int64_t count, std::int64_t repeats) {
  const std::int64_t first = channel * repeats - first_output;
  const std::int64_t last = first + repeats;
  return {first < 0 ? 0 : first, last > count ? count : last};
}

// channels / gcd(C_1 ... C_K), the least common multiple of all repeats, capped at kMaxTile.
inline std::int64_t TileSize(const ReductionPlan& plan) noexcept {
  std::int64_t gcd = plan.channels;
  for (int k = 0; k < plan.input_count; ++k) {
    std::int64_t other = plan.inputs[static_cast<std::size_t>(k)].channels;
    while (other != 0) {
      const std::int64_t rest = gcd % other;
      gcd = other;
      other = rest;
    }
  }
  const std::int64_t tile = plan.channels / gcd;
  return tile < kMaxTile ? tile : kMaxTile;
}

}  // namespace rrn::internal

#endif  // RRN_REDUCTION_REDUCTION_INDEX_H_
