// Similar pairs and nearest rows among random embeddings of 512 numbers, on one thread. The items are pairs of rows.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "rrn/search.h"
#include "rrn/status.h"

namespace rrn::bench {
namespace {

constexpr std::size_t kDim = 512;
constexpr std::size_t kNearest = 10;

// Every fiftieth row is a near-copy of another one.
std::vector<float> Rows(std::size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> rows(count * kDim);
  for (float& value : rows) value = normal(random);
  const std::size_t copies = count / 50 * kDim;
  for (std::size_t i = 0; i < copies; ++i) rows[i] = rows[copies + i] + 0.1F * rows[i];
  NormalizeRows(rows.data(), count, kDim);
  return rows;
}

SearchOptions On(const std::string& target) {
  SearchOptions options;
  options.target = target;
  options.threads = 1;
  return options;
}

void Pairs(benchmark::State& state, const std::string& target, std::size_t count) {
  const std::vector<float> rows = Rows(count);
  for (auto _ : state) {
    std::size_t found = 0;
    const Status status =
        FindPairs({rows.data(), count, kDim}, On(target), [&found](const SimilarPair*, std::size_t some) {
          found += some;
          return true;
        });
    if (!status.ok() || found != count / 50) {
      state.SkipWithError(status.ok() ? "not the pairs there are" : status.message().c_str());
      break;
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(count * (count - 1) / 2) * state.iterations());
}

// `asked` rows against `count` others.
void Nearest(benchmark::State& state, const std::string& target, std::size_t asked, std::size_t count) {
  const std::vector<float> rows = Rows(asked + count);
  SearchOptions options = On(target);
  options.threshold = kNoThreshold;
  for (auto _ : state) {
    const Result<Neighbours> nearest =
        FindNearest({rows.data(), asked, kDim}, {rows.data() + asked * kDim, count, kDim}, kNearest, options);
    if (!nearest.ok() || nearest->size() != asked) {
      state.SkipWithError("not as many lists as rows");
      break;
    }
    benchmark::DoNotOptimize(nearest->data());
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(asked * count) * state.iterations());
}

}  // namespace

void RegisterSearch() {
  struct Size {
    const char* name;
    std::size_t asked;
    std::size_t count;
  };
  for (const std::string& target : SearchTargets()) {
    for (const Size& size : {Size{"small", 0, 300}, Size{"10k", 0, 10'000}}) {
      benchmark::RegisterBenchmark(("pairs/" + target + '/' + size.name).c_str(), [target,
                                                                                   size](benchmark::State& state) {
        Pairs(state, target, size.count);
      })->Unit(benchmark::kMillisecond);
    }
    for (const Size& size :
         {Size{"small", 100, 300}, Size{"1_of_100k", 1, 100'000}, Size{"32_of_100k", 32, 100'000},
          Size{"64_of_100k", 64, 100'000}, Size{"1k_of_10k", 1000, 10'000}, Size{"10k_of_10k", 10'000, 10'000}}) {
      benchmark::RegisterBenchmark(("nearest/" + target + '/' + size.name).c_str(), [target,
                                                                                     size](benchmark::State& state) {
        Nearest(state, target, size.asked, size.count);
      })->Unit(benchmark::kMillisecond);
    }
  }
}

}  // namespace rrn::bench
