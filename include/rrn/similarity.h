// The main job: find the similar images of a folder and count the unique ones.
#ifndef RRN_SIMILARITY_H_
#define RRN_SIMILARITY_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/progress.h"
#include "rrn/search.h"
#include "rrn/status.h"
#include "rrn/store.h"

namespace rrn {

// Is this a threshold that a cosine can be above? Errors: kInvalidArgument.
Status CheckThreshold(float threshold);

// What a folder holds. Regular files are candidates whatever their name: the content tells whether they are images.
struct FolderListing {
  std::vector<std::string> paths;    // candidates, each beginning with the folder as it was given, sorted by bytes
  std::vector<SkippedFile> skipped;  // sockets, broken links, unreadable folders ..., sorted by path
};

// Lists a folder. Symbolic links to files are followed, links to folders are not, so loops cannot happen.
//   skip: folders that are not looked into, under any name; folders that do not exist are ignored. Nothing in them is
//   listed or counted.
// Errors: kNotFound, kInvalidArgument (not a folder), kUnreadable.
Result<FolderListing> ListFolder(const std::string& folder, bool recursive, const std::vector<std::string>& skip = {});

// Lists files by name, each once however often it is named, "./a" and "a" being one name: regular files become
// candidates, all others are skipped with the reason (missing, a folder, a socket ...).
//   skip: folders whose files, at any depth, are neither listed nor counted; folders that do not exist are ignored.
FolderListing ListFiles(std::vector<std::string> paths, const std::vector<std::string>& skip = {});

// Which image of a group represents it, and so is kept where the others are not: the one with the most similar images,
// or the first one in the order of
enum class RepresentativePolicy {
  kMostSimilar,
  kFirst,     // the paths
  kLargest,   // descending number of pixels, then of bytes
  kSharpest,  // descending detail (Detail::detail), so that neither an enlarged copy nor a thumbnail of a sharp picture
              // wins; files are then decoded at full size, as with EmbedderOptions::full_decode
  kNewest,    // descending modification time
};            // each with ties in the order of the paths

// "most-similar", "first", "largest", "sharpest" or "newest".
const char* RepresentativePolicyName(RepresentativePolicy keep);

// What is known of an image from the one time that its file was read.
struct ImageRecord {
  FileProperties file;
  int width = 0;  // of the upright picture at its full size
  int height = 0;
  std::optional<std::int64_t> captured = std::nullopt;  // as Image::captured
  Detail detail;                                        // measured for kSharpest only
  std::vector<std::uint8_t> thumbnail;  // a JPEG file; empty unless SimilarityOptions::thumbnail_edge asks for it
};

// A rank for each image, as RankRows wants it; `keep` is not kMostSimilar.
std::vector<std::uint32_t> RankImages(const std::vector<ImageRecord>& images, RepresentativePolicy keep);

// For a page whose threshold can be moved: pairs that are not similar enough, from the same search.
struct NearPairs {
  // If not empty, called once before the search, with the images' rows of unit length; returns the similarity above
  // which pairs go to `sink`. One above the threshold means the threshold.
  std::function<float(const EmbeddingsView& unit)> floor;
  // Receives the pairs, similar ones too, as positions in SimilarityResult::paths. Not used without `floor`.
  PairSink sink;
};

// What FindSimilar does.
struct SimilarityOptions {
  float threshold = kDefaultThreshold;  // similar is: cosine > threshold; -1 <= threshold < 1
  int threads = 0;                      // of the pair search; 0: one for each core
  bool recursive = true;
  bool keep_embeddings = true;  // in the result; without, the peak memory of an image is halved
  SearchMethod search = SearchMethod::kExact;
  ApproximateOptions approximate;  // of SearchMethod::kApproximate
  RepresentativePolicy keep = RepresentativePolicy::kMostSimilar;
  std::vector<std::string> skip;  // as in ListFolder, of both folders; a listing that is given is taken as it is
  // The longer side of the thumbnails in ImageRecord, in pixels; 0: none. About 4 kB an image at 160.
  int thumbnail_edge = 0;

  // A reference folder; empty: none. With it, images are compared with its images only, see ReferenceResult. Needs the
  // exact search and no `keep`.
  std::string against;

  NearPairs near;  // not with `against`

  // Where what is found out of files is kept, and what earlier runs found out of files that have not changed since is
  // taken from; null: every file is read. Not owned. The result is the same; with `thumbnail_edge`, known pictures are
  // decoded again for that. A store that cannot be used is no error, see StoreUse::note.
  Store* store = nullptr;
  Store* against_store = nullptr;  // the same for the images of `against`; null: `store`

  // If not empty, receives a line for people, without a line break, before the pair search of 10,000 images or more,
  // when more than half of a sample of pairs are similar. Called on the calling thread.
  std::function<void(const std::string& line)> notice;
};

// As Progress, for one phase of the work: "images" or "pairs".
using PhaseProgress = std::function<bool(const char* phase, std::size_t done, std::size_t total)>;

// An image that is one and the same file as a reference image, under whatever name.
struct SameFile {
  std::uint32_t image = 0;
  std::uint32_t reference = 0;
};

// The other side, where a folder was compared with a reference folder.
struct ReferenceResult {
  std::string folder;                  // as it was given
  std::vector<std::string> paths;      // reference images read, sorted
  std::vector<ImageRecord> images;     // one for each of `paths`
  std::vector<SkippedFile> skipped;    // sorted by path
  std::vector<std::uint32_t> similar;  // for each: how many images are similar to it
  // Not compared with each other. Sorted.
  std::vector<SameFile> same_files;
  std::size_t known = 0;  // images that are similar to some reference image, or the same file as one
  std::size_t fresh = 0;  // all others that were read

  // All reference files that were looked at: those read and those skipped.
  std::size_t files() const { return paths.size() + skipped.size(); }
};

// How much a store saved.
struct StoreUse {
  std::size_t reused = 0;    // files that were not read, because what is known of them came from the store
  std::size_t computed = 0;  // all others
  std::size_t refused = 0;   // of the computed ones, those that are no readable images
  std::size_t damaged = 0;   // of the computed ones, those whose row in the store had a wrong checksum
  std::string note;          // why what was computed is not all in the store; empty: it is
};

// The result. Positions refer to `paths`; files = paths.size() + skipped.size(); unique = groups + images in no group.
//
// With `reference`, Group::representative is a position in its paths, `grouping.similar` counts similar reference
// images, and paths.size() = reference->known + reference->fresh.
struct SimilarityResult {
  ModelInfo model;
  float threshold = kDefaultThreshold;
  std::vector<std::string> paths;    // images read, sorted
  std::vector<ImageRecord> images;   // one for each of `paths`
  std::vector<SkippedFile> skipped;  // sorted by path
  std::vector<float> embeddings;     // [paths.size(), model.dim], raw; empty without keep_embeddings
  Grouping grouping;
  SearchMethod search = SearchMethod::kExact;
  RecallEstimate recall;  // of SearchMethod::kApproximate
  RepresentativePolicy keep = RepresentativePolicy::kMostSimilar;
  std::optional<ReferenceResult> reference;
  std::optional<StoreUse> store;  // with SimilarityOptions::store

  // All files that were looked at: those read and those skipped.
  std::size_t files() const { return paths.size() + skipped.size(); }
};

// Receives similar images as paths, in ascending order; returns false to cancel.
using PathPairSink = std::function<bool(const std::string& first, const std::string& second, float similarity)>;

// Embeds, searches and groups. A listing without readable images is not an error: the result is empty. With
// options.against, `pairs` receives an image first and a reference image second, in the order of both paths.
// Errors: those of Embedder::EmbedFiles, GroupRows and, for options.against, ListFolder; kInvalidArgument (options that
// exclude each other). What can be refused is refused before any image is read.
Result<SimilarityResult> FindSimilar(const Embedder& embedder, FolderListing images, const SimilarityOptions& options,
                                     const PhaseProgress& progress = {}, const PathPairSink& pairs = {});

// Lists a folder, then as above. Errors: also those of ListFolder.
Result<SimilarityResult> FindSimilar(const Embedder& embedder, const std::string& folder,
                                     const SimilarityOptions& options, const PhaseProgress& progress = {},
                                     const PathPairSink& pairs = {});

// Where an embedder's rows are kept in a store. `full_size`: of files that are decoded at their full size, as for
// RepresentativePolicy::kSharpest, whatever the embedder's own options say.
ColumnKey EmbeddingColumn(const Embedder& embedder, bool full_size = false);

// Where the store of a folder of images is kept unless somebody names another place: "stores/" and a hash of its real
// path, in the user's folder for what can be made again ($XDG_CACHE_HOME/rrn, or ~/.cache/rrn). Makes the folder that
// it is in. `folder`: empty for lists of files.
// Errors: kUnreadable (no such place here, or it cannot be written).
Result<std::string> DefaultStoreFolder(const std::string& folder);

// In the place of a slot: the row is not in the store.
inline constexpr std::uint64_t kNotStored = std::numeric_limits<std::uint64_t>::max();

// Embeddings of files, and what else is known of these.
struct StoredEmbeddings {
  FileEmbeddings embeddings;
  std::vector<ImageRecord> images;   // one for each file of the list
  std::vector<std::uint64_t> slots;  // one for each row, see Store, or kNotStored
  StoreUse use;
};

// Embeds files that the store does not know or that have changed since, and stores what it finds out every few seconds,
// so a run that is killed loses no more. A file is known under its absolute path, or under another one where only a
// folder was renamed. Files whose reading failed for a reason that may pass are not stored.
//   store: not null.
//   options: keep, thumbnail_edge, threads.
//   progress: as for EmbedFiles; known files count as done from the beginning.
// Errors: those of Embedder::EmbedFiles. What the store refuses is in StoreUse::note.
Result<StoredEmbeddings> EmbedThroughStore(const Embedder& embedder, Store* store,
                                           const std::vector<std::string>& paths, const SimilarityOptions& options,
                                           const Progress& progress = {});

// The similarity of two files, in [-1, 1].
// Errors: kUnreadable (naming the file and the reason), kCancelled, kRuntime.
Result<float> CompareFiles(const Embedder& embedder, const std::string& first, const std::string& second,
                           const Progress& progress = {});

// An image that its group can do without, and the one that is kept for it.
struct RedundantImage {
  std::string path;
  std::string kept;
  float similarity = 0;
};

// The members of all groups, without the representatives, in the order of their paths. Reference images are always
// kept: an image that is one and the same file as one of them is not among the redundant ones. Neither is one that its
// representative is only another path of, say through a symbolic link; another hard link is. Looks at the files as they
// are now.
std::vector<RedundantImage> RedundantImages(const SimilarityResult& result);

// For people: groups with similarities, images without a similar one, skipped files, totals.
void WriteText(const SimilarityResult& result, std::ostream& out);

// For programs: one JSON object, described on the page python/docs/pages/formats.md. Same result, same bytes.
// Bytes of paths that are not UTF-8 become lone surrogates \udc80 ... \udcff, as Python's os.fsdecode makes them.
// Its list "redundant" is that of RedundantImages, which looks at the files.
void WriteJson(const SimilarityResult& result, std::ostream& out);

// One line "first,second,similarity" (RFC 4180), with its line break.
void WritePairCsv(const std::string& first, const std::string& second, float similarity, std::ostream& out);

// NumPy's .npy format, version 1.0, float32 [count, dim].
void WriteNpy(const float* rows, std::size_t count, std::size_t dim, std::ostream& out);

}  // namespace rrn

#endif  // RRN_SIMILARITY_H_
