#include "rrn/search.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "search/dot_kernel.h"
#include "search/group.h"
#include "search/path.h"
#include "search/scanner.h"

namespace rrn {
namespace {

using internal::Columns;
using internal::Scanner;
using internal::SearchPath;

using RowsFound = std::vector<std::vector<GroupMember>>;

// Rows of one job: many, so that the other side is read from memory rarely, but enough jobs for all threads, since the
// first ones are the longest.
constexpr std::size_t kMinRowsPerJob = internal::kFilterRows;
constexpr std::size_t kMaxRowsPerJob = 512;
constexpr std::size_t kJobsPerThread = 16;

// Pairs that wait for their turn to be reported, over all jobs that are done (32 MB).
constexpr std::size_t kMaxWaitingPairs = 4'000'000;

// The most similar pairs that a job should find (16 MB), by the estimate.
constexpr std::size_t kMaxPairsPerJob = 2'000'000;

// Pairs of one call of a sink.
constexpr std::size_t kPortion = 4096;

std::size_t RowsPerJob(std::size_t rows, std::size_t workers, double pairs_per_row) {
  const std::size_t shared = rows / (kJobsPerThread * workers) / kMinRowsPerJob * kMinRowsPerJob;
  std::size_t most = kMaxRowsPerJob;
  while (most > kMinRowsPerJob && pairs_per_row * static_cast<double>(most) > static_cast<double>(kMaxPairsPerJob)) {
    most /= 2;
  }
  return std::clamp(shared, kMinRowsPerJob, most);
}

// Hands out jobs and reports their pairs in the order of the jobs. A thread that is far ahead waits, which bounds the
// memory of pairs that cannot be reported yet.
class OrderedJobs {
 public:
  OrderedJobs(std::size_t rows, std::size_t rows_per_job, std::size_t window, const PairSink& sink,
              const Progress& progress)
      : rows_(rows),
        rows_per_job_(rows_per_job),
        jobs_((rows + rows_per_job - 1) / rows_per_job),
        window_(window),
        ready_(window),
        done_(window, 0),
        sink_(sink),
        progress_(progress) {}

  // The rows of the next job, in ascending order; false when there is nothing left to do.
  bool Next(std::vector<std::uint32_t>* rows) {
    std::unique_lock<std::mutex> lock(mutex_);
    // Pairs wait only behind a job that some thread works on.
    room_.wait(lock, [this] {
      return cancelled_ || next_ == jobs_ || (next_ < reported_ + window_ && waiting_ <= kMaxWaitingPairs);
    });
    if (cancelled_ || next_ == jobs_) return false;
    const std::size_t begin = next_++ * rows_per_job_;
    rows->resize(std::min(rows_per_job_, rows_ - begin));
    std::iota(rows->begin(), rows->end(), static_cast<std::uint32_t>(begin));
    return true;
  }

  // `found` holds the similar rows of each row of the job that begins with `first`.
  void Finish(std::uint32_t first, RowsFound found) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::size_t slot = first / rows_per_job_ % window_;
    for (const auto& row : found) waiting_ += row.size();
    ready_[slot] = std::move(found);
    done_[slot] = 1;
    while (!cancelled_ && reported_ < jobs_ && done_[reported_ % window_] != 0) {
      const RowsFound turn = std::move(ready_[reported_ % window_]);
      done_[reported_ % window_] = 0;
      Report(turn);
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
  void Report(const RowsFound& found) {
    auto row = static_cast<std::uint32_t>(reported_ * rows_per_job_);
    for (const std::vector<GroupMember>& members : found) {
      waiting_ -= members.size();
      for (const GroupMember& member : members) {
        portion_.push_back({row, member.index, member.similarity});
        if (portion_.size() == kPortion) Flush();
      }
      ++row;
    }
    Flush();
  }

  void Flush() {
    if (!portion_.empty() && !cancelled_ && !sink_(portion_.data(), portion_.size())) cancelled_ = true;
    portion_.clear();
  }

  const std::size_t rows_;
  const std::size_t rows_per_job_;
  const std::size_t jobs_;
  const std::size_t window_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::size_t next_ = 0;
  std::size_t reported_ = 0;
  std::size_t waiting_ = 0;  // pairs in `ready_`
  bool cancelled_ = false;
  std::vector<RowsFound> ready_;  // ring of `window_` jobs
  std::vector<char> done_;
  std::vector<SimilarPair> portion_;
  const PairSink& sink_;
  const Progress& progress_;
};

Status Check(const EmbeddingsView& embeddings, float threshold) {
  if (std::isnan(threshold)) return {StatusCode::kInvalidArgument, "the threshold is not a number"};
  if (embeddings.count > std::numeric_limits<std::uint32_t>::max()) {
    return {StatusCode::kInvalidArgument,
            "expected at most 4294967295 embeddings, got " + std::to_string(embeddings.count)};
  }
  return {};
}

// Finds the similar rows of some rows; may throw std::bad_alloc.
using ScanRows = std::function<void(const std::vector<std::uint32_t>& rows, RowsFound* found)>;

// Scans rows 0 ... count - 1 on all threads. `pairs_per_row` is an estimate.
Status ScanInOrder(std::size_t count, double pairs_per_row, const ScanRows& scan, int threads, const PairSink& sink,
                   const Progress& progress) {
  const std::size_t workers = ThreadCount(threads, (count + kMinRowsPerJob - 1) / kMinRowsPerJob);
  OrderedJobs ordered(count, RowsPerJob(count, workers, pairs_per_row), 4 * workers, sink, progress);
  const auto work = [&] {
    for (std::vector<std::uint32_t> rows; ordered.Next(&rows);) {
      RowsFound found;
      scan(rows, &found);
      ordered.Finish(rows.front(), std::move(found));
    }
  };
  Status status = RunOnThreads(workers, work, [&ordered] { ordered.Cancel(); });
  if (!status.ok()) return status;
  if (ordered.cancelled()) return {StatusCode::kCancelled, "cancelled"};
  return {};
}

Status ScanAll(const EmbeddingsView& embeddings, float threshold, const Scanner& scanner, int threads,
               const PairSink& sink, const Progress& progress) {
  const double pairs_per_row = EstimateSimilarShare(embeddings, threshold) * static_cast<double>(embeddings.count);
  return ScanInOrder(
      embeddings.count, pairs_per_row,
      [&](const std::vector<std::uint32_t>& rows, RowsFound* found) { scanner.Scan(rows, Columns::kLater, found); },
      threads, sink, progress);
}

// Of 4096 pairs that are drawn at random; `columns` is null for pairs inside `rows`.
double EstimateShare(const EmbeddingsView& rows, const EmbeddingsView* columns, float threshold) {
  constexpr std::size_t kSample = 4096;
  const EmbeddingsView& others = columns != nullptr ? *columns : rows;
  if (rows.count < (columns != nullptr ? 1U : 2U) || others.count == 0) return 0;
  // Any generator would do; this one is the same everywhere.
  std::minstd_rand random(1);
  std::size_t similar = 0;
  for (std::size_t i = 0; i < kSample; ++i) {
    const std::size_t first = random() % rows.count;
    const std::size_t second =
        columns != nullptr ? random() % others.count : (first + 1 + random() % (rows.count - 1)) % rows.count;
    const float cosine = CosineSimilarity(rows.data + first * rows.dim, others.data + second * rows.dim, rows.dim);
    if (cosine > threshold) ++similar;
  }
  return static_cast<double>(similar) / static_cast<double>(kSample);
}

}  // namespace

Result<std::string> SearchPathInUse() {
  const Result<SearchPath> path = internal::ChoosePath();
  if (!path.ok()) return path.status();
  return std::string(path->name);
}

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
  return internal::ClampSimilarity(similarity);
}

double EstimateSimilarShare(const EmbeddingsView& embeddings, float threshold) {
  return EstimateShare(embeddings, nullptr, threshold);
}

double EstimateSimilarShareAcross(const EmbeddingsView& rows, const EmbeddingsView& columns, float threshold) {
  return EstimateShare(rows, &columns, threshold);
}

Status ForEachSimilarPair(const EmbeddingsView& embeddings, float threshold, int threads, const PairSink& sink,
                          const Progress& progress) {
  Status status = Check(embeddings, threshold);
  if (!status.ok()) return status;
  const Result<SearchPath> path = internal::ChoosePath();
  if (!path.ok()) return path.status();
  Scanner scanner(embeddings, threshold, *path);
  status = scanner.Prepare(threads);
  if (!status.ok()) return status;
  return ScanAll(embeddings, threshold, scanner, threads, sink, progress);
}

Status ForEachSimilarPairAcross(const EmbeddingsView& rows, const EmbeddingsView& columns, float threshold, int threads,
                                const PairSink& sink, const Progress& progress) {
  for (const EmbeddingsView& side : {rows, columns}) {
    Status status = Check(side, threshold);
    if (!status.ok()) return status;
  }
  if (rows.dim != columns.dim) {
    return {StatusCode::kInvalidArgument, "expected embeddings of one length, got " + std::to_string(rows.dim) +
                                              " and " + std::to_string(columns.dim)};
  }
  const Result<SearchPath> path = internal::ChoosePath();
  if (!path.ok()) return path.status();
  Scanner from(rows, threshold, *path);
  Scanner against(columns, threshold, *path);
  for (Scanner* scanner : {&from, &against}) {
    Status status = scanner->Prepare(threads);
    if (!status.ok()) return status;
  }
  const double share = EstimateSimilarShareAcross(rows, columns, threshold);
  return ScanInOrder(
      rows.count, share * static_cast<double>(columns.count),
      [&](const std::vector<std::uint32_t>& some, RowsFound* found) {
        against.ScanRowsOf(from, some, Columns::kAll, found);
      },
      threads, sink, progress);
}

Result<ReferenceGrouping> GroupByReference(const EmbeddingsView& rows, const EmbeddingsView& references,
                                           float threshold, int threads, const LeaveOutPair& leave_out,
                                           const PairSink& sink, const Progress& progress) {
  ReferenceGrouping result;
  result.grouping.similar.assign(rows.count, 0);
  result.reference_similar.assign(references.count, 0);
  std::vector<GroupMember> best(rows.count);  // the reference that each row joins
  std::vector<SimilarPair> kept;
  Status status = ForEachSimilarPairAcross(
      rows, references, threshold, threads,
      [&](const SimilarPair* pairs, std::size_t count) {
        kept.clear();
        for (const SimilarPair* pair = pairs; pair != pairs + count; ++pair) {
          if (leave_out && leave_out(pair->first, pair->second)) continue;
          // Pairs come in the order of the references, so the earlier one stays at equal similarity.
          GroupMember& joined = best[pair->first];
          if (result.grouping.similar[pair->first]++ == 0 || pair->similarity > joined.similarity) {
            joined = {pair->second, pair->similarity};
          }
          ++result.reference_similar[pair->second];
          if (sink) kept.push_back(*pair);
        }
        return !sink || kept.empty() || sink(kept.data(), kept.size());
      },
      progress);
  if (!status.ok()) return status;
  std::map<std::uint32_t, std::vector<GroupMember>> members;
  std::size_t alone = 0;
  for (std::uint32_t row = 0; row < rows.count; ++row) {
    if (result.grouping.similar[row] == 0) {
      ++alone;
    } else {
      members[best[row].index].push_back({row, best[row].similarity});
    }
  }
  internal::SortIntoGroups(&members, &result.grouping.groups);
  result.grouping.unique = result.grouping.groups.size() + alone;
  return result;
}

Result<Grouping> GroupByRepresentative(const EmbeddingsView& embeddings, float threshold, int threads,
                                       const PairSink& sink, const Progress& progress, const RankRows& rank) {
  Status status = Check(embeddings, threshold);
  if (!status.ok()) return status;
  const Result<SearchPath> path = internal::ChoosePath();
  if (!path.ok()) return path.status();
  Scanner scanner(embeddings, threshold, *path);
  status = scanner.Prepare(threads);
  if (!status.ok()) return status;
  internal::PairStore store(embeddings.count, internal::kMaxStoredPairs);
  std::size_t total = 0;
  status = ScanAll(
      embeddings, threshold, scanner, threads,
      [&](const SimilarPair* pairs, std::size_t count) {
        store.Add(pairs, count);
        return !sink || sink(pairs, count);
      },
      [&](std::size_t done, std::size_t of) {
        total = of;
        return !progress || progress(done, of);
      });
  if (!status.ok()) return status;
  Grouping grouping;
  status = store.Group(
      [&](const std::vector<std::uint32_t>& rows, RowsFound* found) -> Status {
        if (progress && !progress(total, total)) return {StatusCode::kCancelled, "cancelled"};
        return internal::NeighboursOfRows(scanner, rows, threads, found);
      },
      rank, &grouping);
  if (!status.ok()) return status;
  return grouping;
}

namespace internal {

Status NeighboursOfRows(const Scanner& scanner, const std::vector<std::uint32_t>& rows, int threads, RowsFound* found) {
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rows[a] < rows[b]; });
  found->assign(rows.size(), {});
  const std::size_t portions = (rows.size() + kMinRowsPerJob - 1) / kMinRowsPerJob;
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t portion = next++; portion < portions; portion = next++) {
      const std::size_t begin = portion * kMinRowsPerJob;
      std::vector<std::uint32_t> some(std::min(kMinRowsPerJob, rows.size() - begin));
      for (std::size_t i = 0; i < some.size(); ++i) some[i] = rows[order[begin + i]];
      RowsFound neighbours;
      scanner.Scan(some, Columns::kOthers, &neighbours);
      for (std::size_t i = 0; i < some.size(); ++i) (*found)[order[begin + i]] = std::move(neighbours[i]);
    }
  };
  return RunOnThreads(ThreadCount(threads, portions), work, [&] { next = portions; });
}

}  // namespace internal
}  // namespace rrn
