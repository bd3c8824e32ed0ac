// The operator on the feature maps of ResNet-18, on one thread. The bytes are those of its inputs.
#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "rrn/reduction.h"

namespace rrn::bench {
namespace {

constexpr std::size_t kMaps = 4;

struct Case {
  ReductionType type;
  ReductionLayout layout;
  std::int64_t batch;
  std::int64_t side;  // of the last map; the others are 2, 4 and 8 times as large
};

void Reduce(benchmark::State& state, const Case& c) {
  std::array<ReductionShape, kMaps> shapes;
  std::array<std::vector<std::uint8_t>, kMaps> maps;
  std::array<const void*, kMaps> inputs = {};
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < kMaps; ++i) {
    const std::int64_t channels = std::int64_t{64} << i;
    const std::int64_t side = c.side << (kMaps - 1 - i);
    shapes[i].rank = 4;
    shapes[i].dims = {c.batch, channels, side, side};
    const auto elements = static_cast<std::size_t>(c.batch * channels * side * side);
    // Zeros: no sum is slower or faster for other finite values.
    maps[i].assign(elements * ReductionTypeSize(c.type), 0);
    inputs[i] = maps[i].data();
    bytes += maps[i].size();
  }
  ReductionOptions options;
  options.layout = c.layout;
  ReductionPlan plan;
  ReductionStatus status =
      PlanReduction(shapes.data(), static_cast<int>(kMaps), kDefaultReductionChannels, &plan, options);
  std::vector<std::uint8_t> output(static_cast<std::size_t>(c.batch * kDefaultReductionChannels) *
                                   ReductionTypeSize(c.type));
  for (auto _ : state) {
    if (status == ReductionStatus::kOk) status = ReduceCpu(plan, c.type, inputs.data(), output.data());
    if (status != ReductionStatus::kOk) {
      state.SkipWithError("the reduction failed");
      break;
    }
    benchmark::DoNotOptimize(output.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes) * state.iterations());
}

}  // namespace

void RegisterReduction() {
  struct Named {
    const char* name;
    ReductionType type;
  };
  for (const Named& type : {Named{"float32", ReductionType::kFloat32}, Named{"float16", ReductionType::kFloat16},
                            Named{"bfloat16", ReductionType::kBFloat16}}) {
    for (const ReductionLayout layout : {ReductionLayout::kNchw, ReductionLayout::kNhwc}) {
      const std::string name =
          std::string("reduction/") + type.name + (layout == ReductionLayout::kNchw ? "/nchw" : "/nhwc");
      const auto add = [&](const std::string& size, std::int64_t batch, std::int64_t side) {
        const Case c{type.type, layout, batch, side};
        benchmark::RegisterBenchmark((name + size).c_str(), [c](benchmark::State& state) { Reduce(state, c); });
      };
      add("/small", 1, 1);
      add("/224px_batch1", 1, 7);
      add("/224px_batch8", 8, 7);
    }
  }
}

}  // namespace rrn::bench
