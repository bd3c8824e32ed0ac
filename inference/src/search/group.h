// From similar pairs to groups.
#ifndef RRN_SEARCH_GROUP_H_
#define RRN_SEARCH_GROUP_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "rrn/search.h"
#include "rrn/status.h"

namespace rrn::internal {

class Scanner;

// Up to this many pairs are remembered (48 MB, and 64 MB while grouping); past it, neighbours are computed again when
// they are needed. Only a model that finds nearly everything similar gets there.
inline constexpr std::size_t kMaxStoredPairs = 4'000'000;

// Finds the neighbours of each of `rows` again, in ascending order of index.
using FindNeighbours = std::function<Status(const std::vector<std::uint32_t>& rows, Neighbours* found)>;

// Collects the pairs of `rows` rows, then groups them by the rule of GroupRows. Not thread-safe.
class PairStore {
 public:
  PairStore(std::size_t rows, std::size_t max_stored) : similar_(rows, 0), max_stored_(max_stored) {}

  void Add(const SimilarPair* pairs, std::size_t count);

  // `find` is called only if more than `max_stored` pairs were added; the result is the same either way. It is asked
  // for several rows at a time, of at most `max_stored` neighbours or one row. `rank` may be empty. To be called once.
  // Errors: of `find` and `rank`, kInvalidArgument (not one rank for each row).
  Status Group(const FindNeighbours& find, const RankRows& rank, Grouping* grouping);

 private:
  // The representative that each row belongs to so far.
  struct Owners;
  // Neighbours that were found for several rows at once.
  struct Ahead;

  // The next rows of `order` that may become representatives, at most `most`.
  std::vector<std::uint32_t> NextRows(const std::vector<std::uint32_t>& order, std::size_t from, std::size_t most,
                                      const Owners& owners) const;
  // The similar_[row] neighbours of row order[position], in `neighbours`.
  Status NeighboursOf(const std::vector<std::uint32_t>& order, std::size_t position, const FindNeighbours& find,
                      const Owners& owners, Ahead* ahead, const Neighbour** neighbours) const;
  void SortByRow();
  Result<std::vector<std::uint32_t>> Order(const RankRows& rank) const;

  std::vector<std::uint32_t> similar_;
  std::size_t max_stored_;
  bool overflowed_ = false;
  std::vector<SimilarPair> pairs_;
  std::vector<std::size_t> begin_;  // row r's neighbours are neighbours_[begin_[r], begin_[r + 1])
  std::vector<Neighbour> neighbours_;
};

// Appends to `groups` those of `members`, which are listed by their representatives, each in the order that Group
// documents. The lists are taken out of `members`.
void SortIntoGroups(std::map<std::uint32_t, std::vector<Neighbour>>* members, std::vector<Group>* groups);

// All rows with a similarity above `threshold` to each of `rows` (in any order), itself left out, in ascending order.
// Errors: kRuntime.
Status NeighboursOfRows(const Scanner& scanner, const std::vector<std::uint32_t>& rows, float threshold, int threads,
                        Neighbours* found);

}  // namespace rrn::internal

#endif  // RRN_SEARCH_GROUP_H_
