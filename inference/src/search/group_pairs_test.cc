// GroupPairs against GroupRows, and what it refuses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "rrn/search.h"
#include "search/test_rows.h"

namespace rrn {
namespace {

bool SameGroups(const Grouping& a, const Grouping& b) {
  Neighbours left;
  Neighbours right;
  for (const Group& group : a.groups) left.push_back(group.members);
  for (const Group& group : b.groups) right.push_back(group.members);
  const bool representatives =
      std::equal(a.groups.begin(), a.groups.end(), b.groups.begin(), b.groups.end(),
                 [](const Group& x, const Group& y) { return x.representative == y.representative; });
  return representatives && Same(left, right) && a.similar == b.similar && a.unique == b.unique;
}

TEST(GroupPairsTest, GivesTheGroupsOfTheRowsForPairsInAnyOrder) {
  const std::size_t dim = 24;
  const std::vector<float> rows = MakeRows(300, dim, 5);
  const EmbeddingsView view{rows.data(), 300, dim};
  std::vector<SimilarPair> pairs = AllPairs(view, With(0.7F));
  EXPECT_GT(pairs.size(), 100U);
  const RankRows by_number = [](const std::vector<std::uint32_t>& similar) {
    std::vector<std::uint32_t> ranks(similar.size());
    for (std::size_t i = 0; i < ranks.size(); ++i) ranks[i] = static_cast<std::uint32_t>(ranks.size() - i);
    return Result<std::vector<std::uint32_t>>(ranks);
  };
  std::mt19937 random(3);
  for (int round = 0; round < 3; ++round) {
    EXPECT_TRUE(SameGroups(*GroupPairs(300, pairs), *GroupRows(view, With(0.7F))));
    EXPECT_TRUE(SameGroups(*GroupPairs(300, pairs, by_number), *GroupRows(view, With(0.7F), by_number)));
    std::shuffle(pairs.begin(), pairs.end(), random);
  }
}

TEST(GroupPairsTest, WithoutPairsEveryRowIsUnique) {
  const Result<Grouping> grouping = GroupPairs(4, {});
  ASSERT_TRUE(grouping.ok());
  EXPECT_EQ(grouping->unique, 4U);
  EXPECT_EQ(grouping->groups.size(), 0U);
  EXPECT_EQ(GroupPairs(0, {})->unique, 0U);
}

TEST(GroupPairsTest, RefusesOtherPairs) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::vector<SimilarPair>> wrong = {{{1, 1, 0.9F}}, {{2, 1, 0.9F}}, {{0, 3, 0.9F}},
                                                       {{0, 1, nan}},  {{0, 1, 1.1F}}, {{0, 1, 0.9F}, {0, 1, 0.9F}}};
  for (const std::vector<SimilarPair>& pairs : wrong) {
    const Result<Grouping> grouping = GroupPairs(3, pairs);
    EXPECT_EQ(grouping.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(grouping.status().message().find("pair ("), std::string::npos) << grouping.status().message();
  }
  EXPECT_EQ(GroupPairs(std::size_t{1} << 32U, {}).status().code(), StatusCode::kInvalidArgument);
}

TEST(GroupPairsTest, PassesOnTheErrorOfTheRank) {
  const RankRows fails = [](const std::vector<std::uint32_t>&) {
    return Result<std::vector<std::uint32_t>>(Status(StatusCode::kRuntime, "no rank"));
  };
  EXPECT_EQ(GroupPairs(2, {{0, 1, 0.9F}}, fails).status().message(), "no rank");
  const RankRows short_of = [](const std::vector<std::uint32_t>&) {
    return Result<std::vector<std::uint32_t>>(std::vector<std::uint32_t>{1});
  };
  EXPECT_EQ(GroupPairs(2, {{0, 1, 0.9F}}, short_of).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rrn
