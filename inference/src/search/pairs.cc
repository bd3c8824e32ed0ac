#include "search/pairs.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "search/approximate.h"
#include "search/ordered_jobs.h"
#include "search/projection.h"
#include "search/target.h"

namespace rrn {
namespace internal {

Status CheckRows(const EmbeddingsView& rows) {
  if (rows.count <= std::numeric_limits<std::uint32_t>::max()) return {};
  return {StatusCode::kInvalidArgument, "expected at most 4294967295 embeddings, got " + std::to_string(rows.count)};
}

Status CheckSides(const EmbeddingsView& rows, const EmbeddingsView& columns, const SearchOptions& options) {
  for (const EmbeddingsView& side : {rows, columns}) {
    Status status = CheckRows(side);
    if (!status.ok()) return status;
  }
  if (rows.dim != columns.dim) {
    return {StatusCode::kInvalidArgument, "expected embeddings of one length, got " + std::to_string(rows.dim) +
                                              " and " + std::to_string(columns.dim)};
  }
  if (options.method == SearchMethod::kApproximate) {
    return {StatusCode::kInvalidArgument,
            "the approximate search finds pairs and groups of one set of embeddings only"};
  }
  return {};
}

Status PrepareForPairs(const SearchOptions& options, Scanner* scanner) {
  // Below -1 everything is similar, so nothing can be excluded.
  return options.threshold < -1.0F ? Status() : scanner->Prepare(options.threads);
}

Status PrepareSides(const SearchOptions& options, bool nearest, const Sides& sides) {
  if (!nearest && options.threshold < -1.0F) return {};
  std::shared_ptr<const Projection> projection;
  const SearchTarget target = *ChooseTarget(options.target);
  if (target.filter.run != nullptr && sides.columns.dim > 0 && options.short_rows != ShortRows::kNever) {
    // Memory may run out.
    Status status = RunOnThreads(
        1,
        [&] {
          if (options.short_rows == ShortRows::kAlways) {
            std::vector<EmbeddingsView> views = {sides.columns};
            if (sides.from != sides.against) views.push_back(sides.rows);
            projection =
                std::make_shared<const Projection>(views, SampleRows(sides.columns.count), kMediumDim, target.dot_tile);
          } else {
            projection = ChooseProjection(sides.rows, sides.columns, options.threshold, nearest,
                                          target.filter.most_left_over, target.dot_tile);
          }
        },
        [] {});
    if (!status.ok()) return status;
  }
  for (Scanner* scanner : {sides.against, sides.from}) {
    Status status =
        projection == nullptr ? scanner->Prepare(options.threads) : scanner->PrepareStages(options.threads, projection);
    if (!status.ok()) return status;
    if (sides.from == sides.against) break;
  }
  return {};
}

Status ScanPairs(const EmbeddingsView& rows, const Scanner& scanner, const SearchOptions& options,
                 const PairSink& sink) {
  const double pairs_per_row = EstimateSimilarShare(rows, options.threshold) * static_cast<double>(rows.count);
  return ScanInOrder(
      rows.count, pairs_per_row,
      [&](const std::vector<std::uint32_t>& some, Neighbours* found) {
        scanner.Scan(some, options.threshold, Columns::kLater, found);
      },
      options, sink);
}

}  // namespace internal

Status FindPairs(const EmbeddingsView& rows, const SearchOptions& options, const PairSink& sink) {
  Status status = CheckSearchOptions(options);
  if (status.ok()) status = internal::CheckRows(rows);
  if (!status.ok()) return status;
  if (options.method == SearchMethod::kApproximate) {
    return internal::FindPairsApproximately(rows, options, options.threshold, sink);
  }
  internal::Scanner scanner(rows, *internal::ChooseTarget(options.target));
  status = internal::PrepareSides(options, false, {rows, rows, &scanner, &scanner});
  if (!status.ok()) return status;
  return internal::ScanPairs(rows, scanner, options, sink);
}

Status FindPairs(const EmbeddingsView& rows, const EmbeddingsView& columns, const SearchOptions& options,
                 const PairSink& sink) {
  Status status = CheckSearchOptions(options);
  if (status.ok()) status = internal::CheckSides(rows, columns, options);
  if (!status.ok()) return status;
  const internal::SearchTarget target = *internal::ChooseTarget(options.target);
  internal::Scanner from(rows, target);
  internal::Scanner against(columns, target);
  status = internal::PrepareSides(options, false, {rows, columns, &from, &against});
  if (!status.ok()) return status;
  const double share = EstimateSimilarShare(rows, columns, options.threshold);
  return internal::ScanInOrder(
      rows.count, share * static_cast<double>(columns.count),
      [&](const std::vector<std::uint32_t>& some, Neighbours* found) {
        against.ScanRowsOf(from, some, options.threshold, internal::Columns::kAll, found);
      },
      options, sink);
}

}  // namespace rrn
