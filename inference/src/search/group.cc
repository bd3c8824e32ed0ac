#include "search/group.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

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

template <typename IsTaken>
std::vector<std::uint32_t> PairStore::NextRows(const std::vector<std::uint32_t>& order, std::size_t from,
                                               std::size_t most, const IsTaken& is_taken) const {
  std::vector<std::uint32_t> next;
  std::size_t neighbours = 0;
  for (std::size_t i = from; i < order.size() && next.size() < most; ++i) {
    const std::uint32_t row = order[i];
    if (is_taken(row)) continue;
    neighbours += similar_[row];
    // Rows without neighbours come last and need no search.
    if (similar_[row] == 0 || (!next.empty() && neighbours > max_stored_)) break;
    next.push_back(row);
  }
  return next;
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
  const std::size_t rows = similar_.size();
  if (!overflowed_) SortByRow();
  const Result<std::vector<std::uint32_t>> ordered = Order(rank);
  if (!ordered.ok()) return ordered.status();
  const std::vector<std::uint32_t>& order = *ordered;

  constexpr float kNone = -2.0F;  // below every cosine
  std::vector<float> best(rows, kNone);
  std::vector<std::uint32_t> owner(rows, 0);
  const auto is_taken = [&best](std::uint32_t row) { return best[row] != kNone; };
  std::size_t representatives = 0;
  // Neighbours found ahead for several rows, for speed. Those that turn out to belong to an earlier one were searched
  // for in vain, so the more of them were of use, the more are searched next.
  constexpr std::size_t kMostAhead = 256;
  std::vector<std::uint32_t> ahead;
  std::vector<std::vector<GroupMember>> found;
  std::size_t used = 0;  // of `ahead`
  std::size_t next = 0;  // in `ahead`
  for (std::size_t i = 0; i < rows; ++i) {
    const std::uint32_t row = order[i];
    if (is_taken(row)) continue;  // Similar to an earlier representative, so it cannot be one.
    ++representatives;
    if (similar_[row] == 0) continue;
    const GroupMember* begin = nullptr;
    if (overflowed_) {
      while (next < ahead.size() && ahead[next] != row) ++next;
      if (next == ahead.size()) {
        ahead = NextRows(order, i, std::clamp(2 * used, std::size_t{1}, kMostAhead), is_taken);
        Status status = find(ahead, &found);
        if (!status.ok()) return status;
        next = 0;
        used = 0;
      }
      ++used;
      begin = found[next].data();
    } else {
      begin = neighbours_.data() + begin_[row];
    }
    for (const GroupMember* neighbour = begin; neighbour != begin + similar_[row]; ++neighbour) {
      float& similarity = best[neighbour->index];
      if (neighbour->similarity > similarity ||
          (neighbour->similarity == similarity && row < owner[neighbour->index])) {
        similarity = neighbour->similarity;
        owner[neighbour->index] = row;
      }
    }
  }

  std::map<std::uint32_t, std::vector<GroupMember>> members;
  for (std::uint32_t row = 0; row < rows; ++row) {
    if (best[row] != kNone) members[owner[row]].push_back({row, best[row]});
  }
  SortIntoGroups(&members, &grouping->groups);
  grouping->unique = representatives;
  grouping->similar = std::move(similar_);
  return {};
}

void SortIntoGroups(std::map<std::uint32_t, std::vector<GroupMember>>* members, std::vector<Group>* groups) {
  for (auto& [representative, list] : *members) {
    std::sort(list.begin(), list.end(), [](const GroupMember& a, const GroupMember& b) {
      return a.similarity != b.similarity ? a.similarity > b.similarity : a.index < b.index;
    });
    groups->push_back({representative, std::move(list)});
  }
}

}  // namespace rrn::internal
