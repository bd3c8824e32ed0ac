// SearchIndex: columns that are prepared once for many searches.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "rrn/search.h"
#include "search/pairs.h"
#include "search/projection.h"
#include "search/scanner.h"
#include "search/target.h"

namespace rrn {
namespace {

// With fewer rows, the 8-bit rows alone are as fast.
constexpr std::size_t kFewestRows = 8192;

// Pairs of one call of a sink.
constexpr std::size_t kPortion = 4096;

using internal::Columns;
using internal::Projection;
using internal::Scanner;

}  // namespace

struct SearchIndex::Prepared {
  Prepared(std::vector<float> owned, const EmbeddingsView& view, const SearchOptions& given)
      : data(std::move(owned)),
        rows{data.empty() ? view.data : data.data(), view.count, view.dim},
        options(given),
        target(*internal::ChooseTarget(given.target)),
        scanner(rows, target) {}

  // `owned` is empty, or what `rows` are.
  static Result<SearchIndex> Make(std::vector<float> owned, const EmbeddingsView& rows, const SearchOptions& options);

  Status Prepare() {
    const bool pays = rows.count >= kFewestRows && rows.dim > internal::kMediumDim;
    const bool wanted = options.short_rows == ShortRows::kAlways || (options.short_rows == ShortRows::kSampled && pays);
    if (wanted && rows.dim > 0 && target.filter.run != nullptr) {
      // Memory may run out.
      Status status = RunOnThreads(
          1,
          [this] {
            projection =
                std::make_shared<const Projection>(std::vector<EmbeddingsView>{rows}, internal::SampleRows(rows.count),
                                                   internal::kMediumDim, target.dot_tile);
          },
          [] {});
      if (!status.ok()) return status;
    }
    return scanner.PrepareStages(options.threads, projection);
  }

  std::vector<float> data;  // empty where the caller keeps the rows
  EmbeddingsView rows;
  SearchOptions options;
  internal::SearchTarget target;
  std::shared_ptr<const Projection> projection;  // null: no short rows
  Scanner scanner;
};

SearchIndex::SearchIndex(std::unique_ptr<Prepared> prepared) : prepared_(std::move(prepared)) {}
SearchIndex::SearchIndex(SearchIndex&&) noexcept = default;
SearchIndex& SearchIndex::operator=(SearchIndex&&) noexcept = default;
SearchIndex::~SearchIndex() = default;

std::size_t SearchIndex::count() const { return prepared_->rows.count; }
std::size_t SearchIndex::dim() const { return prepared_->rows.dim; }

Result<SearchIndex> SearchIndex::Prepared::Make(std::vector<float> owned, const EmbeddingsView& rows,
                                                const SearchOptions& options) {
  Status status = CheckSearchOptions(options);
  if (status.ok()) status = internal::CheckSides(rows, rows, options);
  if (!status.ok()) return status;
  SearchOptions kept = options;
  kept.progress = {};
  kept.recall = {};
  auto prepared = std::make_unique<Prepared>(std::move(owned), rows, kept);
  status = prepared->Prepare();
  if (!status.ok()) return status;
  return SearchIndex(std::move(prepared));
}

Result<SearchIndex> SearchIndex::Create(const EmbeddingsView& rows, const SearchOptions& options) {
  return Prepared::Make({}, rows, options);
}

Result<SearchIndex> SearchIndex::Create(std::vector<float> rows, std::size_t dim, const SearchOptions& options) {
  if (dim == 0 || rows.size() % dim != 0) {
    return Status(StatusCode::kInvalidArgument,
                  "expected rows of " + std::to_string(dim) + " numbers, got " + std::to_string(rows.size()));
  }
  const EmbeddingsView view{rows.data(), rows.size() / dim, dim};
  return Prepared::Make(std::move(rows), view, options);
}

Result<Neighbours> SearchIndex::Nearest(const EmbeddingsView& rows, std::size_t k, float threshold) const {
  SearchOptions options = prepared_->options;
  options.threshold = threshold;
  Status status = CheckSearchOptions(options);
  if (status.ok()) status = internal::CheckSides(rows, prepared_->rows, options);
  if (status.ok()) status = internal::CheckK(k);
  if (!status.ok()) return status;
  Scanner from(rows, prepared_->target);
  status = from.PrepareStages(options.threads, prepared_->projection);
  if (!status.ok()) return status;
  return internal::ScanForNearest(from, prepared_->scanner, {k, threshold, Columns::kAll},
                                  {rows.count, prepared_->rows.count}, options);
}

Status SearchIndex::Range(const EmbeddingsView& rows, float threshold, const PairSink& sink) const {
  if (count() == 0) return internal::CheckSides(rows, prepared_->rows, prepared_->options);
  Result<Neighbours> found = Nearest(rows, count(), threshold);
  if (!found.ok()) return found.status();
  std::vector<SimilarPair> portion;
  for (std::size_t row = 0; row < found->size(); ++row) {
    std::vector<Neighbour>& list = (*found)[row];
    std::sort(list.begin(), list.end(), [](const Neighbour& a, const Neighbour& b) { return a.index < b.index; });
    for (std::size_t begin = 0; begin < list.size(); begin += kPortion) {
      portion.clear();
      for (std::size_t i = begin; i < std::min(begin + kPortion, list.size()); ++i) {
        portion.push_back({static_cast<std::uint32_t>(row), list[i].index, list[i].similarity});
      }
      if (!sink(portion.data(), portion.size())) return {StatusCode::kCancelled, "cancelled"};
    }
  }
  return {};
}

}  // namespace rrn
