#include "rrn/reduction.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "reduction/half.h"
#include "reduction/reduction_index.h"

namespace rrn {
namespace {

using internal::BFloat16;
using internal::FromFloat;
using internal::Half;
using internal::ToFloat;

// Outputs are summed in a tile on the stack, so that 16-bit storage needs no heap for its float32 sums. One tile is one
// whole row of ReductionResNet.
constexpr std::int64_t kTile = 512;

// Sum of `count` elements, split over 16 partial sums: they fill a vector register, and the rounding error grows with
// count / 16 instead of count. The order is fixed, so every machine gets the same bits.
template <typename T>
float SumPixels(const T* values, std::int64_t count) noexcept {
  constexpr std::int64_t kLanes = 16;
  std::array<float, kLanes> lanes = {};
  const std::int64_t whole = count - count % kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[static_cast<std::size_t>(lane)] += ToFloat(values[i + lane]);
    }
  }
  for (std::int64_t i = whole; i < count; ++i) lanes[static_cast<std::size_t>(i - whole)] += ToFloat(values[i]);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

// One input of one batch item: channel c starts at data + c * pixels.
template <typename T>
float ChannelMean(const T* data, std::int64_t channel, std::int64_t pixels) noexcept {
  if (pixels == 1) return ToFloat(data[channel]);
  return SumPixels(data + channel * pixels, pixels) / static_cast<float>(pixels);
}

// Adds `channels` channels from the first one on, each kRepeats times, to sums[0 ...]. A constant kRepeats lets the
// compiler turn the inner loop into a vector permutation.
template <std::int64_t kRepeats, typename T>
void AddWhole(const T* data, std::int64_t channels, std::int64_t pixels, float* sums) noexcept {
  for (std::int64_t c = 0; c < channels; ++c) {
    const float mean = ChannelMean(data, c, pixels);
    for (std::int64_t i = 0; i < kRepeats; ++i) sums[c * kRepeats + i] += mean;
  }
}

// Adds outputs [first, first + count) of one interleaved input to sums[0, count).
template <typename T>
void AddInput(const T* data, const ReductionPlan::Input& input, std::int64_t first, std::int64_t count,
              float* sums) noexcept {
  if (first % input.repeats == 0 && count % input.repeats == 0) {
    const std::int64_t channel = first / input.repeats;
    const std::int64_t channels = count / input.repeats;
    const T* begin = data + channel * input.pixels;
    switch (input.repeats) {
      case 1:
        return AddWhole<1>(begin, channels, input.pixels, sums);
      case 2:
        return AddWhole<2>(begin, channels, input.pixels, sums);
      case 4:
        return AddWhole<4>(begin, channels, input.pixels, sums);
      case 8:
        return AddWhole<8>(begin, channels, input.pixels, sums);
      default:
        break;
    }
  }
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t channel = (first + done) / input.repeats;
    const std::int64_t end = std::min((channel + 1) * input.repeats - first, count);
    const float mean = ChannelMean(data, channel, input.pixels);
    for (; done < end; ++done) sums[done] += mean;
  }
}

// NHWC: channels of one pixel lie side by side. Sums `count` of them (kSlice at most) over all pixels into
// `sums`: kRun pixels in turn, then the runs in turn, so that the rounding error grows with kRun + pixels / kRun. All
// loops over channels are of constant length, which keeps their sums in vector registers.
constexpr std::int64_t kSlice = 32;

template <std::int64_t kCount, typename T>
void SumColumns(const T* data, std::int64_t pitch, std::int64_t pixels, std::int64_t count, float* sums) noexcept {
  constexpr std::int64_t kRun = 64;
  const std::int64_t width = kCount > 0 ? kCount : count;
  std::array<float, kSlice> total = {};
  for (std::int64_t first = 0; first < pixels; first += kRun) {
    const std::int64_t last = std::min(first + kRun, pixels);
    std::array<float, kSlice> run = {};
    for (std::int64_t p = first; p < last; ++p) {
      const T* row = data + p * pitch;
      for (std::int64_t c = 0; c < width; ++c) run[static_cast<std::size_t>(c)] += ToFloat(row[c]);
    }
    for (std::int64_t c = 0; c < width; ++c) total[static_cast<std::size_t>(c)] += run[static_cast<std::size_t>(c)];
  }
  for (std::int64_t c = 0; c < width; ++c) sums[c] = total[static_cast<std::size_t>(c)];
}

// Adds outputs [first, first + count) of one interleaved NHWC input to sums[0, count).
template <typename T>
void AddColumns(const T* data, const ReductionPlan::Input& input, std::int64_t first, std::int64_t count,
                float* sums) noexcept {
  const std::int64_t last_channel = (first + count - 1) / input.repeats + 1;
  const auto pixels = static_cast<float>(input.pixels);
  std::array<float, kSlice> columns;
  std::int64_t done = 0;
  for (std::int64_t begin = first / input.repeats; begin < last_channel; begin += kSlice) {
    const std::int64_t width = std::min(kSlice, last_channel - begin);
    if (width == kSlice) {
      SumColumns<kSlice>(data + begin, input.channels, input.pixels, width, columns.data());
    } else {
      SumColumns<0>(data + begin, input.channels, input.pixels, width, columns.data());
    }
    for (std::int64_t c = 0; c < width; ++c) {
      const float mean = columns[static_cast<std::size_t>(c)] / pixels;
      const std::int64_t end = std::min((begin + c + 1) * input.repeats - first, count);
      for (; done < end; ++done) sums[done] += mean;
    }
  }
}

// Outputs [first, first + count) of one batch item, in float32.
template <typename T>
void ReduceTile(const ReductionPlan& plan, const void* const* inputs, std::int64_t item, std::int64_t first,
                std::int64_t count, float* sums) noexcept {
  const auto divisor = static_cast<float>(plan.input_count);
  std::fill_n(sums, count, 0.0F);
  for (int k = 0; k < plan.input_count; ++k) {
    const auto& input = plan.inputs[static_cast<std::size_t>(k)];
    const T* data = static_cast<const T*>(inputs[k]) + item * input.channels * input.pixels;
    if (plan.layout == ReductionLayout::kNhwc && input.pixels > 1) {
      AddColumns(data, input, first, count, sums);
    } else {
      AddInput(data, input, first, count, sums);
    }
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

template <typename T>
void ReduceTyped(const ReductionPlan& plan, const void* const* inputs, void* output) noexcept {
  std::array<float, kTile> sums;
  for (std::int64_t b = 0; b < plan.batch; ++b) {
    double divisor = 1;
    if (plan.normalize) {
      // Rows wider than a tile are computed twice, because there is no room to keep them.
      double squares = 0;
      for (std::int64_t first = 0; first < plan.channels; first += kTile) {
        const std::int64_t count = std::min(kTile, plan.channels - first);
        ReduceTile<T>(plan, inputs, b, first, count, sums.data());
        squares = SumSquares(sums.data(), count, squares);
      }
      const double norm = std::sqrt(squares);
      divisor = norm < internal::kTinyNorm ? internal::kTinyNorm : norm;
    }
    for (std::int64_t first = 0; first < plan.channels; first += kTile) {
      const std::int64_t count = std::min(kTile, plan.channels - first);
      if (!plan.normalize || plan.channels > kTile) ReduceTile<T>(plan, inputs, b, first, count, sums.data());
      if (plan.normalize) {
        for (std::int64_t i = 0; i < count; ++i) {
          auto& sum = sums[static_cast<std::size_t>(i)];
          sum = static_cast<float>(static_cast<double>(sum) / divisor);
        }
      }
      T* out = static_cast<T*>(output) + b * plan.channels + first;
      for (std::int64_t i = 0; i < count; ++i) FromFloat(sums[static_cast<std::size_t>(i)], out + i);
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
  switch (type) {
    case ReductionType::kFloat32:
      ReduceTyped<float>(plan, inputs, output);
      break;
    case ReductionType::kFloat16:
      ReduceTyped<Half>(plan, inputs, output);
      break;
    case ReductionType::kBFloat16:
      ReduceTyped<BFloat16>(plan, inputs, output);
      break;
  }
  return ReductionStatus::kOk;
}

}  // namespace rrn
