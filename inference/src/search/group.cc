#include "search/group.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
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

bool PairStore::Group(const FindNeighbours& find, Grouping* grouping) {
  const std::size_t rows = similar_.size();
  if (!overflowed_) SortByRow();

  std::vector<std::uint32_t> order(rows);
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [this](std::uint32_t a, std::uint32_t b) {
    return similar_[a] != similar_[b] ? similar_[a] > similar_[b] : a < b;
  });

  constexpr float kNone = -2.0F;  // below every cosine
  std::vector<float> best(rows, kNone);
  std::vector<std::uint32_t> owner(rows, 0);
  std::size_t representatives = 0;
  std::vector<GroupMember> found;
  for (const std::uint32_t row : order) {
    if (best[row] != kNone) continue;  // Similar to an earlier representative, so it cannot be one.
    ++representatives;
    if (similar_[row] == 0) continue;
    found.clear();
    if (overflowed_) {
      if (!find(row, &found)) return false;
    } else {
      found.assign(neighbours_.begin() + static_cast<std::ptrdiff_t>(begin_[row]),
                   neighbours_.begin() + static_cast<std::ptrdiff_t>(begin_[row + 1]));
    }
    for (const GroupMember& neighbour : found) {
      float& similarity = best[neighbour.index];
      if (neighbour.similarity > similarity || (neighbour.similarity == similarity && row < owner[neighbour.index])) {
        similarity = neighbour.similarity;
        owner[neighbour.index] = row;
      }
    }
  }

  std::map<std::uint32_t, std::vector<GroupMember>> members;
  for (std::uint32_t row = 0; row < rows; ++row) {
    if (best[row] != kNone) members[owner[row]].push_back({row, best[row]});
  }
  for (auto& [representative, list] : members) {
    std::sort(list.begin(), list.end(), [](const GroupMember& a, const GroupMember& b) {
      return a.similarity != b.similarity ? a.similarity > b.similarity : a.index < b.index;
    });
    grouping->groups.push_back({representative, std::move(list)});
  }
  grouping->unique = representatives;
  grouping->similar = std::move(similar_);
  return true;
}

}  // namespace rrn::internal
