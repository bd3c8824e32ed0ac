#include "rrn/similarity.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace rrn {
namespace {

Progress OnePhase(const PhaseProgress& progress, const char* phase) {
  if (!progress) return {};
  return [&progress, phase](std::size_t done, std::size_t total) { return progress(phase, done, total); };
}

// From this many images on, it is worth saying early that the threshold does not fit the model.
constexpr std::size_t kManyImages = 10'000;

void NoticeManyPairs(const EmbeddingsView& embeddings, const SimilarityOptions& options) {
  if (!options.notice || embeddings.count < kManyImages) return;
  const double share = EstimateSimilarShare(embeddings, options.threshold);
  if (share <= 0.5) return;
  options.notice("about " + std::to_string(std::lround(100 * share)) +
                 " % of all pairs are similar, by a sample; unless the pictures really are, the threshold does not fit "
                 "this model, and the search takes long");
}

}  // namespace

Status CheckThreshold(float threshold) {
  if (threshold >= -1.0F && threshold < 1.0F) return {};
  return {StatusCode::kInvalidArgument, "threshold is " + std::to_string(threshold) +
                                            ", expected -1 <= threshold < 1 (a cosine is never above 1; use 0.9999 for "
                                            "exact copies)"};
}

Result<SimilarityReport> FindSimilar(const Embedder& embedder, const std::string& folder,
                                     const SimilarityOptions& options, const PhaseProgress& progress,
                                     const PathPairSink& pairs) {
  Status threshold = CheckThreshold(options.threshold);
  if (!threshold.ok()) return threshold;
  if (options.search == SearchMethod::kApproximate) {
    // Without embeddings it answers at once whether it can do this.
    Status possible = ForEachSimilarPairApproximately({}, options.threshold, options.approximate, 1, {}, nullptr);
    if (!possible.ok()) return possible;
  }
  Result<FolderListing> listing = ListFolder(folder, options.recursive);
  if (!listing.ok()) return listing.status();
  Result<FileEmbeddings> embedded = embedder.EmbedFiles(listing->paths, OnePhase(progress, "images"));
  if (!embedded.ok()) return embedded.status();

  SimilarityReport report;
  report.model = embedder.info();
  report.threshold = options.threshold;
  for (const std::size_t i : embedded->read) report.paths.push_back(std::move(listing->paths[i]));
  report.skipped = std::move(listing->skipped);
  std::move(embedded->skipped.begin(), embedded->skipped.end(), std::back_inserter(report.skipped));
  std::sort(report.skipped.begin(), report.skipped.end());

  const auto dim = static_cast<std::size_t>(report.model.dim);
  std::vector<float> unit;
  if (options.keep_embeddings) {
    unit = embedded->rows;
    report.embeddings = std::move(embedded->rows);
  } else {
    unit = std::move(embedded->rows);
  }
  NormalizeRows(unit.data(), report.paths.size(), dim);
  PairSink sink;
  if (pairs) {
    sink = [&](const SimilarPair* found, std::size_t count) {
      return std::all_of(found, found + count, [&](const SimilarPair& pair) {
        return pairs(report.paths[pair.first], report.paths[pair.second], pair.similarity);
      });
    };
  }
  const EmbeddingsView view{unit.data(), report.paths.size(), dim};
  NoticeManyPairs(view, options);
  report.search = options.search;
  Result<Grouping> grouping =
      options.search == SearchMethod::kExact
          ? GroupByRepresentative(view, options.threshold, options.threads, sink, OnePhase(progress, "pairs"))
          : GroupByRepresentativeApproximately(view, options.threshold, options.approximate, options.threads, sink,
                                               &report.recall, OnePhase(progress, "pairs"));
  if (!grouping.ok()) return grouping.status();
  report.grouping = *std::move(grouping);
  return report;
}

Result<float> CompareFiles(const Embedder& embedder, const std::string& first, const std::string& second,
                           const Progress& progress) {
  Result<FileEmbeddings> embedded = embedder.EmbedFiles({first, second}, progress);
  if (!embedded.ok()) return embedded.status();
  if (!embedded->skipped.empty()) {
    const SkippedFile& file = embedded->skipped[0];
    return Status(StatusCode::kUnreadable, file.path + ": " + file.reason);
  }
  const auto dim = static_cast<std::size_t>(embedder.info().dim);
  NormalizeRows(embedded->rows.data(), 2, dim);
  return CosineSimilarity(embedded->rows.data(), embedded->rows.data() + dim, dim);
}

}  // namespace rrn
