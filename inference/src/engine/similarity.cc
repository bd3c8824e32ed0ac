#include "rrn/similarity.h"

#include <algorithm>
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
  Result<Grouping> grouping = GroupByRepresentative({unit.data(), report.paths.size(), dim}, options.threshold,
                                                    options.threads, sink, OnePhase(progress, "pairs"));
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
