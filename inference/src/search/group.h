// From similar pairs to groups.
#ifndef RRN_SEARCH_GROUP_H_
#define RRN_SEARCH_GROUP_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "rrn/search.h"

namespace rrn::internal {

// Up to this many pairs are remembered (48 MB, and 64 MB while grouping); past it, neighbours are computed again when
// they are needed. Only a model that finds nearly everything similar gets there.
inline constexpr std::size_t kMaxStoredPairs = 4'000'000;

// Finds a row's neighbours anew, in ascending order of index; returns false to cancel.
using FindNeighbours = std::function<bool(std::uint32_t row, std::vector<GroupMember>* neighbours)>;

// Collects the pairs of `rows` rows, then groups them by the rule of GroupByRepresentative. Not thread-safe.
class PairStore {
 public:
  PairStore(std::size_t rows, std::size_t max_stored) : similar_(rows, 0), max_stored_(max_stored) {}

  void Add(const SimilarPair* pairs, std::size_t count);

  // `find` is called only if more than `max_stored` pairs were added; the result is the same either way. Returns false
  // if `find` cancelled. To be called once.
  bool Group(const FindNeighbours& find, Grouping* grouping);

 private:
  void SortByRow();

  std::vector<std::uint32_t> similar_;
  std::size_t max_stored_;
  bool overflowed_ = false;
  std::vector<SimilarPair> pairs_;
  std::vector<std::size_t> begin_;  // row r's neighbours are neighbours_[begin_[r], begin_[r + 1])
  std::vector<GroupMember> neighbours_;
};

// All rows similar to `row`, itself left out, in ascending order.
void NeighboursOfRow(const EmbeddingsView& embeddings, float threshold, std::uint32_t row,
                     std::vector<GroupMember>* neighbours);

}  // namespace rrn::internal

#endif  // RRN_SEARCH_GROUP_H_
