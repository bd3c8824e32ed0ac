#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "rrn/similarity.h"
#include "similarity/known_pairs.h"
#include "similarity/records.h"

namespace rrn {
namespace {

Progress OnePhase(const PhaseProgress& progress, const char* phase) {
  if (!progress) return {};
  return [&progress, phase](std::size_t done, std::size_t total) { return progress(phase, done, total); };
}

// From this many images on, it is worth saying early that the threshold does not fit the model.
constexpr std::size_t kManyImages = 10'000;

void NoticeManyPairs(std::size_t images, double share, const SimilarityOptions& options) {
  if (!options.notice || images < kManyImages || share <= 0.5) return;
  options.notice("about " + std::to_string(std::lround(100 * share)) +
                 " % of all pairs are similar, by a sample; unless the pictures really are, the threshold does not fit "
                 "this model, and the search takes long");
}

SearchOptions SearchAsAsked(const SimilarityOptions& options, const Progress& progress) {
  SearchOptions search;
  search.threshold = options.threshold;
  search.threads = options.threads;
  search.method = options.search;
  search.approximate = options.approximate;
  search.progress = progress;
  return search;
}

Status CheckOptions(const SimilarityOptions& options) {
  Status threshold = CheckThreshold(options.threshold);
  if (!threshold.ok()) return threshold;
  if (!options.against.empty() && options.search == SearchMethod::kApproximate) {
    return {StatusCode::kInvalidArgument,
            "a reference folder is searched exactly; it does not go with the approximate "
            "search"};
  }
  if (!options.against.empty() && options.near.floor) {
    return {StatusCode::kInvalidArgument, "pairs below the threshold do not go with a reference folder"};
  }
  if (!options.against.empty() && options.keep != RepresentativePolicy::kMostSimilar) {
    return {StatusCode::kInvalidArgument, std::string("keep is ") + RepresentativePolicyName(options.keep) +
                                              ", but with a reference folder the reference images are always kept; "
                                              "leave it out"};
  }
  return CheckSearchOptions(SearchAsAsked(options, {}));
}

// Gives what was embedded to the two sides; `own` is where the reference's paths begin.
void Distribute(std::vector<std::string> paths, std::vector<ImageRecord> images, std::size_t own,
                FileEmbeddings& embedded, SimilarityResult* result) {
  for (const std::size_t i : embedded.read) {
    (i < own ? result->paths : result->reference->paths).push_back(std::move(paths[i]));
    (i < own ? result->images : result->reference->images).push_back(std::move(images[i]));
  }
  // The skipped ones come in the order of the list, so those of the reference follow the others; a path alone would not
  // tell, since it may be on both sides.
  std::size_t unread = own - result->paths.size();
  for (SkippedFile& file : embedded.skipped) {
    (unread > 0 ? result->skipped : result->reference->skipped).push_back(std::move(file));
    if (unread > 0) --unread;
  }
  std::sort(result->skipped.begin(), result->skipped.end());
  if (result->reference) std::sort(result->reference->skipped.begin(), result->reference->skipped.end());
}

// With the store or, where there is no such, as if there were an empty one.
Result<StoredEmbeddings> EmbedSome(const Embedder& embedder, const std::vector<std::string>& paths, Store* store,
                                   const SimilarityOptions& options, const Progress& progress) {
  if (store != nullptr) return EmbedThroughStore(embedder, store, paths, options, progress);
  StoredEmbeddings all;
  all.images.resize(paths.size());
  const PixelUse use = internal::FillRecords(options, [&all](std::size_t index) { return &all.images[index]; });
  Result<FileEmbeddings> embedded = embedder.EmbedFiles(paths, progress, use);
  if (!embedded.ok()) return embedded.status();
  all.embeddings = *std::move(embedded);
  all.slots.assign(all.embeddings.read.size(), kNotStored);
  all.use.computed = paths.size();
  all.use.refused = all.embeddings.skipped.size();
  return all;
}

// Puts what was found of a second list behind the first one, which had `first` files.
void Append(StoredEmbeddings more, std::size_t first, StoredEmbeddings* to) {
  FileEmbeddings& embeddings = to->embeddings;
  embeddings.rows.insert(embeddings.rows.end(), more.embeddings.rows.begin(), more.embeddings.rows.end());
  for (const std::size_t i : more.embeddings.read) embeddings.read.push_back(first + i);
  std::move(more.embeddings.skipped.begin(), more.embeddings.skipped.end(), std::back_inserter(embeddings.skipped));
  std::move(more.images.begin(), more.images.end(), std::back_inserter(to->images));
  to->slots.insert(to->slots.end(), more.slots.begin(), more.slots.end());
  to->use.reused += more.use.reused;
  to->use.computed += more.use.computed;
  to->use.refused += more.use.refused;
  to->use.damaged += more.use.damaged;
  if (to->use.note.empty()) to->use.note = std::move(more.use.note);
}

// `own`: where the reference's paths begin, which may be in a store of their own.
Result<StoredEmbeddings> EmbedAll(const Embedder& embedder, const std::vector<std::string>& paths, std::size_t own,
                                  const SimilarityOptions& options, const Progress& progress) {
  Store* const second = options.against_store != nullptr ? options.against_store : options.store;
  if (own == paths.size() || second == options.store) {
    return EmbedSome(embedder, paths, options.store, options, progress);
  }
  const auto shifted = [&](std::size_t before) -> Progress {
    if (!progress) return {};
    return [&, before](std::size_t done, std::size_t /*total*/) { return progress(before + done, paths.size()); };
  };
  const auto middle = paths.begin() + static_cast<std::ptrdiff_t>(own);
  Result<StoredEmbeddings> all = EmbedSome(embedder, {paths.begin(), middle}, options.store, options, shifted(0));
  if (!all.ok()) return all;
  Result<StoredEmbeddings> references = EmbedSome(embedder, {middle, paths.end()}, second, options, shifted(own));
  if (!references.ok()) return references;
  Append(*std::move(references), own, &*all);
  return all;
}

void NoticeStore(const StoreUse& use, const SimilarityOptions& options) {
  if (!options.notice || use.note.empty()) return;
  options.notice(use.note + "; this run goes on, but what it finds out is not kept");
}

// `pairs` as a sink of rows, which takes those above the threshold; empty if it is. Everything must stay where it is.
PairSink NamePairs(const std::vector<std::string>& first, const std::vector<std::string>& second, float threshold,
                   const PathPairSink& pairs) {
  if (!pairs) return {};
  return [&, threshold](const SimilarPair* found, std::size_t count) {
    return std::all_of(found, found + count, [&](const SimilarPair& pair) {
      return !(pair.similarity > threshold) || pairs(first[pair.first], second[pair.second], pair.similarity);
    });
  };
}

Status GroupWithin(const internal::StoredView& stored, const SimilarityOptions& options, const PhaseProgress& progress,
                   const PathPairSink& pairs, SimilarityResult* result) {
  const EmbeddingsView& view = stored.unit;
  NoticeManyPairs(view.count, options.notice ? EstimateSimilarShare(view, options.threshold) : 0, options);
  RankRows rank;
  if (options.keep != RepresentativePolicy::kMostSimilar) {
    rank = [&](const std::vector<std::uint32_t>& /*similar*/) { return RankImages(result->images, options.keep); };
  }
  PairSink sink = NamePairs(result->paths, result->paths, options.threshold, pairs);
  SearchOptions search = SearchAsAsked(options, OnePhase(progress, "pairs"));
  if (options.near.floor) {
    search.sink_threshold = options.near.floor(view);
    sink = [&near = options.near.sink, named = std::move(sink)](const SimilarPair* found, std::size_t count) {
      return near(found, count) && (!named || named(found, count));
    };
  }
  search.recall = [result](const RecallEstimate& recall) { result->recall = recall; };
  // Pairs are kept of the usual search only: not those below the threshold, and not with some missing.
  const bool keep_pairs = stored.store != nullptr && !options.near.floor && options.search == SearchMethod::kExact;
  Result<Grouping> grouping = keep_pairs
                                  ? internal::GroupStoredRows(stored, search, rank, sink, internal::kMostKnownPairs)
                                  : GroupRows(view, search, rank, sink);
  if (!grouping.ok()) return grouping.status();
  result->grouping = *std::move(grouping);
  return {};
}

std::vector<SameFile> FindSameFiles(const std::vector<ImageRecord>& images,
                                    const std::vector<ImageRecord>& references) {
  const auto id = [](const ImageRecord& image) { return std::pair(image.file.device, image.file.inode); };
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::vector<std::uint32_t>> by_id;
  for (std::uint32_t i = 0; i < references.size(); ++i) by_id[id(references[i])].push_back(i);
  std::vector<SameFile> same;
  for (std::uint32_t i = 0; i < images.size(); ++i) {
    const auto found = by_id.find(id(images[i]));
    if (found == by_id.end()) continue;
    for (const std::uint32_t reference : found->second) same.push_back({i, reference});
  }
  return same;
}

// `view` holds the images' rows; those of the reference follow them in memory.
Status GroupAgainst(const EmbeddingsView& view, const SimilarityOptions& options, const PhaseProgress& progress,
                    const PathPairSink& pairs, SimilarityResult* result) {
  ReferenceResult& reference = *result->reference;
  const EmbeddingsView references{view.data + view.count * view.dim, reference.paths.size(), view.dim};
  NoticeManyPairs(std::min(view.count, references.count),
                  options.notice ? EstimateSimilarShare(view, references, options.threshold) : 0, options);
  reference.same_files = FindSameFiles(result->images, reference.images);
  std::set<std::pair<std::uint32_t, std::uint32_t>> same;
  for (const SameFile& file : reference.same_files) same.insert({file.image, file.reference});
  Result<ReferenceGrouping> grouping = GroupRows(
      view, references, SearchAsAsked(options, OnePhase(progress, "pairs")),
      [&](std::uint32_t row, std::uint32_t column) {
        return same.count({row, column}) != 0;
      },
      NamePairs(result->paths, reference.paths, options.threshold, pairs));
  if (!grouping.ok()) return grouping.status();
  result->grouping = std::move(grouping->grouping);
  reference.similar = std::move(grouping->reference_similar);
  // What is in the reference folder itself is known best of all.
  std::vector<bool> known(result->paths.size(), false);
  for (const SameFile& file : reference.same_files) known[file.image] = true;
  for (std::size_t i = 0; i < known.size(); ++i) {
    ++(known[i] || result->grouping.similar[i] > 0 ? reference.known : reference.fresh);
  }
  return {};
}

}  // namespace

Status CheckThreshold(float threshold) {
  if (threshold >= -1.0F && threshold < 1.0F) return {};
  return {StatusCode::kInvalidArgument, "threshold is " + std::to_string(threshold) +
                                            ", expected -1 <= threshold < 1 (a cosine is never above 1; use 0.9999 for "
                                            "exact copies)"};
}

Result<SimilarityResult> FindSimilar(const Embedder& embedder, FolderListing images, const SimilarityOptions& options,
                                     const PhaseProgress& progress, const PathPairSink& pairs) {
  Status possible = CheckOptions(options);
  if (!possible.ok()) return possible;
  SimilarityResult result;
  result.model = embedder.info();
  result.threshold = options.threshold;
  result.search = options.search;
  result.keep = options.keep;
  std::vector<std::string> paths = std::move(images.paths);
  const std::size_t own = paths.size();
  result.skipped = std::move(images.skipped);
  if (!options.against.empty()) {
    Result<FolderListing> references = ListFolder(options.against, options.recursive, options.skip);
    if (!references.ok()) return references.status();
    result.reference.emplace();
    result.reference->folder = options.against;
    result.reference->skipped = std::move(references->skipped);
    // One list of both sides, so that the progress is that of all the work.
    std::move(references->paths.begin(), references->paths.end(), std::back_inserter(paths));
  }
  Result<StoredEmbeddings> found = EmbedAll(embedder, paths, own, options, OnePhase(progress, "images"));
  if (!found.ok()) return found.status();
  FileEmbeddings& embedded = found->embeddings;
  Distribute(std::move(paths), std::move(found->images), own, embedded, &result);
  if (options.store != nullptr || options.against_store != nullptr) {
    result.store = std::move(found->use);
    NoticeStore(*result.store, options);
  }

  const auto dim = static_cast<std::size_t>(result.model.dim);
  std::vector<float> unit;
  if (options.keep_embeddings) {
    unit = embedded.rows;
    result.embeddings = std::move(embedded.rows);
    result.embeddings.resize(result.paths.size() * dim);
  } else {
    unit = std::move(embedded.rows);
  }
  NormalizeRows(unit.data(), unit.size() / dim, dim);
  internal::StoredView view;
  view.unit = {unit.data(), result.paths.size(), dim};
  view.slots = &found->slots;
  view.store = options.store;
  view.key = EmbeddingColumn(embedder, internal::NeedsFullSize(options));
  Status status = result.reference ? GroupAgainst(view.unit, options, progress, pairs, &result)
                                   : GroupWithin(view, options, progress, pairs, &result);
  if (!status.ok()) return status;
  return result;
}

Result<SimilarityResult> FindSimilar(const Embedder& embedder, const std::string& folder,
                                     const SimilarityOptions& options, const PhaseProgress& progress,
                                     const PathPairSink& pairs) {
  Status possible = CheckOptions(options);
  if (!possible.ok()) return possible;
  Result<FolderListing> listing = ListFolder(folder, options.recursive, options.skip);
  if (!listing.ok()) return listing.status();
  return FindSimilar(embedder, *std::move(listing), options, progress, pairs);
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
