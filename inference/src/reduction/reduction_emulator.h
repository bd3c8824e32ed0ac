// A GPU's thread blocks on the CPU: runs the very source of the CUDA kernels (reduction_kernel.h), phase by phase and
// thread by thread, and watches every access. For tests only.
//
// What it finds: reads and writes out of bounds or misaligned; elements read or outputs written not exactly once;
// shared memory that is read before it is written, before its copy has been waited for, or written and used by two
// threads without a barrier between; the same of the workspace, of which only the last block of an item may read what
// others wrote; bank conflicts. What it cannot find: anything about time, and what the GPU's own instructions
// (cp.async, shuffles, fences, atomics) do other than the few lines of DeviceBlock say.
#ifndef RRN_REDUCTION_REDUCTION_EMULATOR_H_
#define RRN_REDUCTION_REDUCTION_EMULATOR_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "reduction/half.h"
#include "reduction/reduction_index.h"
#include "reduction/reduction_kernel.h"

namespace rrn::testing {

// One array in "global memory", with the number of accesses to each of its bytes.
struct WatchedArray {
  const unsigned char* begin = nullptr;
  std::size_t bytes = 0;
  std::vector<std::uint8_t> accesses = {};

  bool Holds(const void* at, std::size_t size) const {
    const auto* byte = static_cast<const unsigned char*>(at);
    return byte >= begin && byte + size <= begin + bytes;
  }
  void Count(const void* at, std::size_t size) {
    const auto first = static_cast<std::size_t>(static_cast<const unsigned char*>(at) - begin);
    for (std::size_t i = first; i < first + size; ++i) ++accesses[i];
  }
};

// What all blocks of a launch share, and what was noticed.
struct EmulatedMemory {
  std::vector<WatchedArray> inputs;
  WatchedArray output;
  WatchedArray workspace;
  // Of each float of the workspace.
  struct Written {
    int block = -1;  // -1: none
    int thread = -1;
    std::int64_t phase = -1;
    std::int64_t counted = 0;  // how often that block had counted itself as done before
  };
  std::vector<Written> written = {};
  std::vector<std::int64_t> counted = {};  // how often each block has counted itself as done by now
  std::string error;                       // the first one
  int worst_conflict = 0;       // bank conflicts of reads of elements: threads of a warp that wait for one bank
  std::int64_t wide_bytes = 0;  // copied by 16 bytes
  std::int64_t other_bytes = 0;

  void Fail(const std::string& what) {
    if (error.empty()) error = what;
  }
};

template <typename T>
class EmulatedBlock {
 public:
  template <typename V>
  class PerThread {
   public:
    PerThread() {
      // All bits set: not a number. A GPU's registers hold anything.
      std::memset(values_.data(), 0xff, sizeof values_);
    }
    V& operator[](int t) { return values_[static_cast<std::size_t>(t)]; }

   private:
    std::array<V, internal::kReduceThreads> values_;
  };

  // backwards: threads of a phase run in the opposite order, which must not matter.
  EmulatedBlock(EmulatedMemory* memory, std::int32_t shared_bytes, bool backwards)
      : memory_(*memory),
        number_(static_cast<int>(memory->counted.size())),
        backwards_(backwards),
        shared_(static_cast<std::size_t>(shared_bytes), 0xff),
        bytes_(static_cast<std::size_t>(shared_bytes)) {
    memory_.counted.push_back(0);
  }

  template <typename F>
  void ForEach(const F& f) {
    for (int warp = 0; warp < internal::kReduceWarps; ++warp) {
      for (auto& reads : reads_) reads.clear();
      for (int i = 0; i < internal::kReduceWarp; ++i) {
        const int t = (backwards_ ? internal::kReduceWarps - 1 - warp : warp) * internal::kReduceWarp +
                      (backwards_ ? internal::kReduceWarp - 1 - i : i);
        f(t);
      }
      CountConflicts();
    }
  }
  void Barrier() { ++phase_; }

  void CopyChunk(int t, int to, const unsigned char* from) {
    if (reinterpret_cast<std::uintptr_t>(from) % internal::kChunkBytes != 0) memory_.Fail("misaligned 16-byte read");
    if (to % internal::kChunkBytes != 0) memory_.Fail("misaligned 16-byte write to shared memory");
    if (!ReadInput(from, internal::kChunkBytes)) return;
    memory_.wide_bytes += internal::kChunkBytes;
    if (!Write(t, to, internal::kChunkBytes)) return;
    for (int i = 0; i < internal::kChunkBytes; ++i) {
      bytes_[static_cast<std::size_t>(to) + static_cast<std::size_t>(i)].pending = true;
    }
    open_.push_back({t, to, from});
  }
  void CopyElement(int t, int to, const T* from) {
    if (reinterpret_cast<std::uintptr_t>(from) % sizeof(T) != 0) memory_.Fail("misaligned read");
    if (!ReadInput(from, sizeof(T))) return;
    memory_.other_bytes += static_cast<std::int64_t>(sizeof(T));
    Put(t, to, *from);
  }
  void Commit() {
    groups_.push_back(open_);
    open_.clear();
  }
  void Wait(int newer) {
    for (; groups_.size() > static_cast<std::size_t>(newer); groups_.pop_front()) {
      for (const Copy& copy : groups_.front()) {
        for (int i = 0; i < internal::kChunkBytes; ++i) {
          Byte& byte = bytes_[static_cast<std::size_t>(copy.to) + static_cast<std::size_t>(i)];
          byte.pending = false;
          byte.written = phase_;
          byte.writer = copy.thread;
        }
        std::memcpy(shared_.data() + copy.to, copy.from, internal::kChunkBytes);
      }
    }
  }

  float Element(int t, int at) {
    reads_[static_cast<std::size_t>(t % internal::kReduceWarp)].push_back(at / 4);
    return internal::ToFloat(Get<T>(t, at));
  }
  float Float(int t, int at) { return Get<float>(t, at); }
  void SetFloat(int t, int at, float value) { Put(t, at, value); }
  double Double(int t, int at) { return Get<double>(t, at); }
  void SetDouble(int t, int at, double value) { Put(t, at, value); }

  float Partial(int t, const float* from) {
    if (!memory_.workspace.Holds(from, sizeof(float))) {
      memory_.Fail("read outside the workspace");
      return 0;
    }
    const auto& record = memory_.written.at(FloatIndex(from));
    if (record.block < 0) {
      memory_.Fail("the workspace is read before it is written");
    } else if (record.block == number_) {
      if (record.phase == phase_ && record.thread != t) {
        memory_.Fail("read of the workspace without a barrier after another thread's write");
      }
    } else if (!last_ || memory_.counted.at(static_cast<std::size_t>(record.block)) == record.counted) {
      // Only the last block of an item may read what others wrote, and only what they wrote before they counted.
      memory_.Fail("read of the workspace that another block may still write");
    }
    return *from;
  }
  void SetPartial(int t, float* to, float value) {
    if (!memory_.workspace.Holds(to, sizeof(float))) return memory_.Fail("write outside the workspace");
    memory_.workspace.Count(to, sizeof(float));
    memory_.written.at(FloatIndex(to)) = {number_, t, phase_, memory_.counted.back()};
    *to = value;
  }
  void Store(int /*t*/, T* to, float value) {
    if (!memory_.output.Holds(to, sizeof(T))) return memory_.Fail("write outside the output");
    memory_.output.Count(to, sizeof(T));
    internal::FromFloat(value, to);
  }

  template <typename V>
  void LaneSum(PerThread<V>& values, int width) {
    for (int step = width / 2; step > 0; step /= 2) {
      PerThread<V> before = values;
      for (int t = 0; t < internal::kReduceThreads; ++t) values[t] = before[t] + before[t ^ step];
    }
  }

  bool LastOfItem(std::uint32_t* counter, std::uint32_t blocks, int flag) {
    Barrier();
    Put(0, flag, std::int32_t{0});
    Barrier();
    if (!memory_.workspace.Holds(counter, sizeof *counter)) {
      memory_.Fail("counter outside the workspace");
      return false;
    }
    ++memory_.counted.back();
    last_ = (*counter)++ == blocks - 1;
    return last_;
  }
  void ResetCounter(std::uint32_t* counter) {
    *counter = 0;
    last_ = false;
  }

  static double SquareRoot(double value) { return std::sqrt(value); }

  // To be called when the block has ended.
  void Finish() {
    if (!groups_.empty() || !open_.empty()) memory_.Fail("a copy was never waited for");
  }

 private:
  struct Byte {
    std::int64_t written = -1;  // the phase
    std::int64_t read = -1;
    int writer = -1;
    int reader = -1;  // kSeveral: more than one in that phase
    bool pending = false;
  };
  struct Copy {
    int thread;
    int to;
    const unsigned char* from;
  };
  static constexpr int kSeveral = -2;

  std::size_t FloatIndex(const float* at) const {
    return static_cast<std::size_t>(reinterpret_cast<const unsigned char*>(at) - memory_.workspace.begin) /
           sizeof(float);
  }

  bool ReadInput(const void* from, std::size_t size) {
    for (WatchedArray& input : memory_.inputs) {
      if (input.Holds(from, size)) {
        input.Count(from, size);
        return true;
      }
    }
    memory_.Fail("read outside the inputs");
    return false;
  }

  bool InShared(int at, std::size_t size) {
    if (at >= 0 && static_cast<std::size_t>(at) + size <= shared_.size()) return true;
    memory_.Fail("access outside shared memory");
    return false;
  }

  bool Write(int t, int to, std::size_t size) {
    if (!InShared(to, size)) return false;
    for (std::size_t i = 0; i < size; ++i) {
      Byte& byte = bytes_[static_cast<std::size_t>(to) + i];
      if (byte.pending) memory_.Fail("write over a copy under way");
      if (byte.written == phase_ && byte.writer != t) memory_.Fail("two threads write without a barrier between");
      if (byte.read == phase_ && byte.reader != t) memory_.Fail("write without a barrier after another thread's read");
      byte.written = phase_;
      byte.writer = t;
    }
    return true;
  }

  template <typename V>
  void Put(int t, int to, V value) {
    if (static_cast<std::size_t>(to) % sizeof(V) != 0) memory_.Fail("misaligned write to shared memory");
    if (Write(t, to, sizeof value)) std::memcpy(shared_.data() + to, &value, sizeof value);
  }

  template <typename V>
  V Get(int t, int at) {
    V value = {};
    if (static_cast<std::size_t>(at) % sizeof(V) != 0) memory_.Fail("misaligned read of shared memory");
    if (!InShared(at, sizeof value)) return value;
    for (std::size_t i = 0; i < sizeof value; ++i) {
      Byte& byte = bytes_[static_cast<std::size_t>(at) + i];
      if (byte.pending || byte.written < 0) memory_.Fail("shared memory is read before it is written");
      if (byte.written == phase_ && byte.writer != t) {
        memory_.Fail("read without a barrier after another thread's write");
      }
      byte.reader = byte.read == phase_ && byte.reader != t ? kSeveral : t;
      byte.read = phase_;
    }
    std::memcpy(&value, shared_.data() + at, sizeof value);
    return value;
  }

  // The i-th reads of a warp's threads happen together: how many different words of one bank are there?
  void CountConflicts() {
    std::size_t longest = 0;
    for (const auto& reads : reads_) longest = std::max(longest, reads.size());
    for (std::size_t i = 0; i < longest; ++i) {
      std::array<std::array<int, internal::kReduceWarp>, internal::kReduceWarp> words;  // of each bank
      std::array<int, internal::kReduceWarp> counts = {};
      for (const auto& reads : reads_) {
        if (i >= reads.size()) continue;
        const auto bank = static_cast<std::size_t>(reads[i] % internal::kReduceWarp);
        const auto end = words[bank].begin() + counts[bank];
        if (std::find(words[bank].begin(), end, reads[i]) != end) continue;
        words[bank][static_cast<std::size_t>(counts[bank]++)] = reads[i];
      }
      memory_.worst_conflict = std::max(memory_.worst_conflict, *std::max_element(counts.begin(), counts.end()));
    }
  }

  EmulatedMemory& memory_;
  int number_;  // blocks run one after another, so the newest is the one that runs
  bool backwards_;
  bool last_ = false;  // of the item at hand
  std::vector<unsigned char> shared_;
  std::vector<Byte> bytes_;
  std::int64_t phase_ = 0;
  std::vector<Copy> open_;
  std::deque<std::vector<Copy>> groups_;
  std::array<std::vector<int>, internal::kReduceWarp> reads_;
};

// Runs one launch as ReduceCuda would: every block of the grid, one after another.
//   workspace: ReductionWorkspaceSize(plan, type) bytes, or null where none are needed.
//   rows: blocks along the batch (gridDim.y).
//   backwards: blocks and threads run in the opposite order.
template <typename T>
void EmulateReduction(const ReductionPlan& plan, ReductionType type, const std::vector<const void*>& inputs,
                      void* output, unsigned char* workspace, std::int64_t rows, bool backwards,
                      EmulatedMemory* memory) {
  const auto run = [&](auto geometry, std::int32_t columns, const auto& body) {
    for (int k = 0; k < plan.input_count; ++k) geometry.inputs[k].data = inputs[static_cast<std::size_t>(k)];
    if (workspace != nullptr) geometry.counters = reinterpret_cast<std::uint32_t*>(workspace);
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const std::int64_t index = backwards ? rows * columns - 1 - i : i;
      EmulatedBlock<T> block(memory, LayOut(geometry).bytes, backwards);
      body(block, geometry, static_cast<std::int32_t>(index % columns), index / columns);
      block.Finish();
    }
  };
  auto* floats =
      workspace == nullptr ? nullptr : reinterpret_cast<float*>(workspace + internal::CounterBytes(plan.batch));
  if (internal::TakesPixelsKernel(plan)) {
    auto g = internal::MakePixelsGeometry(plan, type);
    g.floats = floats;
    run(g, g.parts, [&](auto& block, const auto& geometry, std::int32_t x, std::int64_t y) {
      internal::ReducePixels<T>(block, geometry, x, y, rows, static_cast<T*>(output));
    });
  } else {
    auto g = internal::MakeMapsGeometry(plan, type);
    g.rows = floats;
    run(g, g.tiles, [&](auto& block, const auto& geometry, std::int32_t x, std::int64_t y) {
      internal::ReduceMaps<T>(block, geometry, x, y, rows, static_cast<T*>(output));
    });
  }
}

}  // namespace rrn::testing

#endif  // RRN_REDUCTION_REDUCTION_EMULATOR_H_
