#include "search/ordered_jobs.h"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "search/filter_kernel.h"

namespace rrn::internal {
namespace {

static_assert(kMinRowsPerJob == kFilterRows);

constexpr std::size_t kJobsPerThread = 16;

// Pairs that wait for their turn to be reported, over all jobs that are done (32 MB).
constexpr std::size_t kMaxWaitingPairs = 4'000'000;

// The most similar pairs that a job should find (16 MB), by the estimate.
constexpr std::size_t kMaxPairsPerJob = 2'000'000;

// Pairs of one call of a sink.
constexpr std::size_t kPortion = 4096;

std::size_t RowsPerJobOfPairs(std::size_t rows, std::size_t workers, double pairs_per_row) {
  std::size_t most = kMaxRowsPerJob;
  while (most > kMinRowsPerJob && pairs_per_row * static_cast<double>(most) > static_cast<double>(kMaxPairsPerJob)) {
    most /= 2;
  }
  return std::min(RowsPerJob(rows, workers), most);
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
  void Finish(std::uint32_t first, Neighbours found) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::size_t slot = first / rows_per_job_ % window_;
    for (const auto& row : found) waiting_ += row.size();
    ready_[slot] = std::move(found);
    done_[slot] = 1;
    while (!cancelled_ && reported_ < jobs_ && done_[reported_ % window_] != 0) {
      const Neighbours turn = std::move(ready_[reported_ % window_]);
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
  void Report(const Neighbours& found) {
    auto row = static_cast<std::uint32_t>(reported_ * rows_per_job_);
    for (const std::vector<Neighbour>& list : found) {
      waiting_ -= list.size();
      for (const Neighbour& neighbour : list) {
        portion_.push_back({row, neighbour.index, neighbour.similarity});
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
  std::vector<Neighbours> ready_;  // ring of `window_` jobs
  std::vector<char> done_;
  std::vector<SimilarPair> portion_;
  const PairSink& sink_;
  const Progress& progress_;
};

}  // namespace

std::size_t RowsPerJob(std::size_t rows, std::size_t workers) {
  const std::size_t shared = rows / (kJobsPerThread * workers) / kMinRowsPerJob * kMinRowsPerJob;
  return std::clamp(shared, kMinRowsPerJob, kMaxRowsPerJob);
}

Status ScanInOrder(std::size_t count, double pairs_per_row, const ScanRows& scan, const SearchOptions& options,
                   const PairSink& sink) {
  const std::size_t workers = ThreadCount(options.threads, (count + kMinRowsPerJob - 1) / kMinRowsPerJob);
  OrderedJobs ordered(count, RowsPerJobOfPairs(count, workers, pairs_per_row), 4 * workers, sink, options.progress);
  const auto work = [&] {
    for (std::vector<std::uint32_t> rows; ordered.Next(&rows);) {
      Neighbours found;
      scan(rows, &found);
      ordered.Finish(rows.front(), std::move(found));
    }
  };
  Status status = RunOnThreads(workers, work, [&ordered] { ordered.Cancel(); });
  if (!status.ok()) return status;
  if (ordered.cancelled()) return {StatusCode::kCancelled, "cancelled"};
  return {};
}

}  // namespace rrn::internal
