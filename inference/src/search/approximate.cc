// Approximate search on hnswlib: a graph in which every row knows some near rows. What it suggests is checked exactly.
#include "search/approximate.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "rrn/search.h"
#include "search/filter_kernel.h"
#include "search/group.h"
#include "search/pairs.h"
#include "search/scanner.h"
#include "search/target.h"

// Its vector code would define functions in the global namespace; the distance below is our own anyway.
#define NO_MANUAL_VECTORIZATION
#include <hnswlib/hnswlib.h>

namespace rrn {
namespace {

// Links of a row in the graph, on its lowest level twice as many; and how hard its links are looked for.
constexpr std::size_t kLinks = 10;
constexpr std::size_t kBuildEffort = 64;

// Rows that are searched exactly for the estimate.
constexpr std::size_t kSampleRows = 256;

// Rows of one step of progress.
constexpr std::size_t kRowsPerStep = 1024;

// A row in the graph: `dim` bytes and a scale, as in scanner.h but one after the other. A quarter of the memory makes
// most of the speed, because rows are met in random order.
class ByteSpace : public hnswlib::SpaceInterface<float> {
 public:
  explicit ByteSpace(std::size_t dim) : dim_(dim) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") != 0) dot_ = internal::DotBytesAvx2;
#endif
  }
  std::size_t get_data_size() override { return dim_ + sizeof(float); }
  hnswlib::DISTFUNC<float> get_dist_func() override { return Distance; }
  void* get_dist_func_param() override { return this; }

  std::vector<char> Round(const float* row) const {
    float largest = 0;
    for (std::size_t d = 0; d < dim_; ++d) {
      if (std::isfinite(row[d])) largest = std::max(largest, std::fabs(row[d]));
    }
    std::vector<char> bytes(dim_ + sizeof(float));
    const float scale = largest / 127;
    for (std::size_t d = 0; d < dim_ && scale > 0; ++d) {
      const float steps = std::isfinite(row[d]) ? std::nearbyint(row[d] / scale) : 0;
      bytes[d] = static_cast<char>(static_cast<std::int8_t>(std::clamp(steps, -127.0F, 127.0F)));
    }
    std::memcpy(bytes.data() + dim_, &scale, sizeof scale);
    return bytes;
  }

 private:
  static std::int32_t Dot(const std::int8_t* a, const std::int8_t* b, std::size_t dim) {
    std::int32_t sum = 0;
    for (std::size_t d = 0; d < dim; ++d) sum += a[d] * b[d];
    return sum;
  }

  static float Distance(const void* first, const void* second, const void* space) {
    const auto* self = static_cast<const ByteSpace*>(space);
    const std::size_t dim = self->dim_;
    const auto* a = static_cast<const std::int8_t*>(first);
    const auto* b = static_cast<const std::int8_t*>(second);
    const std::int32_t sum = self->dot_(a, b, dim);
    float a_scale = 0;
    float b_scale = 0;
    std::memcpy(&a_scale, a + dim, sizeof a_scale);
    std::memcpy(&b_scale, b + dim, sizeof b_scale);
    return 1 - a_scale * b_scale * static_cast<float>(sum);
  }

  std::size_t dim_;
  internal::DotBytesFunction dot_ = Dot;
};

bool Before(const SimilarPair& a, const SimilarPair& b) {
  return a.first != b.first ? a.first < b.first : a.second < b.second;
}

bool SameRows(const SimilarPair& a, const SimilarPair& b) { return a.first == b.first && a.second == b.second; }

// Counts steps and asks whether to go on.
class Steps {
 public:
  Steps(const Progress& progress, std::size_t total) : progress_(progress), total_(total) {}
  // Not concurrent.
  bool Done(std::size_t steps) {
    done_ += steps;
    return !progress_ || progress_(done_, total_);
  }

 private:
  const Progress& progress_;
  std::size_t total_;
  std::size_t done_ = 0;
};

// The similar pairs among what the graph suggests for rows [begin, end).
void PairsOfRows(const EmbeddingsView& e, float threshold, const hnswlib::HierarchicalNSW<float>& graph,
                 const ByteSpace& space, std::size_t wanted, std::size_t begin, std::size_t end,
                 std::vector<SimilarPair>* pairs) {
  for (std::size_t row = begin; row < end; ++row) {
    auto suggested = graph.searchKnn(space.Round(e.data + row * e.dim).data(), wanted);
    for (; !suggested.empty(); suggested.pop()) {
      const std::size_t other = suggested.top().second;
      if (other == row) continue;
      const float similarity = CosineSimilarity(e.data + row * e.dim, e.data + other * e.dim, e.dim);
      if (!(similarity > threshold)) continue;
      pairs->push_back({static_cast<std::uint32_t>(std::min(row, other)),
                        static_cast<std::uint32_t>(std::max(row, other)), similarity});
    }
  }
}

// `pairs` sorted.
Status EstimateRecall(const EmbeddingsView& e, const SearchOptions& options, const std::vector<SimilarPair>& pairs,
                      RecallEstimate* recall) {
  internal::Scanner scanner(e, *internal::ChooseTarget(options.target));
  Status status = internal::PrepareForPairs(options, &scanner);
  if (!status.ok()) return status;
  std::minstd_rand random(1);
  std::vector<std::uint32_t> rows;
  for (std::size_t i = 0; i < kSampleRows; ++i) rows.push_back(static_cast<std::uint32_t>(random() % e.count));
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  Neighbours neighbours;
  status = internal::NeighboursOfRows(scanner, rows, options.threshold, options.threads, &neighbours);
  if (!status.ok()) return status;
  recall->rows = rows.size();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    recall->pairs += neighbours[i].size();
    for (const Neighbour& other : neighbours[i]) {
      const SimilarPair pair{std::min(rows[i], other.index), std::max(rows[i], other.index), 0};
      if (std::binary_search(pairs.begin(), pairs.end(), pair, Before)) ++recall->found;
    }
  }
  return {};
}

Status Cancelled() { return {StatusCode::kCancelled, "cancelled"}; }

// The pairs that the graph suggests for each step of kRowsPerStep rows; threads share the steps.
Status SearchGraph(const EmbeddingsView& e, const SearchOptions& options, float floor, const ByteSpace& space,
                   const hnswlib::HierarchicalNSW<float>& graph, Steps* done,
                   std::vector<std::vector<SimilarPair>>* found) {
  const std::size_t wanted = std::min(static_cast<std::size_t>(options.approximate.neighbours) + 1, e.count);
  const std::size_t steps = found->size();
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  Status status = RunOnThreads(
      ThreadCount(options.threads, steps),
      [&] {
        for (std::size_t step = next++; step < steps && !stop; step = next++) {
          const std::size_t begin = step * kRowsPerStep;
          const std::size_t end = std::min(begin + kRowsPerStep, e.count);
          PairsOfRows(e, floor, graph, space, wanted, begin, end, &(*found)[step]);
          const std::lock_guard<std::mutex> lock(mutex);
          if (!stop && !done->Done(1)) stop = true;
        }
      },
      [&] { next = steps; });
  if (!status.ok()) return status;
  return stop ? Cancelled() : Status();
}

// All of them, sorted. Most were found from both ends.
std::vector<SimilarPair> MergePairs(std::vector<std::vector<SimilarPair>>* found) {
  std::vector<SimilarPair> pairs;
  for (std::vector<SimilarPair>& some : *found) {
    pairs.insert(pairs.end(), some.begin(), some.end());
    some = {};
  }
  std::sort(pairs.begin(), pairs.end(), Before);
  pairs.erase(std::unique(pairs.begin(), pairs.end(), SameRows), pairs.end());
  return pairs;
}

Status Search(const EmbeddingsView& e, const SearchOptions& options, float floor, const PairSink& sink) {
  const std::size_t steps = (e.count + kRowsPerStep - 1) / kRowsPerStep;
  Steps done(options.progress, 2 * steps);
  ByteSpace space(e.dim);
  hnswlib::HierarchicalNSW<float> graph(&space, e.count, kLinks, kBuildEffort);
  // One thread: with several, the graph would depend on which one comes first.
  for (std::size_t row = 0; row < e.count; ++row) {
    graph.addPoint(space.Round(e.data + row * e.dim).data(), row);
    if ((row + 1) % kRowsPerStep == 0 && !done.Done(1)) return Cancelled();
  }
  const auto effort = static_cast<std::size_t>(options.approximate.effort);
  const auto neighbours = static_cast<std::size_t>(options.approximate.neighbours);
  graph.setEf(std::max(effort, std::min(neighbours + 1, e.count)));
  std::vector<std::vector<SimilarPair>> found(steps);
  Status status = SearchGraph(e, options, floor, space, graph, &done, &found);
  if (!status.ok()) return status;
  const std::vector<SimilarPair> pairs = MergePairs(&found);
  if (options.recall) {
    RecallEstimate recall;
    status = EstimateRecall(e, options, pairs, &recall);
    if (!status.ok()) return status;
    options.recall(recall);
  }
  constexpr std::size_t kPortion = 4096;
  for (std::size_t begin = 0; begin < pairs.size(); begin += kPortion) {
    if (!sink(pairs.data() + begin, std::min(kPortion, pairs.size() - begin))) return Cancelled();
  }
  return {};
}

}  // namespace

bool ApproximateSearchAvailable() { return true; }

namespace internal {

Status CheckApproximate(const ApproximateOptions& options) {
  constexpr int kMost = 10'000;
  if (options.neighbours >= 1 && options.neighbours <= kMost && options.effort >= 1 && options.effort <= kMost) {
    return {};
  }
  return {StatusCode::kInvalidArgument, "neighbours is " + std::to_string(options.neighbours) + " and effort " +
                                            std::to_string(options.effort) + ", expected 1 to 10000 for both"};
}

Status FindPairsApproximately(const EmbeddingsView& rows, const SearchOptions& options, float floor,
                              const PairSink& sink) {
  constexpr std::size_t kMostRows = std::numeric_limits<std::int32_t>::max();
  constexpr std::size_t kLongest = 100'000;  // of products of bytes that fit 32 bits
  if (rows.count > kMostRows || rows.dim > kLongest) {
    return {StatusCode::kInvalidArgument, "expected at most 2147483647 embeddings of at most 100000 numbers, got " +
                                              std::to_string(rows.count) + " of " + std::to_string(rows.dim)};
  }
  if (rows.count < 2) {
    if (options.recall) options.recall({});
    return {};
  }
  Status status;
  // The library reports errors by exceptions, and memory runs out in one place more.
  const Status caught = RunOnThreads(
      1, [&] { status = Search(rows, options, floor, sink); }, [] {});
  return caught.ok() ? status : caught;
}

}  // namespace internal
}  // namespace rrn
