// The result of a search as one HTML page that needs nothing but itself: thumbnails, and the similar pairs, from which
// the page's own script (grouping.js) makes the groups again for any threshold, by the rule of rrn/search.h.
#ifndef RRN_PROGRAM_PAGE_HTML_PAGE_H_
#define RRN_PROGRAM_PAGE_HTML_PAGE_H_

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "rrn/image.h"
#include "rrn/search.h"
#include "rrn/similarity.h"
#include "rrn/status.h"

namespace rrn {

// The page's slider goes down to this, or to the threshold of the run where that is lower.
inline constexpr float kPageFloor = 0.5F;
// Where everything is small, images without a similar one get a thumbnail too.
inline constexpr std::size_t kPageSmallFolder = 1000;
// Beyond, the page would be too big for browsers; images with the most similar partners come first.
inline constexpr std::size_t kPageMostThumbnails = 20'000;
// For SimilarityOptions::thumbnail_edge.
inline constexpr int kPageThumbnailEdge = 160;

struct HtmlPageOptions {
  std::string path;                   // where the page will be; links to images are relative to it
  std::uint64_t max_pairs = 200'000;  // that the page may carry, >= 1
  std::size_t max_thumbnails = kPageMostThumbnails;
};

// The pairs above a floor.
struct PagePairs {
  float wanted = 0;                // the floor that was asked for
  float floor = 0;                 // the floor that was reached: `pairs` are all pairs above it
  std::vector<SimilarPair> pairs;  // by descending similarity, then by (first, second)
};

// Collects the pairs above `wanted`, or above the lowest higher floor with at most `max_pairs`, while the run searches;
// for NearPairs. Not thread-safe.
class PagePairCollector {
 public:
  // max_pairs: >= 1.
  PagePairCollector(float wanted, std::uint64_t max_pairs);

  // Where to begin, at most `threshold`. Where a sample says that there are very many pairs between `wanted` and
  // `threshold`, that is higher than `wanted`: the search of the run would take much longer otherwise.
  //   unit: normalized rows.
  float Begin(const EmbeddingsView& unit, float threshold);

  // Takes pairs above Begin's floor, in any order.
  void Add(const SimilarPair* pairs, std::size_t count);

  // What was collected; the collector is empty afterwards.
  PagePairs Take();

 private:
  std::size_t most_;
  PagePairs page_;
};

// How the similarities of all pairs, or of a sample of them, are spread: counts[i] is of those in
// [-1 + i / 100, -1 + (i + 1) / 100), the last one with 1.
struct PageHistogram {
  bool all = true;
  std::uint64_t pairs = 0;  // counted
  std::vector<std::uint64_t> counts;
};

// All that a page shows. `result` is not owned and must outlive it; its embeddings are not looked at any more.
struct HtmlPage {
  const SimilarityResult* result = nullptr;
  std::string path;
  PagePairs pairs;
  PageHistogram histogram;
  std::vector<bool> with_thumbnail;  // of each image: does the page show its thumbnail?
  bool limited = false;              // some do not because of HtmlPageOptions::max_thumbnails
  // The order in which images become representatives, one rank for each image, as RankRows gives it; empty: in
  // descending order of their count of similar ones.
  std::vector<std::uint32_t> rank;
};

// Of all pairs if there are at most a million, otherwise of a million drawn at random, the same for the same count.
// Errors: kCancelled.
Result<PageHistogram> CountSimilarities(const EmbeddingsView& unit, const Progress& progress);

// Counts similarities (phase "pairs") and chooses thumbnails. Memory: once the embeddings.
//   result: with its embeddings (SimilarityOptions::keep_embeddings) and thumbnails of kPageThumbnailEdge.
//   pairs: what a PagePairCollector found in the same run.
// Errors: kInvalidArgument (no embeddings), kCancelled, kRuntime.
Result<HtmlPage> MakeHtmlPage(const SimilarityResult& result, PagePairs pairs, const HtmlPageOptions& options,
                              const PhaseProgress& progress = {});

// The page. Same page, same bytes.
void WriteHtmlPage(const HtmlPage& page, std::ostream& out);

// What the page lacks because of its limits, for people, on one line; empty if nothing.
std::string MissingFromPage(const HtmlPage& page);

}  // namespace rrn

#endif  // RRN_PROGRAM_PAGE_HTML_PAGE_H_
