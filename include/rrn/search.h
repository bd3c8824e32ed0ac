// Search among embeddings: similar pairs, groups, nearest rows. Depends on nothing else of rrn but Status and Progress.
//
// The similarity of two embeddings is their cosine: the dot product of the rows after NormalizeRows. It is summed in
// float32 in one fixed order on every machine, with every instruction set, in every block and thread, so the same two
// embeddings always have the same similarity, bit for bit. A similarity that is not a number is above no threshold.
//
// Where the machine has instructions for it, pairs that cannot be similar are excluded by products of 8-bit integers
// with a proven bound on their error, and only the rest is computed in float32. Embeddings of photos lie near a space
// of few dimensions; where a sample shows that, products of 64 numbers a row exclude most pairs before. The result is
// the same, bit for bit.
//
// Memory grows with the number of embeddings (a quarter of their own for the 8-bit rows, 192 bytes a row for short
// ones, 256 with AVX2 alone) and of results, never with the square of the number of embeddings.
//
// Thread-safety: all functions may run at the same time on different data. Callbacks of one call are never concurrent.
#ifndef RRN_SEARCH_H_
#define RRN_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "rrn/progress.h"
#include "rrn/status.h"

namespace rrn {

// Two images are similar when the cosine of their embeddings is above this.
inline constexpr float kDefaultThreshold = 0.75F;

// A threshold that every similarity is above.
inline constexpr float kNoThreshold = -2.0F;

// Row-major float32 [count, dim], owned by the caller. At most 2^32 - 1 rows, of any length.
struct EmbeddingsView {
  const float* data = nullptr;
  std::size_t count = 0;
  std::size_t dim = 0;
};

// Two similar rows and their similarity in [-1, 1].
struct SimilarPair {
  std::uint32_t first = 0;
  std::uint32_t second = 0;
  float similarity = 0;
};

// A row that was found from another one, and their similarity in [-1, 1].
struct Neighbour {
  std::uint32_t index = 0;
  float similarity = 0;
};

// Receives pairs in ascending order of (first, second), in portions; returns false to cancel.
using PairSink = std::function<bool(const SimilarPair* pairs, std::size_t count)>;

// How pairs are looked for.
//   kApproximate: for collections that are too large for the exact search, on one set of rows. Pairs that it finds are
//   as exact as the others; some are missing, and how many is measured. Same input, same result, for any number of
//   threads. Built where hnswlib was found. Nothing in rrn chooses it by itself.
enum class SearchMethod { kExact, kApproximate };

// Parameters of SearchMethod::kApproximate.
struct ApproximateOptions {
  int neighbours = 16;  // similar rows that are looked for from each row, 1 ... 10000; groups may be larger
  int effort = 64;      // rows that are kept in view while looking, 1 ... 10000: more is slower and finds more
};

// How much an approximate search found, measured: a sample of rows is searched exactly.
struct RecallEstimate {
  std::size_t rows = 0;   // in the sample
  std::size_t pairs = 0;  // similar pairs of these rows
  std::size_t found = 0;  // those that the approximate search had found

  // The share that was found; 1 if there was nothing to find.
  double value() const { return pairs == 0 ? 1.0 : static_cast<double>(found) / static_cast<double>(pairs); }
};

// Whether pairs are looked at by short rows first. Where a sample says that it pays: kSampled.
enum class ShortRows { kSampled, kNever, kAlways };

// How to search. The result depends on `threshold` and, for the approximate search, on `method` and `approximate`.
struct SearchOptions {
  float threshold = kDefaultThreshold;  // similar is: similarity > threshold; any number
  int threads = 0;                      // 0: one for each core
  SearchMethod method = SearchMethod::kExact;
  ApproximateOptions approximate;
  // Instructions to use, one of SearchTargets(); empty: the fastest. For measurements and tests.
  std::string target;
  // For measurements and tests, too. Without effect for the targets float32 and portable.
  ShortRows short_rows = ShortRows::kSampled;
  // For GroupRows of one set of rows: where this is below the threshold, the sink also receives the pairs between the
  // two, from the same search. The groups do not depend on it.
  float sink_threshold = std::numeric_limits<float>::infinity();
  Progress progress;
  // If not empty, receives how much SearchMethod::kApproximate found, once, before the first pair. Without it, nothing
  // is measured, which saves time, and memory for a quarter of the embeddings.
  std::function<void(const RecallEstimate& recall)> recall;
};

// Can this build and machine search like this?
// Errors: kInvalidArgument (the threshold is not a number, no such target on this machine, `approximate` out of range),
// kUnsupported (SearchMethod::kApproximate; see ApproximateSearchAvailable).
Status CheckSearchOptions(const SearchOptions& options);

// Whether this build can search approximately.
bool ApproximateSearchAvailable();

// The sets of instructions that the exact search can use on this machine, the fastest first: amx, avx512vnni, avxvnni,
// avx2, neon where the machine has them, and always float32 (no pair is excluded by 8-bit products) and portable (no
// special instructions either), which come last.
std::vector<std::string> SearchTargets();

// Scales every row of [count, dim] to length 1 in place. A row of zeros stays zero: its similarity to all others is 0.
void NormalizeRows(float* rows, std::size_t count, std::size_t dim);

// The similarity of two normalized rows of `dim` floats.
float CosineSimilarity(const float* first, const float* second, std::size_t dim);

// The share of similar pairs, 0 ... 1, among 4096 pairs of rows that are drawn at random, the same ones for the same
// count. Takes a millisecond: it tells early that a threshold does not fit a model.
double EstimateSimilarShare(const EmbeddingsView& rows, float threshold);

// The same for pairs of a row of `rows` and a row of `columns`, which have the same dim.
double EstimateSimilarShare(const EmbeddingsView& rows, const EmbeddingsView& columns, float threshold);

// Calls `sink` with every pair of rows, first < second, whose similarity is above the threshold.
//   rows: normalized, as for all functions below.
// Memory of the approximate search: a quarter of the embeddings, about 200 bytes a row, and up to 50 for each pair
// found, at most ApproximateOptions::neighbours a row; one thread builds its graph, all search it.
// Errors: those of CheckSearchOptions, kInvalidArgument (too many rows), kCancelled, kRuntime (not enough memory).
Status FindPairs(const EmbeddingsView& rows, const SearchOptions& options, const PairSink& sink);

// Calls `sink` with every pair of a row of `rows` (SimilarPair::first) and a row of `columns` (SimilarPair::second,
// which may be smaller than the first) whose similarity is above the threshold. Pairs inside one side are not looked
// at. Memory: a quarter of both sides.
// Errors: as above, and kInvalidArgument (two lengths of rows, SearchMethod::kApproximate).
Status FindPairs(const EmbeddingsView& rows, const EmbeddingsView& columns, const SearchOptions& options,
                 const PairSink& sink);

// The rows of a search for the nearest ones: for each row those that were found, in descending order of similarity,
// equal ones in ascending order of index.
using Neighbours = std::vector<std::vector<Neighbour>>;

// For each of `rows`, the `k` rows of `columns` that are most similar to it, fewer where fewer are above the threshold
// (kNoThreshold: all are, but those whose similarity is not a number). Of equally similar ones the first are taken.
// Memory: a quarter of both sides (nothing for few rows), and 8 bytes for each neighbour, twice for few rows.
// Errors: as for FindPairs of two sides, and kInvalidArgument (k is 0).
Result<Neighbours> FindNearest(const EmbeddingsView& rows, const EmbeddingsView& columns, std::size_t k,
                               const SearchOptions& options);

// The same among one set of rows, where a row is not a neighbour of itself.
Result<Neighbours> FindNearest(const EmbeddingsView& rows, std::size_t k, const SearchOptions& options);

// Rows that are prepared once for many searches: the nearest of few rows among a million take some hundredths of a
// second. All results are those of FindNearest and FindPairs, bit for bit.
//
// Memory: the 8-bit rows (a quarter of the embeddings) and, from 8192 rows of more than 128 numbers on, 192 bytes a row
// for short ones, 256 with AVX2 alone. With the targets float32 and portable, none, and every search compares
// everything.
//
// Thread-safety: the const functions may run at the same time.
class SearchIndex {
 public:
  // Of `options`: threads, target and short_rows count, for all searches.
  //   rows: normalized; the caller keeps them as they are for as long as the index lives.
  // Errors: those of CheckSearchOptions, kInvalidArgument (too many rows, SearchMethod::kApproximate), kRuntime (not
  // enough memory).
  static Result<SearchIndex> Create(const EmbeddingsView& rows, const SearchOptions& options = {});

  // The same with normalized rows [n, dim] that the index owns. Errors: also kInvalidArgument (not rows of `dim`
  // numbers, or `dim` is 0).
  static Result<SearchIndex> Create(std::vector<float> rows, std::size_t dim, const SearchOptions& options = {});

  // After a move the source may only be assigned to or destroyed.
  SearchIndex(SearchIndex&& other) noexcept;
  SearchIndex& operator=(SearchIndex&& other) noexcept;
  ~SearchIndex();

  // Rows of the index, and numbers of each.
  std::size_t count() const;
  std::size_t dim() const;

  // As FindNearest of `rows` (normalized) among those of the index.
  // Errors: kInvalidArgument (another dim, too many rows, k is 0, the threshold is not a number), kRuntime.
  Result<Neighbours> Nearest(const EmbeddingsView& rows, std::size_t k, float threshold = kNoThreshold) const;

  // As FindPairs of `rows` (normalized) and those of the index, but for memory: 8 bytes for each pair, twice. The sink
  // is called on the calling thread. Errors: kInvalidArgument (as above), kCancelled (by the sink), kRuntime.
  Status Range(const EmbeddingsView& rows, float threshold, const PairSink& sink) const;

 private:
  struct Prepared;
  explicit SearchIndex(std::unique_ptr<Prepared> prepared);

  std::unique_ptr<Prepared> prepared_;
};

// A representative and the rows that are similar to it, sorted by descending similarity, then by index. Never empty.
struct Group {
  std::uint32_t representative = 0;
  std::vector<Neighbour> members;
};

// The result of grouping.
struct Grouping {
  std::vector<Group> groups;           // sorted by representative
  std::vector<std::uint32_t> similar;  // for each row: how many other rows are similar to it
  std::size_t unique = 0;              // groups + rows in no group
};

// Says which rows should become representatives first. Receives Grouping::similar; returns a rank for each row, the
// lowest one first, equal ranks in the order of their index. Ranks of rows without any similar row do not matter.
// Called once, on the calling thread, when all pairs are known. Its error ends the grouping.
using RankRows = std::function<Result<std::vector<std::uint32_t>>(const std::vector<std::uint32_t>& similar)>;

// Groups rows so that every member is similar to its representative; nothing is chained through third rows.
//
// The rule: take the rows in the order of `rank`, or without one in descending order of the `similar` count; equal ones
// in the order of their index. A row that is similar to no earlier representative becomes a representative. Every other
// row joins the representative it is most similar to, the earlier one in index order at equal similarity. So no two
// representatives are similar to each other, and `unique` is their number plus the rows without any similar row.
//
//   sink: if not empty, also receives every similar pair, and those above SearchOptions::sink_threshold.
// With SearchMethod::kApproximate, the groups are those of the pairs that it finds.
// Errors: as for FindPairs, those of `rank`, and kInvalidArgument (not one rank for each row).
Result<Grouping> GroupRows(const EmbeddingsView& rows, const SearchOptions& options, const RankRows& rank = {},
                           const PairSink& sink = {});

// The same groups from pairs that were found before, say by several searches or machines.
//   count: rows there are.
//   pairs: first < second < count, in any order, each once, with similarities from -1 to 1.
// Memory: 28 bytes for each pair, and 8 more while they are checked. Errors: those of `rank`, and kInvalidArgument (a
// pair is not like that, not one rank for each row).
Result<Grouping> GroupPairs(std::size_t count, const std::vector<SimilarPair>& pairs, const RankRows& rank = {});

// Groups around the rows of a reference.
struct ReferenceGrouping {
  // Grouping::groups: `representative` is a position in the references, members are rows. Grouping::similar: for each
  // row, how many references are similar to it. Grouping::unique: groups + rows in no group.
  Grouping grouping;
  std::vector<std::uint32_t> reference_similar;  // for each reference: how many rows are similar to it
};

// Says that a row and a reference are not to be compared, say because they are one and the same image.
using LeaveOutPair = std::function<bool(std::uint32_t row, std::uint32_t reference)>;

// Every row joins the reference it is most similar to, the earlier one at equal similarity, if that is above the
// threshold. Neither rows nor references are compared among themselves.
//   leave_out: if not empty, asked about similar pairs only, on one thread at a time.
//   sink: if not empty, also receives every similar pair that is not left out.
// Errors: as for FindPairs of two sides.
Result<ReferenceGrouping> GroupRows(const EmbeddingsView& rows, const EmbeddingsView& references,
                                    const SearchOptions& options, const LeaveOutPair& leave_out = {},
                                    const PairSink& sink = {});

}  // namespace rrn

#endif  // RRN_SEARCH_H_
