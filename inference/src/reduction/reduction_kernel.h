// The CUDA kernels' bodies, written against a Block that is a thread block of a GPU in reduction_cuda.cu and an
// emulation of one in reduction_emulator.h: the tests run this very source, thread by thread.
//
// A body is a sequence of phases. Block::ForEach(f) runs f(thread) for every thread, without an order; Barrier() is
// __syncthreads(). Everything outside ForEach is the same for all threads of a block. State that a thread keeps from
// phase to phase is a PerThread. Block has:
//
//   CopyChunk(t, to, from)      starts to copy 16 aligned bytes, global to shared memory (byte offset `to`)
//   CopyElement(t, to, from)    copies one element at once
//   Commit(), Wait(newer)       closes a group of copies; waits for all groups but the `newer` last ones (own copies
//                               only: a barrier must follow)
//   Element(t, at)              one element from shared memory, as float
//   Float, SetFloat, Double, SetDouble(t, at ...)   shared memory by byte offset
//   Partial, SetPartial(t, pointer ...)             the workspace in global memory, past the L1 cache
//   Store(t, pointer, value)    one output
//   LaneSum(values, width)      every aligned group of `width` threads (a power of two, 32 at most) gets the sum of its
//                               values, added as a butterfly: first the neighbours width / 2 apart, last the nearest
//   LastOfItem(counter, blocks) true in the last of `blocks` blocks to get here, which then sees what the others have
//                               written to the workspace; that block must set the counter to zero again
//   ResetCounter(counter)
//   SquareRoot(value)           of a double
//
// Order of sums, for every type and alignment. NCHW: thread l of the L = 2^LanesLog2 that share a channel adds pixels
// l, l + L, l + 2 L, ... in turn, then LaneSum, then the warps as (0 + 1) + (2 + 3). NHWC: thread l of a part's L lanes
// adds pixels l, l + L, ... of the part in turn; the lanes are added in turn, then the parts of the item. Both:
// division by the pixels, sum over the inputs in turn, division by K. Norm: thread t adds the squares of outputs t, t +
// 128, ... in double, then LaneSum, then the warps.
#ifndef RRN_REDUCTION_REDUCTION_KERNEL_H_
#define RRN_REDUCTION_REDUCTION_KERNEL_H_

#include <cstdint>

#include "reduction/reduction_index.h"

#ifdef __CUDACC__
#define RRN_DEVICE __device__
#define RRN_UNROLL _Pragma("unroll")
#define RRN_UNROLL_4 _Pragma("unroll 4")
#define RRN_UNROLL_8 _Pragma("unroll 8")
#else
#define RRN_DEVICE
#define RRN_UNROLL
#define RRN_UNROLL_4
#define RRN_UNROLL_8
#endif

namespace rrn::internal {

// Elements side by side in global memory.
struct Segment {
  const unsigned char* begin;
  std::int64_t bytes;

  // Where in its first chunk it begins.
  RRN_DEVICE std::int32_t Offset() const {
    return static_cast<std::int32_t>(reinterpret_cast<std::uintptr_t>(begin) % kChunkBytes);
  }
  RRN_DEVICE std::int64_t Chunks() const { return (Offset() + bytes + kChunkBytes - 1) / kChunkBytes; }
};

// Starts to copy `count` chunks of a segment from chunk `first` on; to byte `to` of shared memory.
template <typename T, typename Block>
RRN_DEVICE void CopyChunks(Block& block, const Segment& segment, std::int64_t first, std::int32_t count,
                           std::int32_t to) {
  const std::int64_t skipped = first * kChunkBytes - segment.Offset();  // segment bytes before the first chunk
  block.ForEach([&](int t) {
    for (std::int32_t i = t; i < count; i += kReduceThreads) {
      const std::int64_t byte = skipped + std::int64_t{i} * kChunkBytes;
      const std::int32_t slot = to + i * kChunkBytes;
      if (byte >= 0 && byte + kChunkBytes <= segment.bytes) {
        block.CopyChunk(t, slot, segment.begin + byte);
      } else {
        for (int e = 0; e < kChunkBytes; e += static_cast<int>(sizeof(T))) {
          if (byte + e >= 0 && byte + e < segment.bytes) {
            block.CopyElement(t, slot + e, reinterpret_cast<const T*>(segment.begin + byte + e));
          }
        }
      }
    }
  });
}

// The sum over all threads of a block, in every thread.
template <typename Block>
RRN_DEVICE double BlockSum(Block& block, const SharedLayout& shared,
                           typename Block::template PerThread<double>& values) {
  block.LaneSum(values, kReduceWarp);
  block.ForEach([&](int t) {
    if (t % kReduceWarp == 0) block.SetDouble(t, shared.doubles + t / kReduceWarp * 8, values[t]);
  });
  block.Barrier();
  double sum = 0;
  block.ForEach([&](int t) {
    sum = (block.Double(t, shared.doubles) + block.Double(t, shared.doubles + 8)) +
          (block.Double(t, shared.doubles + 16) + block.Double(t, shared.doubles + 24));
  });
  return sum;
}

// Writes a row of `count` outputs, each value(t, o), divided by their norm. `value` is called twice for each.
template <typename T, typename Block, typename Value>
RRN_DEVICE void StoreNormalized(Block& block, const SharedLayout& shared, std::int32_t count, T* output,
                                const Value& value) {
  typename Block::template PerThread<double> squares;
  block.ForEach([&](int t) {
    squares[t] = 0;
    for (std::int32_t o = t; o < count; o += kReduceThreads) {
      const auto v = static_cast<double>(value(t, o));
      squares[t] += v * v;
    }
  });
  const double norm = block.SquareRoot(BlockSum(block, shared, squares));
  const double divisor = norm < kTinyNorm ? kTinyNorm : norm;
  block.ForEach([&](int t) {
    for (std::int32_t o = t; o < count; o += kReduceThreads) {
      block.Store(t, output + o, static_cast<float>(static_cast<double>(value(t, o)) / divisor));
    }
  });
}

// ---------------------------------------------------------------------------------------------------- NCHW and pooled

// One tile of outputs of one batch item.
template <typename T, typename Block>
class MapsTile {
 public:
  RRN_DEVICE MapsTile(Block& block, const MapsGeometry& g, std::int64_t item, std::int32_t tile)
      : block_(block),
        g_(g),
        shared_(LayOut(g)),
        item_(item),
        tile_(tile),
        first_(tile * g.tile),
        count_(g.channels - first_ < g.tile ? g.channels - first_ : g.tile) {}

  RRN_DEVICE void Run(T* output) {
    Cursor loading = {0, 0};
    Cursor adding = {0, 0};
    Load(&loading, 0);
    for (int stage = 0; adding.input < g_.input_count; stage = 1 - stage) {
      if (loading.input < g_.input_count) {
        Load(&loading, 1 - stage);
        block_.Wait(1);
      } else {
        block_.Wait(0);
      }
      block_.Barrier();
      Add(&adding, stage);
      block_.Barrier();  // The stage is free, and the slots of its channels are written.
    }
    T* row = output + item_ * g_.channels;
    const auto value = [this](int t, std::int32_t o) { return Value(t, o); };
    if (!g_.normalize) {
      block_.ForEach([&](int t) {
        for (std::int32_t o = t; o < count_; o += kReduceThreads) block_.Store(t, row + first_ + o, value(t, o));
      });
    } else if (g_.tiles == 1) {
      StoreNormalized(block_, shared_, count_, row, value);
    } else {
      float* sums = g_.rows + item_ * g_.channels;
      block_.ForEach([&](int t) {
        for (std::int32_t o = t; o < count_; o += kReduceThreads) block_.SetPartial(t, sums + first_ + o, value(t, o));
      });
      if (block_.LastOfItem(g_.counters + item_, static_cast<std::uint32_t>(g_.tiles), shared_.flag)) {
        StoreNormalized(block_, shared_, g_.channels, row,
                        [&](int t, std::int32_t o) { return block_.Partial(t, sums + o); });
        block_.ResetCounter(g_.counters + item_);
      }
    }
    block_.Barrier();  // The next item writes to shared memory again.
  }

 private:
  // How far the tile's chunks, input after input, have been worked through.
  struct Cursor {
    std::int32_t input;
    std::int64_t chunk;
  };

  RRN_DEVICE ChannelRange Channels(const MapsInput& in) const {
    if (in.tile_channels == 0) return ChannelsOfTile(first_, count_, in.repeats);
    const std::int32_t first = tile_ * in.tile_channels;
    const std::int32_t rest = in.channels - first;
    return {first, first + (rest < in.tile_channels ? rest : in.tile_channels)};
  }

  RRN_DEVICE Segment SegmentOf(const MapsInput& in) const {
    const ChannelRange channels = Channels(in);
    const std::int64_t first = item_ * in.item + channels.first * in.pixels;
    return {static_cast<const unsigned char*>(in.data) + first * static_cast<std::int64_t>(sizeof(T)),
            (channels.last - channels.first) * in.pixels * static_cast<std::int64_t>(sizeof(T))};
  }

  // Calls visit(in, segment, first chunk, chunks, byte of shared memory) for what one stage holds from *cursor on.
  template <typename Visit>
  RRN_DEVICE void VisitStage(Cursor* cursor, int stage, const Visit& visit) const {
    std::int32_t free = g_.stage_chunks;
    while (cursor->input < g_.input_count && free > 0) {
      const MapsInput& in = g_.inputs[cursor->input];
      const Segment segment = SegmentOf(in);
      const std::int64_t chunks = segment.Chunks();
      const std::int64_t rest = chunks - cursor->chunk;
      const std::int32_t take = rest < free ? static_cast<std::int32_t>(rest) : free;
      visit(in, segment, cursor->chunk, take, (stage * g_.stage_chunks + g_.stage_chunks - free) * kChunkBytes);
      free -= take;
      cursor->chunk += take;
      if (cursor->chunk == chunks) *cursor = {cursor->input + 1, 0};
    }
  }

  RRN_DEVICE void Load(Cursor* cursor, int stage) {
    VisitStage(cursor, stage,
               [this](const MapsInput& /*in*/, const Segment& segment, std::int64_t first, std::int32_t count,
                      std::int32_t to) { CopyChunks<T>(block_, segment, first, count, to); });
    block_.Commit();
  }

  RRN_DEVICE void Add(Cursor* cursor, int stage) {
    VisitStage(
        cursor, stage,
        [this](const MapsInput& in, const Segment& segment, std::int64_t first, std::int32_t count, std::int32_t from) {
          constexpr std::int64_t kSize = sizeof(T);
          if (first == 0) round_ = 0;
          const std::int64_t before = first * kChunkBytes - segment.Offset();
          const std::int64_t after = before + std::int64_t{count} * kChunkBytes;
          const std::int64_t low = before < 0 ? 0 : before;
          const std::int64_t high = after < segment.bytes ? after : segment.bytes;
          const ChannelRange channels = Channels(in);
          AddElements(in, channels.last - channels.first, low / kSize, high / kSize,
                      from + static_cast<std::int32_t>(low - before));
        });
  }

  // Adds elements [low, high) of an input's `channels` channels, which lie in shared memory from byte `from` on. Groups
  // of threads take a channel each, round by round. A channel that goes on in the next stage stays in sums_, because
  // the round that is not done is taken up again there.
  RRN_DEVICE void AddElements(const MapsInput& in, std::int32_t channels, std::int64_t low, std::int64_t high,
                              std::int32_t from) {
    const int lanes = 1 << in.lanes_log2;
    const int width = lanes < kReduceWarp ? lanes : kReduceWarp;
    const std::int32_t groups = kReduceThreads >> in.lanes_log2;
    for (;; ++round_) {
      const std::int32_t first = round_ * groups;
      if (first >= channels || first * in.pixels >= high) return;
      block_.ForEach([&](int t) {
        const std::int32_t channel = first + (t >> in.lanes_log2);
        const std::int64_t begin = channel * in.pixels;
        const std::int64_t end = begin + in.pixels;
        if (begin >= low) sums_[t] = 0.0F;
        const std::int64_t stop = end < high ? end : high;
        std::int64_t element = begin + (t & (lanes - 1));
        if (element < low) element += (low - element + lanes - 1) >> in.lanes_log2 << in.lanes_log2;
        if (channel >= channels || element >= stop) return;
        // Within a stage, 32 bits do.
        std::int32_t at = from + static_cast<std::int32_t>(element - low) * static_cast<std::int32_t>(sizeof(T));
        const std::int32_t past = from + static_cast<std::int32_t>(stop - low) * static_cast<std::int32_t>(sizeof(T));
        const std::int32_t step = lanes * static_cast<std::int32_t>(sizeof(T));
        float sum = sums_[t];
        RRN_UNROLL_4 for (; at < past; at += step) sum += block_.Element(t, at);
        sums_[t] = sum;
      });
      typename Block::template PerThread<float> totals;
      block_.ForEach([&](int t) { totals[t] = sums_[t]; });
      block_.LaneSum(totals, width);
      block_.ForEach([&](int t) {
        const std::int32_t channel = first + (t >> in.lanes_log2);
        const std::int64_t end = (channel + std::int64_t{1}) * in.pixels;
        if (channel < channels && end > low && end <= high && (t & (width - 1)) == 0) {
          const std::int32_t slot = in.first_slot + channel * in.slots + (t & (lanes - 1)) / kReduceWarp;
          block_.SetFloat(t, shared_.floats + slot * 4, totals[t]);
        }
      });
      const std::int32_t next = first + groups < channels ? first + groups : channels;
      if (next * in.pixels > high) return;
    }
  }

  // Output `o` of the tile.
  RRN_DEVICE float Value(int t, std::int32_t o) const {
    float sum = 0.0F;
    for (std::int32_t k = 0; k < g_.input_count; ++k) {
      const MapsInput& in = g_.inputs[k];
      const std::int32_t channel =
          static_cast<std::int32_t>(static_cast<std::uint32_t>(first_ + o) / static_cast<std::uint32_t>(in.repeats)) -
          Channels(in).first;
      const std::int32_t at = shared_.floats + (in.first_slot + channel * in.slots) * 4;
      float total = block_.Float(t, at);
      if (in.slots == kReduceWarps) {
        total = (total + block_.Float(t, at + 4)) + (block_.Float(t, at + 8) + block_.Float(t, at + 12));
      }
      sum += total / static_cast<float>(in.pixels);
    }
    return sum / static_cast<float>(g_.input_count);
  }

  Block& block_;
  const MapsGeometry& g_;
  const SharedLayout shared_;
  const std::int64_t item_;
  const std::int32_t tile_;
  const std::int32_t first_;
  const std::int32_t count_;
  std::int32_t round_ = 0;
  typename Block::template PerThread<float> sums_;
};

// Block (x, y) of a grid of (tiles, y_count): tile x of items y, y + y_count, ...
template <typename T, typename Block>
RRN_DEVICE void ReduceMaps(Block& block, const MapsGeometry& g, std::int32_t x, std::int64_t y, std::int64_t y_count,
                           T* output) {
  for (std::int64_t item = y; item < g.batch; item += y_count) MapsTile<T, Block>(block, g, item, x).Run(output);
}

// -------------------------------------------------------------------------------------------------------------- NHWC

// One part of one batch item: pixels [first_pixel, last_pixel) of channels [first_channel, first_channel + width).
template <typename T, typename Block>
class PixelsPart {
 public:
  RRN_DEVICE PixelsPart(Block& block, const PixelsGeometry& g, std::int64_t item, std::int32_t part)
      : block_(block), g_(g), shared_(LayOut(g)), item_(item) {
    std::int32_t k = 0;
    while (k + 1 < g.input_count && g.inputs[k + 1].first_part <= part) ++k;
    input_ = k;
    const PixelsInput& in = g.inputs[k];
    run_ = part - in.first_part;
    std::int32_t slice = 0;
    if (in.slices > 1) {
      slice = run_ % in.slices;
      run_ /= in.slices;
    }
    first_pixel_ = run_ * in.run;
    last_pixel_ = first_pixel_ + in.run < in.pixels ? first_pixel_ + in.run : in.pixels;
    first_channel_ = slice * in.slice;
    width_ = in.channels - first_channel_ < in.slice ? in.channels - first_channel_ : in.slice;
  }

  RRN_DEVICE void Run(T* output) {
    const PixelsInput& in = g_.inputs[input_];
    block_.ForEach([&](int t) { RRN_UNROLL for (int i = 0; i < kSumsOfThread; ++i) sums_[t].value[i] = 0.0F; });
    Load(in, first_pixel_, 0);
    int stage = 0;
    for (std::int64_t pixel = first_pixel_; pixel < last_pixel_; pixel += in.stage_pixels) {
      if (pixel + in.stage_pixels < last_pixel_) {
        Load(in, pixel + in.stage_pixels, 1 - stage);
        block_.Wait(1);
      } else {
        block_.Wait(0);
      }
      block_.Barrier();
      Add(in, pixel, stage);
      block_.Barrier();
      stage = 1 - stage;
    }
    float* floats = g_.floats + item_ * g_.item_floats;
    Leave(in, floats + in.partials + std::int64_t{run_} * in.channels + first_channel_);
    if (block_.LastOfItem(g_.counters + item_, static_cast<std::uint32_t>(g_.parts), shared_.flag)) {
      Finish(floats, output + item_ * g_.channels);
      block_.ResetCounter(g_.counters + item_);
    }
    block_.Barrier();
  }

 private:
  struct Sums {
    float value[kSumsOfThread];
  };

  RRN_DEVICE std::int32_t StagePixels(const PixelsInput& in, std::int64_t pixel) const {
    const std::int64_t rest = last_pixel_ - pixel;
    return rest < in.stage_pixels ? static_cast<std::int32_t>(rest) : in.stage_pixels;
  }

  // The slice of one pixel, or of `count` pixels where they lie side by side.
  RRN_DEVICE Segment SegmentOf(const PixelsInput& in, std::int64_t pixel, std::int32_t count) const {
    constexpr std::int64_t kSize = sizeof(T);
    const std::int64_t first = item_ * in.item + pixel * in.channels + first_channel_;
    return {static_cast<const unsigned char*>(in.data) + first * kSize, std::int64_t{count} * width_ * kSize};
  }

  RRN_DEVICE void Load(const PixelsInput& in, std::int64_t pixel, int stage) {
    const std::int32_t pixels = StagePixels(in, pixel);
    const std::int32_t to = stage * g_.stage_chunks * kChunkBytes;
    if (in.slices == 1) {
      const Segment segment = SegmentOf(in, pixel, pixels);
      CopyChunks<T>(block_, segment, 0, static_cast<std::int32_t>(segment.Chunks()), to);
    } else {
      for (std::int32_t p = 0; p < pixels; ++p) {
        const Segment segment = SegmentOf(in, pixel + p, 1);
        CopyChunks<T>(block_, segment, 0, static_cast<std::int32_t>(segment.Chunks()),
                      to + p * in.row_chunks * kChunkBytes);
      }
    }
    block_.Commit();
  }

  RRN_DEVICE void Add(const PixelsInput& in, std::int64_t pixel, int stage) {
    constexpr auto kSize = static_cast<std::int32_t>(sizeof(T));
    const std::int32_t pixels = StagePixels(in, pixel);
    const std::int32_t from = stage * g_.stage_chunks * kChunkBytes;
    if (in.lanes > 1) {
      // Lane l is at pixel l, l + lanes, ... of the part, wherever the stage begins. Threads read side by side.
      const std::int32_t begin = from + SegmentOf(in, pixel, 1).Offset();
      const std::int32_t past = begin + pixels * width_ * kSize;
      const std::int32_t step = in.lanes * width_ * kSize;
      const std::int32_t turn = turn_;
      turn_ = (turn_ + pixels) % in.lanes;
      block_.ForEach([&](int t) {
        if (t >= in.lanes * width_) return;
        const std::int32_t lane = t / width_;
        const std::int32_t skip = lane >= turn ? lane - turn : lane - turn + in.lanes;
        float sum = sums_[t].value[0];
        RRN_UNROLL_4 for (std::int32_t at = begin + (skip * width_ + t - lane * width_) * kSize; at < past;
                          at += step) {
          sum += block_.Element(t, at);
        }
        sums_[t].value[0] = sum;
      });
      return;
    }
    const std::int32_t begin = from + SegmentOf(in, pixel, 1).Offset();
    block_.ForEach([&](int t) {
      RRN_UNROLL for (int i = 0; i < kSumsOfThread; ++i) {
        const std::int32_t channel = t + i * kReduceThreads;
        if (channel >= width_) break;
        float sum = sums_[t].value[i];
        if (in.slices == 1) {
          const std::int32_t step = width_ * kSize;
          const std::int32_t past = begin + pixels * step;
          RRN_UNROLL_4 for (std::int32_t at = begin + channel * kSize; at < past; at += step) {
            sum += block_.Element(t, at);
          }
        } else {
          RRN_UNROLL_4 for (std::int32_t p = 0; p < pixels; ++p) {
            const std::int32_t row = from + p * in.row_chunks * kChunkBytes + SegmentOf(in, pixel + p, 1).Offset();
            sum += block_.Element(t, row + channel * kSize);
          }
        }
        sums_[t].value[i] = sum;
      }
    });
  }

  // Writes the part's sums to the workspace.
  RRN_DEVICE void Leave(const PixelsInput& in, float* to) {
    if (in.lanes == 1) {
      block_.ForEach([&](int t) {
        RRN_UNROLL for (int i = 0; i < kSumsOfThread; ++i) {
          const std::int32_t channel = t + i * kReduceThreads;
          if (channel < width_) block_.SetPartial(t, to + channel, sums_[t].value[i]);
        }
      });
      return;
    }
    block_.ForEach([&](int t) { block_.SetFloat(t, shared_.floats + t * 4, sums_[t].value[0]); });
    block_.Barrier();
    block_.ForEach([&](int t) {
      if (t >= width_) return;
      float sum = block_.Float(t, shared_.floats + t * 4);
      for (std::int32_t lane = 1; lane < in.lanes; ++lane) {
        sum += block_.Float(t, shared_.floats + (lane * width_ + t) * 4);
      }
      block_.SetPartial(t, to + t, sum);
    });
  }

  // Adds the parts up: means of all channels to the workspace, then the row.
  RRN_DEVICE void Finish(float* floats, T* row) {
    for (std::int32_t k = 0; k < g_.input_count; ++k) {
      const PixelsInput& in = g_.inputs[k];
      block_.ForEach([&](int t) {
        for (std::int32_t channel = t; channel < in.channels; channel += kReduceThreads) {
          float sum = 0.0F;
          const float* partial = floats + in.partials + channel;
          RRN_UNROLL_8 for (std::int32_t run = 0; run < in.runs; ++run) {
            sum += block_.Partial(t, partial + std::int64_t{run} * in.channels);
          }
          block_.SetPartial(t, floats + in.means + channel, sum / static_cast<float>(in.pixels));
        }
      });
    }
    block_.Barrier();
    const auto value = [this, floats](int t, std::int32_t o) {
      float sum = 0.0F;
      for (std::int32_t k = 0; k < g_.input_count; ++k) {
        const PixelsInput& in = g_.inputs[k];
        const std::uint32_t channel = static_cast<std::uint32_t>(o) / static_cast<std::uint32_t>(in.repeats);
        sum += block_.Partial(t, floats + in.means + channel);
      }
      return sum / static_cast<float>(g_.input_count);
    };
    if (g_.normalize) {
      StoreNormalized(block_, shared_, g_.channels, row, value);
      return;
    }
    block_.ForEach([&](int t) {
      for (std::int32_t o = t; o < g_.channels; o += kReduceThreads) block_.Store(t, row + o, value(t, o));
    });
  }

  Block& block_;
  const PixelsGeometry& g_;
  const SharedLayout shared_;
  const std::int64_t item_;
  std::int32_t input_ = 0;
  std::int32_t run_ = 0;
  std::int64_t first_pixel_ = 0;
  std::int64_t last_pixel_ = 0;
  std::int32_t first_channel_ = 0;
  std::int32_t width_ = 0;
  std::int32_t turn_ = 0;  // the lane of the stage's first pixel
  typename Block::template PerThread<Sums> sums_;
};

// Block (x, y) of a grid of (parts, y_count): part x of items y, y + y_count, ...
template <typename T, typename Block>
RRN_DEVICE void ReducePixels(Block& block, const PixelsGeometry& g, std::int32_t x, std::int64_t y,
                             std::int64_t y_count, T* output) {
  for (std::int64_t item = y; item < g.batch; item += y_count) PixelsPart<T, Block>(block, g, item, x).Run(output);
}

}  // namespace rrn::internal

#endif  // RRN_REDUCTION_REDUCTION_KERNEL_H_
