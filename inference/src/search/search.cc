#include "rrn/search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "rrn/parallel.h"
#include "search/dot_kernel.h"
#include "search/group.h"

namespace rrn {
namespace internal {

DotTileFunction BestDotTile() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f") != 0) return DotTileAvx512;
  if (__builtin_cpu_supports("avx2") != 0) return DotTileAvx2;
#endif
  return DotTilePortable;
}

}  // namespace internal

namespace {

using internal::kTileRows;

// Rounding can lift the cosine of two equal rows above 1.
float Clamp(float similarity) { return std::clamp(similarity, -1.0F, 1.0F); }

// Rows of one job. A job's pairs are kept until their turn to be reported comes, at worst rows * count of them.
constexpr std::size_t kRowsPerJob = 32;

std::size_t JobCount(std::size_t rows) { return (rows + kRowsPerJob - 1) / kRowsPerJob; }

// Appends the pairs of rows [begin, end) with all later rows, ordered.
void PairsOfRows(const EmbeddingsView& e, float threshold, internal::DotTileFunction dot_tile, std::size_t begin,
                 std::size_t end, std::vector<SimilarPair>* pairs) {
  std::array<float, kTileRows * kTileRows> tile;
  for (std::size_t j = begin; j < e.count; j += kTileRows) {
    const std::size_t b_rows = std::min(kTileRows, e.count - j);
    for (std::size_t i = begin; i < std::min(end, j + b_rows); i += kTileRows) {
      const std::size_t a_rows = std::min(kTileRows, end - i);
      dot_tile(e.data + i * e.dim, a_rows, e.data + j * e.dim, b_rows, e.dim, tile.data());
      for (std::size_t a = 0; a < a_rows; ++a) {
        for (std::size_t b = 0; b < b_rows; ++b) {
          const float similarity = Clamp(tile[a * kTileRows + b]);
          if (similarity > threshold && i + a < j + b) {
            pairs->push_back({static_cast<std::uint32_t>(i + a), static_cast<std::uint32_t>(j + b), similarity});
          }
        }
      }
    }
  }
  std::sort(pairs->begin(), pairs->end(), [](const SimilarPair& x, const SimilarPair& y) {
    return x.first != y.first ? x.first < y.first : x.second < y.second;
  });
}

// Hands out jobs and reports their pairs in the order of the jobs. A thread that is far ahead waits, which bounds the
// memory of pairs that cannot be reported yet.
class OrderedJobs {
 public:
  OrderedJobs(std::size_t jobs, std::size_t window, const PairSink& sink, const Progress& progress)
      : jobs_(jobs), window_(window), ready_(window), done_(window, 0), sink_(sink), progress_(progress) {}

  // False when there is nothing left to do.
  bool Next(std::size_t* job) {
    std::unique_lock<std::mutex> lock(mutex_);
    room_.wait(lock, [this] { return cancelled_ || next_ == jobs_ || next_ < reported_ + window_; });
    if (cancelled_ || next_ == jobs_) return false;
    *job = next_++;
    return true;
  }

  void Finish(std::size_t job, std::vector<SimilarPair> pairs) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ready_[job % window_] = std::move(pairs);
    done_[job % window_] = 1;
    while (!cancelled_ && reported_ < jobs_ && done_[reported_ % window_] != 0) {
      const std::vector<SimilarPair> turn = std::move(ready_[reported_ % window_]);
      done_[reported_ % window_] = 0;
      if (!turn.empty() && !sink_(turn.data(), turn.size())) cancelled_ = true;
      ++reported_;
      if (progress_ && !progress_(reported_, jobs_)) cancelled_ = true;
    }
    room_.notify_all();
  }

  void Cancel() {
    const std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    room_.notify_all();
  }

  // To be asked when all threads have ended.
  bool cancelled() const { return cancelled_; }

 private:
  const std::size_t jobs_;
  const std::size_t window_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::size_t next_ = 0;
  std::size_t reported_ = 0;
  bool cancelled_ = false;
  std::vector<std::vector<SimilarPair>> ready_;  // ring of `window_` jobs
  std::vector<char> done_;
  const PairSink& sink_;
  const Progress& progress_;
};

}  // namespace

void NormalizeRows(float* rows, std::size_t count, std::size_t dim) {
  for (std::size_t i = 0; i < count; ++i) {
    float* row = rows + i * dim;
    double squares = 0;
    for (std::size_t d = 0; d < dim; ++d) squares += static_cast<double>(row[d]) * static_cast<double>(row[d]);
    const double scale = squares > 0 ? 1.0 / std::sqrt(squares) : 0.0;
    for (std::size_t d = 0; d < dim; ++d) row[d] = static_cast<float>(static_cast<double>(row[d]) * scale);
  }
}

float CosineSimilarity(const float* first, const float* second, std::size_t dim) {
  float similarity = 0;
  internal::DotTilePortable(first, 1, second, 1, dim, &similarity);
  return Clamp(similarity);
}

Status ForEachSimilarPair(const EmbeddingsView& embeddings, float threshold, int threads, const PairSink& sink,
                          const Progress& progress) {
  if (std::isnan(threshold)) return {StatusCode::kInvalidArgument, "the threshold is not a number"};
  if (embeddings.count > std::numeric_limits<std::uint32_t>::max()) {
    return {StatusCode::kInvalidArgument,
            "expected at most 4294967295 embeddings, got " + std::to_string(embeddings.count)};
  }
  const std::size_t jobs = JobCount(embeddings.count);
  const std::size_t workers = ThreadCount(threads, jobs);
  OrderedJobs ordered(jobs, 4 * workers, sink, progress);
  const internal::DotTileFunction dot_tile = internal::BestDotTile();
  const auto work = [&] {
    for (std::size_t job = 0; ordered.Next(&job);) {
      std::vector<SimilarPair> pairs;
      const std::size_t begin = job * kRowsPerJob;
      PairsOfRows(embeddings, threshold, dot_tile, begin, std::min(begin + kRowsPerJob, embeddings.count), &pairs);
      ordered.Finish(job, std::move(pairs));
    }
  };
  Status status = RunOnThreads(workers, work, [&ordered] { ordered.Cancel(); });
  if (!status.ok()) return status;
  if (ordered.cancelled()) return {StatusCode::kCancelled, "cancelled"};
  return {};
}

Result<Grouping> GroupByRepresentative(const EmbeddingsView& embeddings, float threshold, int threads,
                                       const PairSink& sink, const Progress& progress) {
  internal::PairStore store(embeddings.count, internal::kMaxStoredPairs);
  const std::size_t jobs = JobCount(embeddings.count);
  Status status = ForEachSimilarPair(
      embeddings, threshold, threads,
      [&](const SimilarPair* pairs, std::size_t count) {
        store.Add(pairs, count);
        return !sink || sink(pairs, count);
      },
      progress);
  if (!status.ok()) return status;
  Grouping grouping;
  const bool done = store.Group(
      [&](std::uint32_t row, std::vector<GroupMember>* neighbours) {
        internal::NeighboursOfRow(embeddings, threshold, row, neighbours);
        return !progress || progress(jobs, jobs);
      },
      &grouping);
  if (!done) return Status(StatusCode::kCancelled, "cancelled");
  return grouping;
}

namespace internal {

void NeighboursOfRow(const EmbeddingsView& e, float threshold, std::uint32_t row,
                     std::vector<GroupMember>* neighbours) {
  const DotTileFunction dot_tile = BestDotTile();
  std::array<float, kTileRows * kTileRows> tile;
  for (std::size_t j = 0; j < e.count; j += kTileRows) {
    const std::size_t b_rows = std::min(kTileRows, e.count - j);
    dot_tile(e.data + row * e.dim, 1, e.data + j * e.dim, b_rows, e.dim, tile.data());
    for (std::size_t b = 0; b < b_rows; ++b) {
      const float similarity = Clamp(tile[b]);
      if (similarity > threshold && j + b != row) {
        neighbours->push_back({static_cast<std::uint32_t>(j + b), similarity});
      }
    }
  }
}

}  // namespace internal
}  // namespace rrn
