// What the host decides for the CUDA kernels: who reads what, in which pieces, and how much shared memory that takes.
// Plain host code, so that it can be checked without a GPU; the kernels (reduction_kernel.h) take the result by value.
//
// Memory is read in 16-byte chunks of the address space. A segment (a run of elements that lie side by side) is copied
// to shared memory chunk by chunk, at the same place within its chunks as in global memory; a chunk that it fills only
// in part is copied element by element. So whatever the alignment, all but the two ends go by 16 bytes, and because the
// copy only copies, no sum can depend on it.
//
// NCHW. A block owns a tile of outputs; the channels that feed it lie side by side in every input, so it reads one
// segment an input. Tiles are multiples of the least common multiple of all repeats: then no channel feeds two tiles,
// and every feature map is read once. Pooled inputs (one pixel) are the same thing with the whole row as tile.
//
// NHWC. There the channels of a tile are a few bytes of every pixel, so a block owns a part instead: a run of pixels of
// one input, with all channels. It leaves one sum a channel in the workspace, and the block that finishes an item last
// adds them up. Where parts begin depends on the shapes and the type, never on the batch.
#ifndef RRN_REDUCTION_REDUCTION_INDEX_H_
#define RRN_REDUCTION_REDUCTION_INDEX_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "rrn/reduction.h"

#ifdef __CUDACC__
#define RRN_HOST_DEVICE __host__ __device__
#else
#define RRN_HOST_DEVICE
#endif

namespace rrn::internal {

// The smallest norm that a row is divided by: FLT_MIN.
inline constexpr double kTinyNorm = 0x1p-126;

inline constexpr int kReduceThreads = 128;
inline constexpr int kReduceWarp = 32;
inline constexpr int kReduceWarps = kReduceThreads / kReduceWarp;
inline constexpr int kChunkBytes = 16;
// One stage is what a block has in flight at a time. Several blocks share a multiprocessor, so that others copy while
// one adds: with stages of 16 KiB, a multiprocessor of 100 KiB (compute capability 8.6) holds 5 blocks of one stage or
// 2 of two, and one of 228 KiB (9.0) holds 12 or 6, as far as shared memory goes.
inline constexpr int kStageChunks = 1024;
// Partial sums of a tile's channels in shared memory: 8 KiB at most.
inline constexpr int kMaxSlots = 2048;
// Below this many blocks tiles are not made larger than they must be.
inline constexpr std::int64_t kEnoughBlocks = 1024;
// NHWC: an item is split into about this many parts, or into single stages where it is small.
inline constexpr std::int64_t kPartsOfItem = 64;
// NHWC: a thread keeps the sums of at most this many channels in registers; wider rows are cut into slices.
inline constexpr int kSumsOfThread = 8;
inline constexpr int kMaxSlice = kReduceThreads * kSumsOfThread;
// The floats behind the stages that both kernels use to meet: one a thread.
inline constexpr int kScratchFloats = kReduceThreads;

// The channels [first, last) of one input that a tile needs.
struct ChannelRange {
  std::int32_t first;
  std::int32_t last;
};

RRN_HOST_DEVICE inline ChannelRange ChannelsOfTile(std::int32_t first_output, std::int32_t count,
                                                   std::int32_t repeats) {
  return {first_output / repeats, (first_output + count - 1) / repeats + 1};
}

// How many threads share a channel of an NCHW map, as a power of two: it decides the order of the sum, so it depends on
// the pixels alone. From 32 pixels on, a warp reads neighbours, free of bank conflicts; below, at most 4-fold ones.
RRN_HOST_DEVICE inline int LanesLog2(std::int64_t pixels) {
  return pixels == 1 ? 0 : pixels <= 16 ? 3 : pixels < 32 ? 4 : pixels < 512 ? 5 : 7;
}

// Chunks that `bytes` bytes touch wherever they begin.
inline std::int64_t MaxChunks(std::int64_t bytes) { return (bytes + kChunkBytes - 1) / kChunkBytes + 1; }

// ---------------------------------------------------------------------------------------------------- NCHW and pooled

struct MapsInput {
  const void* data;
  std::int64_t item;    // elements of one batch item
  std::int64_t pixels;  // of one channel
  std::int32_t channels;
  std::int32_t repeats;
  std::int32_t tile_channels;  // channels of a full tile; 0 where tiles end inside channels
  std::int32_t lanes_log2;
  std::int32_t slots;       // partial sums of one channel: one a warp that shares it
  std::int32_t first_slot;  // of the tile's first channel
};

struct MapsGeometry {
  MapsInput inputs[kMaxReductionInputs];
  std::int64_t batch;
  std::int32_t input_count;
  std::int32_t channels;
  std::int32_t tile;          // outputs of a block
  std::int32_t tiles;         // blocks of an item
  std::int32_t stages;        // 1: the whole tile fits one; 2: they take turns
  std::int32_t stage_chunks;  // of one stage
  std::int32_t slot_count;
  bool normalize;
  std::uint32_t* counters;  // one an item; null where no workspace is needed
  float* rows;              // [batch, channels]
};

// -------------------------------------------------------------------------------------------------------------- NHWC

struct PixelsInput {
  const void* data;
  std::int64_t item;
  std::int64_t pixels;
  std::int64_t run;       // pixels of a part
  std::int64_t partials;  // where this input's [runs, channels] sums begin in an item's workspace, in floats
  std::int64_t means;     // where its [channels] means begin
  std::int32_t channels;
  std::int32_t repeats;
  std::int32_t runs;
  std::int32_t slice;   // channels of a part
  std::int32_t slices;  // 1: a part's pixels lie side by side
  std::int32_t stage_pixels;
  std::int32_t row_chunks;  // chunks of a pixel's slice in shared memory; 0 where pixels lie side by side
  std::int32_t lanes;       // threads that share a channel
  std::int32_t first_part;
};

struct PixelsGeometry {
  PixelsInput inputs[kMaxReductionInputs];
  std::int64_t batch;
  std::int64_t item_floats;  // workspace of one item
  std::int32_t input_count;
  std::int32_t channels;
  std::int32_t parts;  // blocks of an item
  std::int32_t stages;
  std::int32_t stage_chunks;
  bool normalize;
  std::uint32_t* counters;
  float* floats;  // [batch, item_floats]
};

// ------------------------------------------------------------------------------------------------------ shared memory

// Both kernels: stages, then floats, then one double a warp, then a flag.
struct SharedLayout {
  std::int32_t floats;  // byte offsets
  std::int32_t doubles;
  std::int32_t flag;
  std::int32_t bytes;
};

RRN_HOST_DEVICE inline SharedLayout LayOut(std::int32_t stages, std::int32_t stage_chunks, std::int32_t float_count) {
  const std::int32_t floats = stages * stage_chunks * kChunkBytes;
  const std::int32_t doubles = floats + (float_count + 1) / 2 * 8;
  const std::int32_t flag = doubles + kReduceWarps * 8;
  return {floats, doubles, flag, flag + 8};
}

RRN_HOST_DEVICE inline SharedLayout LayOut(const MapsGeometry& g) {
  return LayOut(g.stages, g.stage_chunks, g.slot_count);
}

RRN_HOST_DEVICE inline SharedLayout LayOut(const PixelsGeometry& g) {
  return LayOut(g.stages, g.stage_chunks, kScratchFloats);
}

// ------------------------------------------------------------------------------------------------------------- choices

// Whether the NHWC kernel takes this plan. With one pixel the layouts are the same, and the other kernel needs less.
inline bool TakesPixelsKernel(const ReductionPlan& plan) noexcept {
  if (plan.layout != ReductionLayout::kNhwc) return false;
  bool maps = false;
  for (int k = 0; k < plan.input_count; ++k) maps = maps || plan.inputs[static_cast<std::size_t>(k)].pixels > 1;
  return maps;
}

// The kernels count channels in 32 bits.
inline bool FitsCuda(const ReductionPlan& plan) noexcept { return plan.channels <= std::int64_t{1} << 28; }

// channels / gcd(C_1 ... C_K), the least common multiple of all repeats.
inline std::int64_t ExactTile(const ReductionPlan& plan) noexcept {
  std::int64_t gcd = plan.channels;
  for (int k = 0; k < plan.input_count; ++k) {
    std::int64_t other = plan.inputs[static_cast<std::size_t>(k)].channels;
    while (other != 0) {
      const std::int64_t rest = gcd % other;
      gcd = other;
      other = rest;
    }
  }
  return plan.channels / gcd;
}

// The most channels of an input with `repeats` that a tile of `tile` outputs can touch.
inline std::int64_t MaxTileChannels(const ReductionPlan::Input& input, std::int64_t tile, bool exact) noexcept {
  return std::min(input.channels, exact ? tile / input.repeats : (tile - 1) / input.repeats + 2);
}

// Everything but the pointers, for a plan that FitsCuda and has a batch.
inline MapsGeometry MakeMapsGeometry(const ReductionPlan& plan, ReductionType type) noexcept {
  const auto size = static_cast<std::int64_t>(ReductionTypeSize(type));
  const auto slots_of = [](std::int64_t pixels) {
    return (std::int64_t{1} << LanesLog2(pixels)) > kReduceWarp ? kReduceWarps : 1;
  };
  const auto slot_count = [&](std::int64_t tile, bool exact) {
    std::int64_t count = 0;
    for (int k = 0; k < plan.input_count; ++k) {
      const auto& input = plan.inputs[static_cast<std::size_t>(k)];
      count += MaxTileChannels(input, tile, exact) * slots_of(input.pixels);
    }
    return count;
  };
  const auto chunk_count = [&](std::int64_t tile, bool exact) {
    std::int64_t count = 0;
    for (int k = 0; k < plan.input_count; ++k) {
      const auto& input = plan.inputs[static_cast<std::size_t>(k)];
      count += MaxChunks(MaxTileChannels(input, tile, exact) * input.pixels * size);
    }
    return count;
  };
  std::int64_t tile = ExactTile(plan);
  const bool exact = slot_count(tile, true) <= kMaxSlots;
  if (exact) {
    bool pooled = true;
    for (int k = 0; k < plan.input_count; ++k) pooled = pooled && plan.inputs[static_cast<std::size_t>(k)].pixels == 1;
    while (tile < plan.channels) {
      const std::int64_t larger = std::min(2 * tile, plan.channels);
      if (slot_count(larger, true) > kMaxSlots) break;
      // A pooled item is a few kilobytes: one block takes it whole, so that it can normalise it alone.
      if (!pooled && (chunk_count(larger, true) > kStageChunks ||
                      plan.batch * ((plan.channels + larger - 1) / larger) < kEnoughBlocks)) {
        break;
      }
      tile = larger;
    }
  } else {
    // Channel counts with few common divisors, in the thousands: tiles end inside channels, and neighbours read these
    // channels twice.
    while (slot_count(tile, false) > kMaxSlots) tile = (tile + 1) / 2;
  }

  MapsGeometry g = {};
  g.batch = plan.batch;
  g.input_count = plan.input_count;
  g.channels = static_cast<std::int32_t>(plan.channels);
  g.tile = static_cast<std::int32_t>(tile);
  g.tiles = static_cast<std::int32_t>((plan.channels + tile - 1) / tile);
  const std::int64_t chunks = chunk_count(tile, exact);
  g.stages = chunks <= kStageChunks ? 1 : 2;
  g.stage_chunks = static_cast<std::int32_t>(std::min<std::int64_t>(chunks, kStageChunks));
  g.slot_count = static_cast<std::int32_t>(slot_count(tile, exact));
  g.normalize = plan.normalize;
  std::int64_t slot = 0;
  for (int k = 0; k < plan.input_count; ++k) {
    const auto& input = plan.inputs[static_cast<std::size_t>(k)];
    MapsInput& in = g.inputs[k];
    in.item = input.channels * input.pixels;
    in.pixels = input.pixels;
    in.channels = static_cast<std::int32_t>(input.channels);
    in.repeats = static_cast<std::int32_t>(input.repeats);
    in.tile_channels = exact ? static_cast<std::int32_t>(tile / input.repeats) : 0;
    in.lanes_log2 = LanesLog2(input.pixels);
    in.slots = static_cast<std::int32_t>(slots_of(input.pixels));
    in.first_slot = static_cast<std::int32_t>(slot);
    slot += MaxTileChannels(input, tile, exact) * in.slots;
  }
  return g;
}

// The same for NHWC.
inline PixelsGeometry MakePixelsGeometry(const ReductionPlan& plan, ReductionType type) noexcept {
  const auto size = static_cast<std::int64_t>(ReductionTypeSize(type));
  std::int64_t total = 0;
  for (int k = 0; k < plan.input_count; ++k) {
    const auto& input = plan.inputs[static_cast<std::size_t>(k)];
    total += input.channels * input.pixels * size;
  }
  constexpr std::int64_t kStageBytes = std::int64_t{kStageChunks} * kChunkBytes;
  const std::int64_t stages_of_part = (total + kPartsOfItem * kStageBytes - 1) / (kPartsOfItem * kStageBytes);

  PixelsGeometry g = {};
  g.batch = plan.batch;
  g.input_count = plan.input_count;
  g.channels = static_cast<std::int32_t>(plan.channels);
  g.stages = stages_of_part > 1 ? 2 : 1;
  g.stage_chunks = kStageChunks;
  g.normalize = plan.normalize;
  std::int64_t floats = 0;
  std::int64_t parts = 0;
  for (int k = 0; k < plan.input_count; ++k) {
    const auto& input = plan.inputs[static_cast<std::size_t>(k)];
    PixelsInput& in = g.inputs[k];
    in.item = input.channels * input.pixels;
    in.pixels = input.pixels;
    in.channels = static_cast<std::int32_t>(input.channels);
    in.repeats = static_cast<std::int32_t>(input.repeats);
    in.slice = std::min(in.channels, kMaxSlice);
    in.slices = (in.channels + in.slice - 1) / in.slice;
    in.lanes = in.slice < kReduceThreads ? kReduceThreads / in.slice : 1;
    // A segment's two ends may lie in chunks of their own: one chunk's bytes less than fit.
    std::int64_t stage_pixels = (kStageBytes - kChunkBytes) / (in.slice * size);
    if (in.slices > 1) {
      in.row_chunks = static_cast<std::int32_t>(MaxChunks(in.slice * size));
      stage_pixels = kStageChunks / in.row_chunks;
    }
    in.stage_pixels = static_cast<std::int32_t>(std::min(stage_pixels, input.pixels));
    in.run = std::min(in.stage_pixels * stages_of_part, input.pixels);
    in.runs = static_cast<std::int32_t>((input.pixels + in.run - 1) / in.run);
    in.first_part = static_cast<std::int32_t>(parts);
    in.partials = floats;
    parts += std::int64_t{in.runs} * in.slices;
    floats += std::int64_t{in.runs} * in.channels;
    in.means = floats;
    floats += in.channels;
  }
  g.parts = static_cast<std::int32_t>(parts);
  g.item_floats = floats;
  return g;
}

// Bytes of the counters at the workspace's beginning, so that the floats behind them are aligned.
inline std::size_t CounterBytes(std::int64_t batch) noexcept {
  return (static_cast<std::size_t>(batch) * sizeof(std::uint32_t) + kChunkBytes - 1) / kChunkBytes * kChunkBytes;
}

// Floats of one item in the workspace; 0 where none is needed.
inline std::int64_t WorkspaceFloats(const MapsGeometry& g) noexcept {
  return g.normalize && g.tiles > 1 ? g.channels : 0;
}
inline std::int64_t WorkspaceFloats(const PixelsGeometry& g) noexcept { return g.item_floats; }

}  // namespace rrn::internal

#endif  // RRN_REDUCTION_REDUCTION_INDEX_H_
