// Exact search for similar pairs among embeddings, and grouping. Depends on nothing else of rrn but Status.
//
// The similarity of two embeddings is their cosine: the dot product of the rows after NormalizeRows. It is summed in
// float32 in one fixed order on every machine, with every instruction set, in every block and thread, so the same two
// embeddings always have the same similarity, bit for bit.
//
// Where the machine has instructions for it, pairs that cannot be similar are sorted out by products of 8-bit integers
// with a proven bound on their error, and only the rest is computed in float32. The result is the same, bit for bit;
// the environment variable RRN_SEARCH_PATH chooses for measurements and tests: amx, avx512vnni, avxvnni, avx2, neon,
// float32 (nothing sorted out), portable (nor any special instructions). Empty or not set: the fastest one there is.
//
// "Similar" means similarity > threshold, strictly. Memory grows with the number of embeddings (a quarter of
// their own for the 8-bit rows), never with its square.
//
// Thread-safety: all functions may run at the same time on different data. Callbacks of one call are never concurrent.
#ifndef RRN_SEARCH_H_
#define RRN_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "rrn/status.h"

namespace rrn {

// Row-major float32 [count, dim], owned by the caller.
struct EmbeddingsView {
  const float* data = nullptr;
  std::size_t count = 0;
  std::size_t dim = 0;
};

// Two similar rows, first < second, similarity in [-1, 1].
struct SimilarPair {
  std::uint32_t first = 0;
  std::uint32_t second = 0;
  float similarity = 0;
};

// Receives `done` of `total` steps; returns false to cancel.
using Progress = std::function<bool(std::size_t done, std::size_t total)>;

// Receives pairs in ascending order of (first, second), in portions; returns false to cancel.
using PairSink = std::function<bool(const SimilarPair* pairs, std::size_t count)>;

// Which instructions the exact search uses in this process: one of the names above.
// Errors: kInvalidArgument (RRN_SEARCH_PATH names no path of this machine; the message lists those there are).
Result<std::string> SearchPathInUse();

// Scales every row of [count, dim] to length 1 in place. A row of zeros stays zero: its similarity to all others is 0.
void NormalizeRows(float* rows, std::size_t count, std::size_t dim);

// The similarity of two normalized rows of `dim` floats.
float CosineSimilarity(const float* first, const float* second, std::size_t dim);

// The share of similar pairs, 0 ... 1, among 4096 of them that are drawn at random, the same ones for the same count.
// Takes a millisecond: it tells early that a threshold does not fit a model.
double EstimateSimilarShare(const EmbeddingsView& embeddings, float threshold);

// The same for pairs of a row of `rows` and a row of `columns`, which have the same dim.
double EstimateSimilarShareAcross(const EmbeddingsView& rows, const EmbeddingsView& columns, float threshold);

// Calls `sink` with every pair of rows whose similarity is above `threshold`.
//   embeddings: normalized rows, at most 2^32 - 1.
//   threads: 0 means one for each core.
// Errors: kInvalidArgument (too many rows, a threshold that is not a number, RRN_SEARCH_PATH names no path of this
// machine), kCancelled, kRuntime (not enough memory).
Status ForEachSimilarPair(const EmbeddingsView& embeddings, float threshold, int threads, const PairSink& sink,
                          const Progress& progress = {});

// Calls `sink` with every pair of a row of `rows` (SimilarPair::first) and a row of `columns` (SimilarPair::second,
// which may be smaller than the first) whose similarity is above `threshold`, in ascending order. Pairs inside one side
// are not looked at. Memory: a quarter of both sides. Otherwise as above.
// Errors: as above, and kInvalidArgument (two lengths of rows).
Status ForEachSimilarPairAcross(const EmbeddingsView& rows, const EmbeddingsView& columns, float threshold, int threads,
                                const PairSink& sink, const Progress& progress = {});

// A row of a group.
struct GroupMember {
  std::uint32_t index = 0;
  float similarity = 0;  // to the group's representative
};

// A representative and the rows that are similar to it, sorted by falling similarity, then by index. Never empty.
struct Group {
  std::uint32_t representative = 0;
  std::vector<GroupMember> members;
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
// The rule: take the rows in the order of `rank`, or without one in the order of falling `similar` count; equal ones in
// the order of their index. A row that
// is similar to no earlier representative becomes a representative. Every other row joins the representative it is most
// similar to, the earlier one in index order at equal similarity. So no two representatives are similar to each other,
// and `unique` is their number plus the rows without any similar row.
//
//   embeddings, threads: as above.
//   sink: if not empty, also receives every similar pair.
// Errors: as above, those of `rank`, and kInvalidArgument (not one rank for each row).
Result<Grouping> GroupByRepresentative(const EmbeddingsView& embeddings, float threshold, int threads,
                                       const PairSink& sink = {}, const Progress& progress = {},
                                       const RankRows& rank = {});

// Groups around the rows of a reference: see GroupByReference.
struct ReferenceGrouping {
  // Grouping::groups: `representative` is a position in the references, members are rows. Grouping::similar: for each
  // row, how many references are similar to it. Grouping::unique: groups + rows in no group.
  Grouping grouping;
  std::vector<std::uint32_t> reference_similar;  // for each reference: how many rows are similar to it
};

// Says that a row and a reference are not to be compared, say because they are one and the same image.
using LeaveOutPair = std::function<bool(std::uint32_t row, std::uint32_t reference)>;

// Every row joins the reference it is most similar to, the earlier one at equal similarity, if that is above
// `threshold`. Neither rows nor references are compared among themselves.
//   leave_out: if not empty, asked about similar pairs only, on one thread at a time.
//   sink: if not empty, also receives every similar pair that is not left out.
// Errors: as for ForEachSimilarPairAcross.
Result<ReferenceGrouping> GroupByReference(const EmbeddingsView& rows, const EmbeddingsView& references,
                                           float threshold, int threads, const LeaveOutPair& leave_out = {},
                                           const PairSink& sink = {}, const Progress& progress = {});

// Approximate search, for collections that are too large for the exact one. It is a choice: nothing in rrn takes it by
// itself. Pairs that it finds are as exact as the others; some are missing, and how many is measured. Same input, same
// result, whatever the threads. Built where hnswlib was found.
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

// Whether this build can search approximately.
bool ApproximateSearchAvailable();

// As ForEachSimilarPair, with some pairs missing. One thread builds the graph, `threads` search it. Memory: a quarter
// of the embeddings, about 200 bytes a row, and up to 50 for each pair found, at most `neighbours` a row; `recall`
// takes another quarter.
//   recall: if not null, receives the estimate.
// Errors: as above, and kUnsupported (see ApproximateSearchAvailable).
Status ForEachSimilarPairApproximately(const EmbeddingsView& embeddings, float threshold,
                                       const ApproximateOptions& options, int threads, const PairSink& sink,
                                       RecallEstimate* recall, const Progress& progress = {});

// As GroupByRepresentative, from the pairs of the approximate search. Errors: as above.
Result<Grouping> GroupByRepresentativeApproximately(const EmbeddingsView& embeddings, float threshold,
                                                    const ApproximateOptions& options, int threads,
                                                    const PairSink& sink, RecallEstimate* recall,
                                                    const Progress& progress = {}, const RankRows& rank = {});

}  // namespace rrn

#endif  // RRN_SEARCH_H_
