#include "rrn/reduction.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "reduction/reduction_index.h"
#include "reduction/sums.h"

namespace rrn {
namespace {

// Outputs are summed in a tile on the stack, so that 16-bit storage needs no heap for its float32 sums. One tile is one
// whole row of ReductionResNet.
constexpr std::int64_t kTile = 512;

// Adds `channels` means, each kRepeats times, to sums[0 ...]. A constant kRepeats lets the compiler turn the inner loop
// into a vector permutation.
template <std::int64_t kRepeats>
void AddWhole(const float* means, std::int64_t channels, float* sums) noexcept {
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t i = 0; i < kRepeats; ++i) sums[c * kRepeats + i] += means[c];
  }
}

// Adds outputs [first, first + count) of one interleaved input, of which means[0] is the first channel that they touch,
// to sums[0, count).
void AddMeans(const float* means, std::int64_t repeats, std::int64_t first, std::int64_t count, float* sums) noexcept {
  if (first % repeats == 0 && count % repeats == 0) {
    const std::int64_t channels = count / repeats;
    switch (repeats) {
      case 1:
        return AddWhole<1>(means, channels, sums);
      case 2:
        return AddWhole<2>(means, channels, sums);
      case 4:
        return AddWhole<4>(means, channels, sums);
      case 8:
        return AddWhole<8>(means, channels, sums);
      default:
        break;
    }
  }
  const std::int64_t begin = first / repeats;
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t channel = (first + done) / repeats;
    const std::int64_t end = std::min((channel + 1) * repeats - first, count);
    for (; done < end; ++done) sums[done] += means[channel - begin];
  }
}

// The kernels and the bytes of an element, for one call.
struct Loops {
  internal::SumKernels sums;
  std::int64_t element_size = 0;
};

// Means of channels [begin, end) of one batch item, whose first element is at `item`.
void Average(const Loops& loops, const ReductionPlan::Input& input, ReductionLayout layout, const std::uint8_t* item,
             std::int64_t begin, std::int64_t end, float* means) noexcept {
  if (layout == ReductionLayout::kNhwc && input.pixels > 1) {
    for (std::int64_t channel = begin; channel < end; channel += internal::kSlice) {
      const std::int64_t width = std::min(internal::kSlice, end - channel);
      loops.sums.columns(item + channel * loops.element_size, input.channels, input.pixels, width,
                         means + (channel - begin));
    }
  } else {
    loops.sums.channels(item + begin * input.pixels * loops.element_size, end - begin, input.pixels, means);
  }
  const auto pixels = static_cast<float>(input.pixels);
  for (std::int64_t c = 0; c < end - begin; ++c) means[c] /= pixels;
}

// Outputs [first, first + count) of one batch item, in float32.
void ReduceTile(const Loops& loops, const ReductionPlan& plan, const void* const* inputs, std::int64_t item,
                std::int64_t first, std::int64_t count, float* sums) noexcept {
  const auto divisor = static_cast<float>(plan.input_count);
  std::array<float, kTile> means;
  std::fill_n(sums, count, 0.0F);
  for (int k = 0; k < plan.input_count; ++k) {
    const auto& input = plan.inputs[static_cast<std::size_t>(k)];
    const auto* data =
        static_cast<const std::uint8_t*>(inputs[k]) + item * input.channels * input.pixels * loops.element_size;
    // At most `count` channels, so they fit into a tile.
    const std::int64_t begin = first / input.repeats;
    const std::int64_t end = (first + count - 1) / input.repeats + 1;
    Average(loops, input, plan.layout, data, begin, end, means.data());
    AddMeans(means.data(), input.repeats, first, count, sums);
  }
  for (std::int64_t i = 0; i < count; ++i) sums[i] /= divisor;
}

// Sum of squares in double, whose range holds any of them; 8 partial sums fill a vector register.
double SumSquares(const float* values, std::int64_t count, double before) noexcept {
  constexpr std::int64_t kLanes = 8;
  std::array<double, kLanes> lanes = {};
  for (std::int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<double>(values[i]);
    lanes[static_cast<std::size_t>(i % kLanes)] += value * value;
  }
  return before + (((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])));
}

void ReduceRows(const Loops& loops, const ReductionPlan& plan, const void* const* inputs, void* output) noexcept {
  std::array<float, kTile> sums;
  for (std::int64_t b = 0; b < plan.batch; ++b) {
    double divisor = 1;
    if (plan.normalize) {
      // Rows wider than a tile are computed twice, because there is no room to keep them.
      double squares = 0;
      for (std::int64_t first = 0; first < plan.channels; first += kTile) {
        const std::int64_t count = std::min(kTile, plan.channels - first);
        ReduceTile(loops, plan, inputs, b, first, count, sums.data());
        squares = SumSquares(sums.data(), count, squares);
      }
      const double norm = std::sqrt(squares);
      divisor = norm < internal::kTinyNorm ? internal::kTinyNorm : norm;
    }
    for (std::int64_t first = 0; first < plan.channels; first += kTile) {
      const std::int64_t count = std::min(kTile, plan.channels - first);
      if (!plan.normalize || plan.channels > kTile) ReduceTile(loops, plan, inputs, b, first, count, sums.data());
      if (plan.normalize) {
        for (std::int64_t i = 0; i < count; ++i) {
          auto& sum = sums[static_cast<std::size_t>(i)];
          sum = static_cast<float>(static_cast<double>(sum) / divisor);
        }
      }
      auto* out = static_cast<std::uint8_t*>(output) + (b * plan.channels + first) * loops.element_size;
      loops.sums.store(sums.data(), count, out);
    }
  }
}

std::string ShapeText(const ReductionShape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank && i < static_cast<int>(shape.dims.size()); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape.dims[static_cast<std::size_t>(i)]);
  }
  return text + "]";
}

const char* Explain(ReductionStatus status) {
  switch (status) {
    case ReductionStatus::kOk:
      return "ok";
    case ReductionStatus::kNoInputs:
      return "expected at least one input";
    case ReductionStatus::kTooManyInputs:
      return "expected at most 32 inputs";
    case ReductionStatus::kBadChannels:
      return "channels must be at least 1";
    case ReductionStatus::kBadRank:
      return "expected inputs [C], [B, C] or [B, C, H, W]";
    case ReductionStatus::kMixedRanks:
      return "expected all inputs to have the same rank";
    case ReductionStatus::kMixedBatch:
      return "expected all inputs to have the same batch size";
    case ReductionStatus::kNotDividing:
      return "expected the channels of every input to divide the output's channels";
    case ReductionStatus::kEmptyMap:
      return "expected feature maps of at least one pixel";
    case ReductionStatus::kNullPointer:
      return "a data pointer is null";
    case ReductionStatus::kCudaError:
      return "the CUDA launch failed";
    case ReductionStatus::kNoWorkspace:
      return "the CUDA kernel needs a workspace for these inputs, see ReductionWorkspaceSize";
  }
  return "unknown error";
}

}  // namespace

std::size_t ReductionTypeSize(ReductionType type) noexcept { return type == ReductionType::kFloat32 ? 4 : 2; }

ReductionStatus PlanReduction(const ReductionShape* shapes, int count, std::int64_t channels, ReductionPlan* plan,
                              const ReductionOptions& options) noexcept {
  static_assert(kMaxReductionInputs == 32, "Explain() names the limit");
  if (count < 1) return ReductionStatus::kNoInputs;
  if (count > kMaxReductionInputs) return ReductionStatus::kTooManyInputs;
  if (channels < 1) return ReductionStatus::kBadChannels;
  *plan = ReductionPlan{};
  plan->input_count = count;
  plan->channels = channels;
  const int rank = shapes[0].rank;
  for (int k = 0; k < count; ++k) {
    const ReductionShape& shape = shapes[k];
    if (shape.rank != 1 && shape.rank != 2 && shape.rank != 4) return ReductionStatus::kBadRank;
    if (shape.rank != rank) return ReductionStatus::kMixedRanks;
    const std::int64_t batch = rank == 1 ? 1 : shape.dims[0];
    if (k == 0) plan->batch = batch;
    if (batch < 0 || batch != plan->batch) return ReductionStatus::kMixedBatch;
    auto& input = plan->inputs[static_cast<std::size_t>(k)];
    input.channels = rank == 1 ? shape.dims[0] : shape.dims[1];
    if (input.channels < 1 || channels % input.channels != 0) return ReductionStatus::kNotDividing;
    input.repeats = channels / input.channels;
    if (rank == 4 && (shape.dims[2] < 1 || shape.dims[3] < 1)) return ReductionStatus::kEmptyMap;
    input.pixels = rank == 4 ? shape.dims[2] * shape.dims[3] : 1;
  }
  plan->output_rank = rank == 1 ? 1 : 2;
  plan->layout = options.layout;
  plan->normalize = options.normalize;
  return ReductionStatus::kOk;
}

std::string DescribeReductionError(ReductionStatus status, const ReductionShape* shapes, int count,
                                   std::int64_t channels) {
  if (status == ReductionStatus::kOk) return "ok";
  std::string text = std::string("reduction: ") + Explain(status) + "; got";
  for (int k = 0; k < count; ++k) text += (k == 0 ? " " : ", ") + ShapeText(shapes[k]);
  if (count < 1) text += " no input";
  return text + " for " + std::to_string(channels) + " channels";
}

ReductionWorkspace ReductionWorkspaceSize(const ReductionPlan& plan, ReductionType type) noexcept {
  if (plan.batch == 0 || !internal::FitsCuda(plan)) return {};
  const std::int64_t floats = internal::TakesPixelsKernel(plan)
                                  ? internal::WorkspaceFloats(internal::MakePixelsGeometry(plan, type))
                                  : internal::WorkspaceFloats(internal::MakeMapsGeometry(plan, type));
  if (floats == 0) return {};
  const std::size_t counters = internal::CounterBytes(plan.batch);
  return {counters + static_cast<std::size_t>(plan.batch * floats) * sizeof(float), counters};
}

ReductionStatus ReduceCpu(const ReductionPlan& plan, ReductionType type, const void* const* inputs,
                          void* output) noexcept {
  if (plan.batch == 0) return ReductionStatus::kOk;
  if (inputs == nullptr || output == nullptr) return ReductionStatus::kNullPointer;
  for (int k = 0; k < plan.input_count; ++k) {
    if (inputs[k] == nullptr) return ReductionStatus::kNullPointer;
  }
  const Loops loops = {internal::ChooseSums().For(type), static_cast<std::int64_t>(ReductionTypeSize(type))};
  ReduceRows(loops, plan, inputs, output);
  return ReductionStatus::kOk;
}

}  // namespace rrn
