// What the searches share: checks, the similarity itself, and estimates.
#include "rrn/search.h"

#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "search/approximate.h"
#include "search/dot_kernel.h"
#include "search/scanner.h"
#include "search/target.h"

namespace rrn {
namespace {

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

Status CheckSearchOptions(const SearchOptions& options) {
  if (std::isnan(options.threshold)) return {StatusCode::kInvalidArgument, "the threshold is not a number"};
  const Result<internal::SearchTarget> target = internal::ChooseTarget(options.target);
  if (!target.ok()) return target.status();
  return options.method == SearchMethod::kApproximate ? internal::CheckApproximate(options.approximate) : Status();
}

std::vector<std::string> SearchTargets() {
  std::vector<std::string> names;
  for (const internal::SearchTarget& target : internal::AvailableTargets()) names.emplace_back(target.name);
  return names;
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

double EstimateSimilarShare(const EmbeddingsView& rows, float threshold) {
  return EstimateShare(rows, nullptr, threshold);
}

double EstimateSimilarShare(const EmbeddingsView& rows, const EmbeddingsView& columns, float threshold) {
  return EstimateShare(rows, &columns, threshold);
}

}  // namespace rrn
