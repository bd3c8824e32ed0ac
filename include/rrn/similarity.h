// The main job: find the similar images of a folder and count the unique ones.
#ifndef RRN_SIMILARITY_H_
#define RRN_SIMILARITY_H_

#include <cstddef>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/search.h"
#include "rrn/status.h"

namespace rrn {

// Two images are similar when the cosine of their embeddings is above this.
inline constexpr float kDefaultThreshold = 0.75F;

// Is this a threshold that a cosine can be above? Errors: kInvalidArgument.
Status CheckThreshold(float threshold);

// What a folder holds. Regular files are candidates whatever their name: the content tells whether they are images.
struct FolderListing {
  std::vector<std::string> paths;    // candidates, each beginning with the folder as it was given, sorted by bytes
  std::vector<SkippedFile> skipped;  // sockets, broken links, unreadable folders ..., sorted by path
};

// Lists a folder. Symbolic links to files are followed, links to folders are not, so loops cannot happen.
// Errors: kNotFound, kInvalidArgument (not a folder), kUnreadable.
Result<FolderListing> ListFolder(const std::string& folder, bool recursive);

// How pairs are looked for.
enum class SearchMethod { kExact, kApproximate };

// What FindSimilar shall do.
struct SimilarityOptions {
  float threshold = kDefaultThreshold;  // similar is: cosine > threshold; -1 <= threshold < 1
  int threads = 0;                      // of the pair search; 0: one for each core
  bool recursive = true;
  bool keep_embeddings = true;  // in the report; without, the peak memory of an image is halved
  SearchMethod search = SearchMethod::kExact;
  ApproximateOptions approximate;  // of SearchMethod::kApproximate

  // If not empty, receives a line for people, without a line break, before the pair search of 10,000 images or more,
  // when more than half of a sample of pairs are similar. Called on the calling thread.
  std::function<void(const std::string& line)> notice;
};

// One phase of the work, for people: "images" or "pairs".
using PhaseProgress = std::function<bool(const char* phase, std::size_t done, std::size_t total)>;

// The result. Positions refer to `paths`; files = paths.size() + skipped.size(); unique = groups + images in no group.
struct SimilarityReport {
  ModelInfo model;
  float threshold = kDefaultThreshold;
  std::vector<std::string> paths;    // images read, sorted
  std::vector<SkippedFile> skipped;  // sorted by path
  std::vector<float> embeddings;     // [paths.size(), model.dim], raw; empty without keep_embeddings
  Grouping grouping;
  SearchMethod search = SearchMethod::kExact;
  RecallEstimate recall;  // of SearchMethod::kApproximate

  // All files that were looked at: those read and those skipped.
  std::size_t files() const { return paths.size() + skipped.size(); }
};

// Receives similar images as paths, in ascending order; returns false to cancel.
using PathPairSink = std::function<bool(const std::string& first, const std::string& second, float similarity)>;

// Lists, embeds, searches and groups. A folder without readable images is not an error: the report is empty.
// Errors: those of ListFolder, Embedder::EmbedFiles, ForEachSimilarPair and ForEachSimilarPairApproximately; a method
// that this build does not have is refused before any image is read.
Result<SimilarityReport> FindSimilar(const Embedder& embedder, const std::string& folder,
                                     const SimilarityOptions& options, const PhaseProgress& progress = {},
                                     const PathPairSink& pairs = {});

// The similarity of two files, in [-1, 1].
// Errors: kUnreadable (naming the file and the reason), kCancelled, kRuntime.
Result<float> CompareFiles(const Embedder& embedder, const std::string& first, const std::string& second,
                           const Progress& progress = {});

// For people: groups with similarities, images without a similar one, skipped files, totals.
void WriteText(const SimilarityReport& report, std::ostream& out);

// For programs: one JSON object, described in the README. Same report, same bytes. Paths that are not UTF-8 carry lone
// surrogates \udc80 ... \udcff for the offending bytes, as Python's os.fsdecode makes and os.fsencode undoes.
void WriteJson(const SimilarityReport& report, std::ostream& out);

// One line "first,second,similarity" (RFC 4180), with its line break.
void WritePairCsv(const std::string& first, const std::string& second, float similarity, std::ostream& out);

// NumPy's .npy format, version 1.0, float32 [count, dim].
void WriteNpy(const float* rows, std::size_t count, std::size_t dim, std::ostream& out);

}  // namespace rrn

#endif  // RRN_SIMILARITY_H_
