#include "search/group.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "search/scanner.h"

namespace rrn::internal {

void PairStore::Add(const SimilarPair* pairs, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    ++similar_[pairs[i].first];
    ++similar_[pairs[i].second];
  }
  if (overflowed_ || pairs_.size() + count > max_stored_) {
    overflowed_ = true;
    pairs_ = {};
    return;
  }
  pairs_.insert(pairs_.end(), pairs, pairs + count);
}

// Counting sort of both directions of every pair.
void PairStore::SortByRow() {
  begin_.assign(similar_.size() + 1, 0);
  for (std::size_t row = 0; row < similar_.size(); ++row) begin_[row + 1] = begin_[row] + similar_[row];
  neighbours_.resize(begin_.back());
  std::vector<std::size_t> next(begin_.begin(), begin_.end() - 1);
  for (const SimilarPair& pair : pairs_) {
    neighbours_[next[pair.first]++] = {pair.second, pair.similarity};
    neighbours_[next[pair.second]++] = {pair.first, pair.similarity};
  }
  pairs_ = {};
}

struct PairStore::Owners {
  static constexpr float kNone = -2.0F;  // below every cosine
  std::vector<float> best;               // similarity of each row to its representative
  std::vector<std::uint32_t> owner;

  explicit Owners(std::size_t rows) : best(rows, kNone), owner(rows, 0) {}

  // Similar to an earlier representative, so it cannot be one.
  bool IsTaken(std::uint32_t row) const { return best[row] != kNone; }

  void Join(std::uint32_t representative, const Neighbour* neighbours, std::size_t count) {
    for (const Neighbour* neighbour = neighbours; neighbour != neighbours + count; ++neighbour) {
      float& similarity = best[neighbour->index];
      if (neighbour->similarity > similarity ||
          (neighbour->similarity == similarity && representative < owner[neighbour->index])) {
        similarity = neighbour->similarity;
        owner[neighbour->index] = representative;
      }
    }
  }

  std::vector<rrn::Group> Groups() const {
    std::map<std::uint32_t, std::vector<Neighbour>> members;
    for (std::uint32_t row = 0; row < best.size(); ++row) {
      if (best[row] != kNone) members[owner[row]].push_back({row, best[row]});
    }
    std::vector<rrn::Group> groups;
    SortIntoGroups(&members, &groups);
    return groups;
  }
};

// Searching for several rows at once is faster. Some of them turn out to belong to an earlier one and were not needed,
// so the more of them were used, the more are searched next.
struct PairStore::Ahead {
  static constexpr std::size_t kMost = 256;
  std::vector<std::uint32_t> rows;
  Neighbours found;
  std::size_t used = 0;  // of `rows`
  std::size_t next = 0;  // in `rows`
};

std::vector<std::uint32_t> PairStore::NextRows(const std::vector<std::uint32_t>& order, std::size_t from,
                                               std::size_t most, const Owners& owners) const {
  std::vector<std::uint32_t> next;
  std::size_t neighbours = 0;
  for (std::size_t i = from; i < order.size() && next.size() < most; ++i) {
    const std::uint32_t row = order[i];
    if (owners.IsTaken(row)) continue;
    neighbours += similar_[row];
    // Rows without neighbours come last and need no search.
    if (similar_[row] == 0 || (!next.empty() && neighbours > max_stored_)) break;
    next.push_back(row);
  }
  return next;
}

Status PairStore::NeighboursOf(const std::vector<std::uint32_t>& order, std::size_t position,
                               const FindNeighbours& find, const Owners& owners, Ahead* ahead,
                               const Neighbour** neighbours) const {
  const std::uint32_t row = order[position];
  if (!overflowed_) {
    *neighbours = neighbours_.data() + begin_[row];
    return {};
  }
  while (ahead->next < ahead->rows.size() && ahead->rows[ahead->next] != row) ++ahead->next;
  if (ahead->next == ahead->rows.size()) {
    ahead->rows = NextRows(order, position, std::clamp(2 * ahead->used, std::size_t{1}, Ahead::kMost), owners);
    Status status = find(ahead->rows, &ahead->found);
    if (!status.ok()) return status;
    ahead->next = 0;
    ahead->used = 0;
  }
  ++ahead->used;
  *neighbours = ahead->found[ahead->next].data();
  return {};
}

// The rows in the order in which they may become representatives; those without a similar row come last.
Result<std::vector<std::uint32_t>> PairStore::Order(const RankRows& rank) const {
  std::vector<std::uint32_t> ranks;
  if (rank) {
    Result<std::vector<std::uint32_t>> given = rank(similar_);
    if (!given.ok()) return given.status();
    ranks = *std::move(given);
    if (ranks.size() != similar_.size()) {
      return Status(StatusCode::kInvalidArgument,
                    "expected " + std::to_string(similar_.size()) + " ranks, got " + std::to_string(ranks.size()));
    }
  }
  std::vector<std::uint32_t> order(similar_.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    if (ranks.empty()) return similar_[a] != similar_[b] ? similar_[a] > similar_[b] : a < b;
    if ((similar_[a] == 0) != (similar_[b] == 0)) return similar_[b] == 0;
    return ranks[a] != ranks[b] ? ranks[a] < ranks[b] : a < b;
  });
  return order;
}

Status PairStore::Group(const FindNeighbours& find, const RankRows& rank, Grouping* grouping) {
  if (!overflowed_) SortByRow();
  const Result<std::vector<std::uint32_t>> ordered = Order(rank);
  if (!ordered.ok()) return ordered.status();
  Owners owners(similar_.size());
  Ahead ahead;
  std::size_t representatives = 0;
  for (std::size_t i = 0; i < ordered->size(); ++i) {
    const std::uint32_t row = (*ordered)[i];
    if (owners.IsTaken(row)) continue;
    ++representatives;
    if (similar_[row] == 0) continue;
    const Neighbour* neighbours = nullptr;
    Status status = NeighboursOf(*ordered, i, find, owners, &ahead, &neighbours);
    if (!status.ok()) return status;
    owners.Join(row, neighbours, similar_[row]);
  }
  grouping->groups = owners.Groups();
  grouping->unique = representatives;
  grouping->similar = std::move(similar_);
  return {};
}

void SortIntoGroups(std::map<std::uint32_t, std::vector<Neighbour>>* members, std::vector<Group>* groups) {
  for (auto& [representative, list] : *members) {
    std::sort(list.begin(), list.end(), IsNearer);
    groups->push_back({representative, std::move(list)});
  }
}

}  // namespace rrn::internal
