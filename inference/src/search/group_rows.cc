// GroupRows, for one set of rows and for rows around references.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "rrn/search.h"
#include "search/approximate.h"
#include "search/group.h"
#include "search/ordered_jobs.h"
#include "search/pairs.h"
#include "search/scanner.h"
#include "search/target.h"

namespace rrn {
namespace {

// The lowest similarity that the sink of GroupRows wants to see.
float SinkThreshold(const SearchOptions& options) { return std::min(options.threshold, options.sink_threshold); }

// Adds the pairs above the threshold to `store`, then passes all to `sink`. They must stay where they are.
PairSink AddTo(internal::PairStore* store, const SearchOptions& options, const PairSink& sink) {
  if (!(options.sink_threshold < options.threshold)) {
    return [store, &sink](const SimilarPair* pairs, std::size_t count) {
      store->Add(pairs, count);
      return !sink || sink(pairs, count);
    };
  }
  return [store, threshold = options.threshold, &sink, similar = std::vector<SimilarPair>()](
             const SimilarPair* pairs, std::size_t count) mutable {
    similar.clear();
    std::copy_if(pairs, pairs + count, std::back_inserter(similar),
                 [threshold](const SimilarPair& pair) { return pair.similarity > threshold; });
    store->Add(similar.data(), similar.size());
    return !sink || sink(pairs, count);
  };
}

Result<Grouping> GroupApproximately(const EmbeddingsView& rows, const SearchOptions& options, const RankRows& rank,
                                    const PairSink& sink) {
  // All pairs are kept: there are at most `neighbours` for each row.
  internal::PairStore store(rows.count, std::numeric_limits<std::size_t>::max());
  Status status = internal::FindPairsApproximately(rows, options, SinkThreshold(options), AddTo(&store, options, sink));
  if (!status.ok()) return status;
  Grouping grouping;
  status = store.Group({}, rank, &grouping);
  if (!status.ok()) return status;
  return grouping;
}

// Remembers how many steps there are.
Progress CountSteps(const Progress& progress, std::size_t* total) {
  return [&progress, total](std::size_t done, std::size_t of) {
    *total = of;
    return !progress || progress(done, of);
  };
}

// What GroupRows of two sides knows of each row and reference.
class ReferenceCounts {
 public:
  ReferenceCounts(std::size_t rows, std::size_t references)
      : similar_(rows, 0), reference_similar_(references, 0), best_(rows) {}

  // Pairs of a row come in the order of the references, so the earlier one stays at equal similarity.
  void Add(const SimilarPair& pair) {
    Neighbour& joined = best_[pair.first];
    if (similar_[pair.first]++ == 0 || pair.similarity > joined.similarity) joined = {pair.second, pair.similarity};
    ++reference_similar_[pair.second];
  }

  ReferenceGrouping Take() {
    std::map<std::uint32_t, std::vector<Neighbour>> members;
    std::size_t alone = 0;
    for (std::uint32_t row = 0; row < similar_.size(); ++row) {
      if (similar_[row] == 0) {
        ++alone;
      } else {
        members[best_[row].index].push_back({row, best_[row].similarity});
      }
    }
    ReferenceGrouping result;
    internal::SortIntoGroups(&members, &result.grouping.groups);
    result.grouping.unique = result.grouping.groups.size() + alone;
    result.grouping.similar = std::move(similar_);
    result.reference_similar = std::move(reference_similar_);
    return result;
  }

 private:
  std::vector<std::uint32_t> similar_;
  std::vector<std::uint32_t> reference_similar_;
  std::vector<Neighbour> best_;  // the reference that each row joins
};

}  // namespace

Result<Grouping> GroupRows(const EmbeddingsView& rows, const SearchOptions& options, const RankRows& rank,
                           const PairSink& sink) {
  Status status = CheckSearchOptions(options);
  if (status.ok()) status = internal::CheckRows(rows);
  if (!status.ok()) return status;
  if (options.method == SearchMethod::kApproximate) return GroupApproximately(rows, options, rank, sink);
  SearchOptions counted = options;
  counted.threshold = SinkThreshold(options);
  internal::Scanner scanner(rows, *internal::ChooseTarget(options.target));
  status = internal::PrepareSides(counted, false, {rows, rows, &scanner, &scanner});
  if (!status.ok()) return status;
  internal::PairStore store(rows.count, internal::kMaxStoredPairs);
  std::size_t total = 0;
  counted.progress = CountSteps(options.progress, &total);
  status = internal::ScanPairs(rows, scanner, counted, AddTo(&store, options, sink));
  if (!status.ok()) return status;
  Grouping grouping;
  status = store.Group(
      [&](const std::vector<std::uint32_t>& some, Neighbours* found) -> Status {
        if (options.progress && !options.progress(total, total)) return {StatusCode::kCancelled, "cancelled"};
        return internal::NeighboursOfRows(scanner, some, options.threshold, options.threads, found);
      },
      rank, &grouping);
  if (!status.ok()) return status;
  return grouping;
}

Result<ReferenceGrouping> GroupRows(const EmbeddingsView& rows, const EmbeddingsView& references,
                                    const SearchOptions& options, const LeaveOutPair& leave_out, const PairSink& sink) {
  ReferenceCounts counts(rows.count, references.count);
  std::vector<SimilarPair> kept;
  Status status = FindPairs(rows, references, options, [&](const SimilarPair* pairs, std::size_t count) {
    kept.clear();
    for (const SimilarPair* pair = pairs; pair != pairs + count; ++pair) {
      if (leave_out && leave_out(pair->first, pair->second)) continue;
      counts.Add(*pair);
      if (sink) kept.push_back(*pair);
    }
    return kept.empty() || sink(kept.data(), kept.size());
  });
  if (!status.ok()) return status;
  return counts.Take();
}

namespace internal {

Status NeighboursOfRows(const Scanner& scanner, const std::vector<std::uint32_t>& rows, float threshold, int threads,
                        Neighbours* found) {
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rows[a] < rows[b]; });
  found->assign(rows.size(), {});
  const std::size_t portions = (rows.size() + kMinRowsPerJob - 1) / kMinRowsPerJob;
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t portion = next++; portion < portions; portion = next++) {
      const std::size_t begin = portion * kMinRowsPerJob;
      std::vector<std::uint32_t> some(std::min(kMinRowsPerJob, rows.size() - begin));
      for (std::size_t i = 0; i < some.size(); ++i) some[i] = rows[order[begin + i]];
      Neighbours neighbours;
      scanner.Scan(some, threshold, Columns::kOthers, &neighbours);
      for (std::size_t i = 0; i < some.size(); ++i) (*found)[order[begin + i]] = std::move(neighbours[i]);
    }
  };
  return RunOnThreads(ThreadCount(threads, portions), work, [&] { next = portions; });
}

}  // namespace internal
}  // namespace rrn
