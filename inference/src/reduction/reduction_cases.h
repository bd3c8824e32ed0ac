// The one table of cases that every form of the operator must pass: scalar reference, CPU kernel, CUDA kernel, ONNX
// Runtime op and PyTorch op. For tests only; needs no test framework, because a bare GPU machine has none.
//
// The tolerance is derived, not guessed. Sums of non-negative or mixed values in float32 lose at most
// (additions) * epsilon * (mean magnitude); storing the result loses half a unit in the last place of the storage type.
// A normalised row also inherits the error of its length.
#ifndef RRN_REDUCTION_REDUCTION_CASES_H_
#define RRN_REDUCTION_REDUCTION_CASES_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "reduction/half.h"
#include "reduction/reduction_index.h"
#include "rrn/reduction.h"

namespace rrn::testing {

using Dims = std::vector<std::int64_t>;

struct ReductionCase {
  std::string name;
  std::vector<Dims> shapes;
  std::int64_t channels = kDefaultReductionChannels;
  ReductionType type = ReductionType::kFloat32;
  ReductionOptions options = {};
};

inline void PrintTo(const ReductionCase& c, std::ostream* out) { *out << c.name; }

// One input or output: its dimensions and its bytes.
struct Array {
  Dims dims;
  std::vector<std::uint8_t> bytes;
};

inline std::int64_t ElementCount(const Dims& dims) {
  std::int64_t count = 1;
  for (const std::int64_t d : dims) count *= d;
  return count;
}

inline ReductionShape ToShape(const Dims& dims) {
  ReductionShape shape;
  shape.rank = static_cast<int>(dims.size());
  std::copy_n(dims.begin(), std::min(dims.size(), shape.dims.size()), shape.dims.begin());
  return shape;
}

inline double Decode(const Array& array, ReductionType type, std::int64_t index) {
  const auto i = static_cast<std::size_t>(index);
  if (type == ReductionType::kFloat32) {
    float value;
    std::memcpy(&value, array.bytes.data() + 4 * i, 4);
    return static_cast<double>(value);
  }
  std::uint16_t bits;
  std::memcpy(&bits, array.bytes.data() + 2 * i, 2);
  return static_cast<double>(type == ReductionType::kFloat16 ? internal::ToFloat(internal::Half{bits})
                                                             : internal::ToFloat(internal::BFloat16{bits}));
}

// Repeatable inputs: magnitudes from 0.001 to 30, both signs, a zero now and then. Where rows are normalised, the
// second item of a batch is all zeros.
inline std::vector<Array> MakeInputs(const ReductionCase& c) {
  std::vector<Array> inputs;
  std::uint32_t state = 12345;
  for (const Dims& dims : c.shapes) {
    Array array;
    array.dims = dims;
    const auto count = static_cast<std::size_t>(ElementCount(dims));
    array.bytes.resize(count * ReductionTypeSize(c.type));
    for (std::size_t i = 0; i < count; ++i) {
      state = state * 1664525U + 1013904223U;
      const float unit = static_cast<float>(state >> 8) * 0x1p-24F;
      const float magnitude = std::exp(std::log(0.001F) + unit * (std::log(30.0F) - std::log(0.001F)));
      const bool zero =
          c.options.normalize && dims.size() > 1 && dims[0] > 1 && i / (count / static_cast<std::size_t>(dims[0])) == 1;
      const float value = zero || (state & 0x60U) == 0 ? 0.0F : ((state & 0x10U) != 0 ? -magnitude : magnitude);
      if (c.type == ReductionType::kFloat32) {
        std::memcpy(array.bytes.data() + 4 * i, &value, 4);
      } else if (c.type == ReductionType::kFloat16) {
        internal::Half half;
        internal::FromFloat(value, &half);
        std::memcpy(array.bytes.data() + 2 * i, &half, 2);
      } else {
        internal::BFloat16 half;
        internal::FromFloat(value, &half);
        std::memcpy(array.bytes.data() + 2 * i, &half, 2);
      }
    }
    inputs.push_back(std::move(array));
  }
  return inputs;
}

// What the operator should give, in double, straight from the definition, with the bound for each element.
struct Expected {
  Dims dims;
  std::vector<double> values;
  std::vector<double> tolerances;
};

// Divides one row by its length. Length n has an error of at most e = sqrt(sum of squared tolerances), so an element x
// with tolerance t has one of at most t / (n - e) + |x| e / (n (n - e)); the sum of squares and the division in double
// add nothing to speak of, and rounding their result to float32 half a unit in the last place.
inline void NormalizeRow(std::int64_t channels, double* values, double* tolerances) {
  double squares = 0;
  double squared_tolerances = 0;
  for (std::int64_t o = 0; o < channels; ++o) {
    squares += values[o] * values[o];
    squared_tolerances += tolerances[o] * tolerances[o];
  }
  const double norm = std::max(std::sqrt(squares), internal::kTinyNorm);
  const double error = std::sqrt(squared_tolerances);
  for (std::int64_t o = 0; o < channels; ++o) {
    tolerances[o] = squares == 0
                        ? 0
                        : tolerances[o] / (norm - error) + std::abs(values[o]) * error / (norm * (norm - error)) +
                              0x1p-24 * std::abs(values[o]) / norm;
    values[o] /= norm;
  }
}

inline Expected ScalarReference(const ReductionCase& c, const std::vector<Array>& inputs) {
  Expected expected;
  const std::size_t rank = c.shapes[0].size();
  const std::int64_t batch = rank == 1 ? 1 : c.shapes[0][0];
  expected.dims = rank == 1 ? Dims{c.channels} : Dims{batch, c.channels};
  const double storage_epsilon = c.type == ReductionType::kFloat32   ? 0x1p-24
                                 : c.type == ReductionType::kFloat16 ? 0x1p-11
                                                                     : 0x1p-8;
  const double float_epsilon = 0x1p-24;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t o = 0; o < c.channels; ++o) {
      double sum = 0;
      double magnitude = 0;
      double additions = static_cast<double>(inputs.size()) + 1;
      for (const Array& input : inputs) {
        const std::int64_t input_channels = rank == 1 ? input.dims[0] : input.dims[1];
        const std::int64_t pixels = rank == 4 ? input.dims[2] * input.dims[3] : 1;
        const std::int64_t channel = o / (c.channels / input_channels);
        double mean = 0;
        double mean_magnitude = 0;
        for (std::int64_t p = 0; p < pixels; ++p) {
          const std::int64_t index = c.options.layout == ReductionLayout::kNchw
                                         ? (b * input_channels + channel) * pixels + p
                                         : (b * pixels + p) * input_channels + channel;
          const double value = Decode(input, c.type, index);
          mean += value / static_cast<double>(pixels);
          mean_magnitude += std::abs(value) / static_cast<double>(pixels);
        }
        sum += mean;
        magnitude += mean_magnitude;
        additions = std::max(additions, static_cast<double>(inputs.size() + 1) + static_cast<double>(pixels));
      }
      const auto k = static_cast<double>(inputs.size());
      expected.values.push_back(sum / k);
      expected.tolerances.push_back(additions * float_epsilon * magnitude / k);
    }
    const auto row = static_cast<std::ptrdiff_t>(b * c.channels);
    if (c.options.normalize) NormalizeRow(c.channels, expected.values.data() + row, expected.tolerances.data() + row);
  }
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    // The smallest normal float16 is 2^-14: below it the spacing is 2^-24 whatever the value.
    const double tiny = c.type == ReductionType::kFloat16 ? 0x1p-25 : 0.0;
    expected.tolerances[i] += storage_epsilon * std::abs(expected.values[i]) + tiny;
  }
  return expected;
}

// Empty when `got` is right, otherwise one line about the first wrong element.
inline std::string Compare(const ReductionCase& c, const Expected& expected, const Array& got) {
  if (got.dims != expected.dims) return c.name + ": wrong output shape";
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    const double value = Decode(got, c.type, static_cast<std::int64_t>(i));
    if (!(std::abs(value - expected.values[i]) <= expected.tolerances[i])) {
      return c.name + ": output[" + std::to_string(i) + "] is " + std::to_string(value) + ", expected " +
             std::to_string(expected.values[i]) + " +- " + std::to_string(expected.tolerances[i]);
    }
  }
  return "";
}

// Every shape in float32, float16 and bfloat16; maps in both layouts, and most cases normalised too.
inline std::vector<ReductionCase> WithTypesAndLayouts(const std::vector<ReductionCase>& shapes) {
  std::vector<ReductionCase> cases;
  for (const auto& [suffix, type] : {std::pair{"Float32", ReductionType::kFloat32},
                                     {"Float16", ReductionType::kFloat16},
                                     {"BFloat16", ReductionType::kBFloat16}}) {
    for (const ReductionCase& shape : shapes) {
      for (const ReductionLayout layout : {ReductionLayout::kNchw, ReductionLayout::kNhwc}) {
        if (layout == ReductionLayout::kNhwc && shape.shapes[0].size() != 4) continue;
        for (const bool normalize : {false, true}) {
          // The derived bound of these additions is larger than the only output, so its sign would be undetermined.
          if (normalize && shape.name == "MapsOneChannelOfManyPixels") continue;
          ReductionCase c = shape;
          c.name += std::string(suffix) + (layout == ReductionLayout::kNhwc ? "Nhwc" : "") + (normalize ? "Unit" : "");
          c.type = type;
          c.options = {layout, normalize};
          cases.push_back(std::move(c));
        }
      }
    }
  }
  return cases;
}

// The table.
inline std::vector<ReductionCase> AllReductionCases() {
  const std::vector<ReductionCase> shapes = {
      {"Resnet18Vector", {{64}, {128}, {256}, {512}}},
      {"Resnet18Batch1", {{1, 64}, {1, 128}, {1, 256}, {1, 512}}},
      {"Resnet18Batch7", {{7, 64}, {7, 128}, {7, 256}, {7, 512}}},
      {"EmptyBatch", {{0, 64}, {0, 128}, {0, 256}, {0, 512}}},
      {"OneInput", {{3, 512}}},
      {"OneInputRepeated", {{3, 64}}},
      {"OneChannelEach", {{2, 1}, {2, 1}}, 7},
      {"OneByOne", {{1}}, 1},
      {"Coprime", {{2, 2}, {2, 3}, {2, 5}}, 30},
      {"WiderThanATile", {{2, 96}, {2, 384}, {2, 3}}, 1536},
      {"TileEndsInsideAChannel", {{2, 5}, {2, 1}}, 640},
      {"ManyInputs", std::vector<Dims>(32, Dims{2, 16}), 64},
      {"Maps416", {{1, 64, 104, 104}, {1, 128, 52, 52}, {1, 256, 26, 26}, {1, 512, 13, 13}}},
      {"Maps224Batch3", {{3, 64, 56, 56}, {3, 128, 28, 28}, {3, 256, 14, 14}, {3, 512, 7, 7}}},
      {"MapsOddSizes", {{2, 64, 25, 33}, {2, 128, 13, 17}, {2, 256, 7, 9}, {2, 512, 4, 5}}},
      {"MapsOnePixel", {{2, 64, 1, 1}, {2, 512, 1, 1}}},
      {"MapsMixedPixels", {{2, 8, 1, 1}, {2, 16, 3, 2}, {2, 1, 50, 50}}, 32},
      {"MapsEmptyBatch", {{0, 64, 5, 5}, {0, 512, 2, 2}}},
      {"MapsWide", {{1, 3, 2, 3}, {1, 5, 7, 1}}, 15000},
      {"MapsLargeBatch", {{130, 16, 3, 3}, {130, 32, 2, 2}}, 32},
      {"MapsPowersOfTwo", {{2, 64, 16, 16}, {2, 128, 8, 8}, {2, 256, 4, 4}, {2, 512, 2, 2}}},
      {"MapsManyChannels", {{2, 2500, 3, 5}, {2, 1250, 2, 2}, {2, 625, 4, 33}}, 5000},
      {"MapsCutTiles", {{1, 257, 32, 16}, {1, 256, 16, 32}}, 65792},
      {"MapsOneChannelOfManyPixels", {{2, 1, 300, 301}}, 3},
      // Small enough for compute-sanitizer: two stages in NCHW, two stages in NHWC (an item above 1 MiB in every type),
      // slices, and tiles that end inside channels.
      {"MapsTwoStages", {{2, 2, 100, 100}}, 4},
      {"MapsTwoStageParts", {{1, 64, 91, 91}}, 64},
      {"MapsSlices", {{2, 1100, 3, 3}, {2, 550, 2, 2}}, 1100},
      {"MapsFewCutTiles", {{2, 2, 3, 3}, {2, 2049, 1, 2}}, 4098},
  };
  return WithTypesAndLayouts(shapes);
}

// Batches with more items than a GPU's grid has rows, 65,535. Apart, because the emulation takes minutes for them.
inline std::vector<ReductionCase> LongBatchCases() {
  return WithTypesAndLayouts({
      {"LongBatch", {{70000, 4}, {70000, 2}}, 8},
      {"MapsLongBatch", {{70000, 4, 1, 2}, {70000, 2, 1, 1}}, 8},
  });
}

// Which way the kernels go with a case: kernel, stages, slices, cut tiles, workspace, normalisation, more items than
// rows of the grid, type. "" where nothing is launched.
inline std::string PathOf(const ReductionCase& c) {
  std::vector<ReductionShape> shapes;
  for (const Dims& dims : c.shapes) shapes.push_back(ToShape(dims));
  ReductionPlan plan;
  if (PlanReduction(shapes.data(), static_cast<int>(shapes.size()), c.channels, &plan, c.options) !=
          ReductionStatus::kOk ||
      plan.batch == 0) {
    return "";
  }
  std::string path;
  if (internal::TakesPixelsKernel(plan)) {
    const auto g = internal::MakePixelsGeometry(plan, c.type);
    bool slices = false;
    for (int k = 0; k < g.input_count; ++k) slices = slices || g.inputs[k].slices > 1;
    path = g.stages > 1 ? "pixels, two stages" : "pixels, one stage";
    if (slices) path += ", slices";
  } else {
    const auto g = internal::MakeMapsGeometry(plan, c.type);
    path = g.stages > 1 ? "maps, two stages" : "maps, one stage";
    if (g.inputs[0].tile_channels == 0) path += ", cut tiles";
    if (internal::WorkspaceFloats(g) > 0) path += ", workspace";
  }
  if (c.options.normalize) path += ", normalised";
  if (plan.batch > 65535) return path + ", long batch";
  return path + (c.type == ReductionType::kFloat32   ? ", float32"
                 : c.type == ReductionType::kFloat16 ? ", float16"
                                                     : ", bfloat16");
}

// What compute-sanitizer, which is slow, is given: all small cases, and of every path the smallest.
inline std::vector<ReductionCase> SmallReductionCases() {
  constexpr std::int64_t kSmall = 150000;
  const auto elements = [](const ReductionCase& c) {
    std::int64_t count = c.channels;
    for (const Dims& dims : c.shapes) count += ElementCount(dims);
    return count;
  };
  std::vector<ReductionCase> all = AllReductionCases();
  for (ReductionCase& c : LongBatchCases()) all.push_back(std::move(c));
  std::stable_sort(all.begin(), all.end(),
                   [&](const ReductionCase& a, const ReductionCase& b) { return elements(a) < elements(b); });
  std::vector<ReductionCase> small;
  std::vector<std::string> paths;
  for (ReductionCase& c : all) {
    std::string path = PathOf(c);
    const bool known = std::find(paths.begin(), paths.end(), path) != paths.end();
    if (known && elements(c) > kSmall) continue;
    if (!known) paths.push_back(std::move(path));
    small.push_back(std::move(c));
  }
  return small;
}

// Inputs that must be refused, each with the words that the message must contain.
struct BadReductionCase {
  std::string name;
  std::vector<Dims> shapes;
  std::int64_t channels;
  ReductionStatus status;
  std::string words;
};

inline void PrintTo(const BadReductionCase& c, std::ostream* out) { *out << c.name; }

inline std::vector<BadReductionCase> BadReductionCases() {
  return {
      {"NoInput", {}, 512, ReductionStatus::kNoInputs, "at least one input"},
      {"TooMany", std::vector<Dims>(33, Dims{2, 16}), 64, ReductionStatus::kTooManyInputs, "at most 32"},
      {"NoChannels", {{2, 64}}, 0, ReductionStatus::kBadChannels, "at least 1"},
      {"NotDividing", {{2, 64}, {2, 96}}, 512, ReductionStatus::kNotDividing, "[2, 64], [2, 96] for 512"},
      {"MoreThanChannels", {{2, 1024}}, 512, ReductionStatus::kNotDividing, "[2, 1024] for 512"},
      {"ZeroChannels", {{2, 0}}, 512, ReductionStatus::kNotDividing, "[2, 0]"},
      {"MixedRanks", {{64}, {1, 128}}, 512, ReductionStatus::kMixedRanks, "[64], [1, 128]"},
      {"MixedBatch", {{2, 64}, {3, 128}}, 512, ReductionStatus::kMixedBatch, "[2, 64], [3, 128]"},
      {"Scalar", {{}}, 512, ReductionStatus::kBadRank, "[]"},
      {"Rank3", {{2, 64, 7}}, 512, ReductionStatus::kBadRank, "[2, 64, 7]"},
      {"EmptyMap", {{2, 64, 0, 7}}, 512, ReductionStatus::kEmptyMap, "[2, 64, 0, 7]"},
  };
}

// Names a parameterised test after its case; `Info` is GoogleTest's TestParamInfo.
struct CaseName {
  template <typename Info>
  std::string operator()(const Info& info) const {
    return info.param.name;
  }
};

}  // namespace rrn::testing

#endif  // RRN_REDUCTION_REDUCTION_CASES_H_
