// GroupPairs: groups from a list of pairs that somebody else has found.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "rrn/search.h"
#include "search/group.h"

namespace rrn {
namespace {

Status WrongPair(std::uint64_t first, std::uint64_t second, const std::string& what) {
  return {StatusCode::kInvalidArgument, "pair (" + std::to_string(first) + ", " + std::to_string(second) + ")" + what};
}

Status CheckPairs(std::size_t count, const std::vector<SimilarPair>& pairs) {
  if (count > std::numeric_limits<std::uint32_t>::max()) {
    return {StatusCode::kInvalidArgument, "expected at most 4294967295 rows, got " + std::to_string(count)};
  }
  std::vector<std::uint64_t> keys;
  keys.reserve(pairs.size());
  for (const SimilarPair& pair : pairs) {
    if (pair.first >= pair.second || pair.second >= count) {
      return WrongPair(pair.first, pair.second, ": expected first < second < " + std::to_string(count));
    }
    // Not a number is refused, too.
    if (!(pair.similarity >= -1 && pair.similarity <= 1)) {
      return WrongPair(pair.first, pair.second, ": expected a similarity from -1 to 1");
    }
    keys.push_back(std::uint64_t{pair.first} << 32U | pair.second);
  }
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice == keys.end()) return {};
  return WrongPair(*twice >> 32U, *twice & 0xFFFFFFFFU, " is there twice");
}

}  // namespace

Result<Grouping> GroupPairs(std::size_t count, const std::vector<SimilarPair>& pairs, const RankRows& rank) {
  Status status = CheckPairs(count, pairs);
  if (!status.ok()) return status;
  internal::PairStore store(count, std::numeric_limits<std::size_t>::max());
  store.Add(pairs.data(), pairs.size());
  Grouping grouping;
  status = store.Group({}, rank, &grouping);
  if (!status.ok()) return status;
  return grouping;
}

}  // namespace rrn
