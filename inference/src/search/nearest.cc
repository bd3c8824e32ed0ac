// FindNearest: blocks of rows against spans of columns, on all threads.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "rrn/search.h"
#include "search/ordered_jobs.h"
#include "search/pairs.h"
#include "search/rounded_rows.h"
#include "search/scanner.h"
#include "search/target.h"

namespace rrn {
namespace {

using internal::Columns;
using internal::NearestScan;
using internal::RoundedRows;
using internal::Scanner;

// Rounding all columns for the filter costs as much as comparing each with about this many rows.
constexpr std::size_t kFewRows = 128;

// Few rows would be too few jobs for all threads, so that their columns are shared out as well, in spans of at least
// this many. A span begins without what was found in the others, so there are no more spans than needed.
constexpr std::size_t kMinSpan = 16 * RoundedRows::kChunk;
constexpr std::size_t kJobsPerThread = 4;

// How the work is cut.
struct Cut {
  std::size_t workers = 1;
  std::size_t rows_per_job = 1;
  std::size_t blocks = 0;  // of rows
  std::size_t span = 1;    // columns of a job, a multiple of RoundedRows::kChunk
  std::size_t spans = 0;

  std::size_t jobs() const { return blocks * spans; }
};

std::size_t RoundUpDivide(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit; }

Cut CutWork(std::size_t rows, std::size_t columns, int threads) {
  Cut cut;
  const std::size_t smallest = RoundUpDivide(rows, internal::kMinRowsPerJob) * RoundUpDivide(columns, kMinSpan);
  cut.workers = ThreadCount(threads, smallest);
  cut.rows_per_job = internal::RowsPerJob(rows, cut.workers);
  cut.blocks = RoundUpDivide(rows, cut.rows_per_job);
  const std::size_t wanted = cut.blocks == 0 ? 1 : RoundUpDivide(kJobsPerThread * cut.workers, cut.blocks);
  const std::size_t span = std::max(RoundUpDivide(columns, cut.workers == 1 ? 1 : wanted), kMinSpan);
  cut.span = RoundUpDivide(span, RoundedRows::kChunk) * RoundedRows::kChunk;
  cut.spans = RoundUpDivide(columns, cut.span);
  return cut;
}

// The jobs of one call: a block of rows against a span of columns each.
class NearestJobs {
 public:
  NearestJobs(std::size_t rows, std::size_t columns, const SearchOptions& options)
      : rows_(rows),
        columns_(columns),
        options_(options),
        cut_(CutWork(rows, columns, options.threads)),
        parts_(cut_.jobs()),
        left_(cut_.blocks, cut_.spans),
        nearest_(rows) {}

  // `against` holds the columns. Both scanners are prepared, or neither is; they are one and the same for kOthers.
  Result<Neighbours> Run(const Scanner& from, const Scanner& against, const NearestScan& scan) {
    const auto work = [&] {
      for (std::size_t job = next_++; job < cut_.jobs() && !cancelled_; job = next_++) {
        RunJob(job, from, against, scan);
        if (IsLastOfBlock(job / cut_.spans)) TakeBlock(job / cut_.spans, scan.k);
      }
    };
    Status status = RunOnThreads(cut_.workers, work, [this] { next_ = cut_.jobs(); });
    if (!status.ok()) return status;
    if (cancelled_) return Status(StatusCode::kCancelled, "cancelled");
    return std::move(nearest_);
  }

 private:
  void RunJob(std::size_t job, const Scanner& from, const Scanner& against, NearestScan scan) {
    const std::size_t first = job / cut_.spans * cut_.rows_per_job;
    std::vector<std::uint32_t> rows(std::min(cut_.rows_per_job, rows_ - first));
    std::iota(rows.begin(), rows.end(), static_cast<std::uint32_t>(first));
    scan.begin = job % cut_.spans * cut_.span;
    scan.end = std::min(scan.begin + cut_.span, columns_);
    against.ScanNearest(from, rows, scan, &parts_[job]);
  }

  bool IsLastOfBlock(std::size_t block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++done_;
    if (!cancelled_ && options_.progress && !options_.progress(done_, cut_.jobs())) cancelled_ = true;
    return --left_[block] == 0;
  }

  // The nearest of all spans. The order of spans and threads does not matter: IsNearer orders all neighbours of a row.
  void TakeBlock(std::size_t block, std::size_t k) {
    Neighbours* spans = &parts_[block * cut_.spans];
    for (std::size_t i = 0; i < spans->size(); ++i) {
      std::vector<Neighbour> list = std::move((*spans)[i]);
      for (std::size_t span = 1; span < cut_.spans; ++span) {
        const std::vector<Neighbour>& more = spans[span][i];
        const auto middle = static_cast<std::ptrdiff_t>(list.size());
        list.insert(list.end(), more.begin(), more.end());
        std::inplace_merge(list.begin(), list.begin() + middle, list.end(), internal::IsNearer);
        if (list.size() > k) list.resize(k);
      }
      nearest_[block * cut_.rows_per_job + i] = std::move(list);
    }
    for (std::size_t span = 0; span < cut_.spans; ++span) spans[span] = {};
  }

  const std::size_t rows_;
  const std::size_t columns_;
  const SearchOptions& options_;
  const Cut cut_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::size_t done_ = 0;           // jobs
  std::vector<Neighbours> parts_;  // [blocks, spans]
  std::vector<std::size_t> left_;  // for each block: spans to do
  Neighbours nearest_;
};

}  // namespace

namespace internal {

Status CheckK(std::size_t k) {
  if (k > 0) return {};
  return {StatusCode::kInvalidArgument, "k is 0, expected at least 1"};
}

Result<Neighbours> ScanForNearest(const Scanner& from, const Scanner& against, const NearestScan& scan,
                                  const Counts& counts, const SearchOptions& options) {
  return NearestJobs(counts.rows, counts.columns, options).Run(from, against, scan);
}

}  // namespace internal

Result<Neighbours> FindNearest(const EmbeddingsView& rows, const EmbeddingsView& columns, std::size_t k,
                               const SearchOptions& options) {
  Status status = CheckSearchOptions(options);
  if (status.ok()) status = internal::CheckSides(rows, columns, options);
  if (status.ok()) status = internal::CheckK(k);
  if (!status.ok()) return status;
  const internal::SearchTarget target = *internal::ChooseTarget(options.target);
  Scanner from(rows, target);
  Scanner against(columns, target);
  if (rows.count >= kFewRows) {
    status = internal::PrepareSides(options, true, {rows, columns, &from, &against});
    if (!status.ok()) return status;
  }
  return internal::ScanForNearest(from, against, {k, options.threshold, Columns::kAll}, {rows.count, columns.count},
                                  options);
}

Result<Neighbours> FindNearest(const EmbeddingsView& rows, std::size_t k, const SearchOptions& options) {
  Status status = CheckSearchOptions(options);
  if (status.ok()) status = internal::CheckSides(rows, rows, options);
  if (status.ok()) status = internal::CheckK(k);
  if (!status.ok()) return status;
  Scanner scanner(rows, *internal::ChooseTarget(options.target));
  if (rows.count >= kFewRows) {
    status = internal::PrepareSides(options, true, {rows, rows, &scanner, &scanner});
    if (!status.ok()) return status;
  }
  return internal::ScanForNearest(scanner, scanner, {k, options.threshold, Columns::kOthers}, {rows.count, rows.count},
                                  options);
}

}  // namespace rrn
