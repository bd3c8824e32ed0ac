#include "search/group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "rrn/search.h"
#include "search/scanner.h"
#include "search/target.h"
#include "search/test_rows.h"

namespace rrn {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Grouping GroupAll(const std::vector<float>& rows, std::size_t dim, float threshold, int threads) {
  Result<Grouping> result = GroupRows({rows.data(), rows.size() / dim, dim}, With(threshold, threads));
  EXPECT_TRUE(result.ok()) << result.status().message();
  return *std::move(result);
}

TEST(GroupTest, DoesNotChain) {
  // Neighbours are 35 degrees apart (cosine 0.82), the ends 70 (0.34): one group around the middle, not a chain of 5.
  const Grouping grouping = GroupAll(OnCircle({0, 35, 70, 105, 140}), 2, 0.75F, 1);
  EXPECT_THAT(grouping.similar, ElementsAre(1, 2, 2, 2, 1));
  ASSERT_EQ(grouping.groups.size(), 2U);
  EXPECT_EQ(grouping.groups[0].representative, 1U);
  EXPECT_EQ(grouping.groups[0].members.size(), 2U);
  EXPECT_EQ(grouping.groups[1].representative, 3U);
  EXPECT_EQ(grouping.groups[1].members.size(), 1U);
  EXPECT_EQ(grouping.unique, 2U);
}

TEST(GroupTest, JoinsTheMostSimilarRepresentative) {
  // 0, 20 and 40 degrees hang together, so do 60 to 90; 45 is similar to both representatives and nearer to the second.
  const Grouping grouping = GroupAll(OnCircle({0, 3, 6, 60, 63, 66, 36}), 2, 0.75F, 1);
  for (const Group& group : grouping.groups) {
    for (const Neighbour& member : group.members) {
      if (member.index == 6) {
        EXPECT_GE(group.representative, 3U);
      }
    }
  }
}

TEST(GroupTest, NothingSimilar) {
  const Grouping grouping = GroupAll(OnCircle({0, 90, 180}), 2, 0.75F, 2);
  EXPECT_THAT(grouping.groups, IsEmpty());
  EXPECT_EQ(grouping.unique, 3U);
  EXPECT_EQ(GroupAll({}, 2, 0.75F, 2).unique, 0U);
}

// Groups do not depend on what else the sink sees, whether pairs are kept or searched for again.
TEST(GroupTest, TheSinkMaySeePairsBelowTheThreshold) {
  const std::size_t dim = 8;
  for (const std::size_t count : {std::size_t{200}, std::size_t{3000}}) {
    const std::vector<float> rows = MakeRows(count, dim, 5, 0.8F);
    const EmbeddingsView view{rows.data(), count, dim};
    // With 3000 rows, more pairs are above it than are kept.
    const float threshold = count == 200 ? 0.6F : -0.9F;
    const Result<Grouping> plain = GroupRows(view, With(threshold, 2));
    for (const float floor : {threshold - 0.05F, threshold, threshold + 0.2F}) {
      SearchOptions options = With(threshold, 2);
      options.sink_threshold = floor;
      std::vector<SimilarPair> seen;
      const Result<Grouping> got = GroupRows(view, options, {}, [&](const SimilarPair* pairs, std::size_t found) {
        seen.insert(seen.end(), pairs, pairs + found);
        return true;
      });
      ASSERT_TRUE(plain.ok() && got.ok());
      EXPECT_EQ(got->similar, plain->similar);
      EXPECT_EQ(got->unique, plain->unique);
      ASSERT_EQ(got->groups.size(), plain->groups.size());
      for (std::size_t i = 0; i < got->groups.size(); ++i) {
        EXPECT_EQ(got->groups[i].representative, plain->groups[i].representative);
        EXPECT_EQ(got->groups[i].members.size(), plain->groups[i].members.size());
      }
      const auto expected = AllPairs(rows, dim, std::min(floor, threshold), 1);
      ASSERT_EQ(seen.size(), expected.size());
      for (std::size_t i = 0; i < seen.size(); ++i) {
        EXPECT_EQ(seen[i].first, expected[i].first);
        EXPECT_EQ(seen[i].second, expected[i].second);
        EXPECT_EQ(seen[i].similarity, expected[i].similarity);
      }
    }
  }
}

// The laws that every grouping keeps, whatever the data.
TEST(GroupTest, LawsHoldOnRandomData) {
  for (std::uint32_t seed = 0; seed < 30; ++seed) {
    const std::size_t dim = 8;
    const std::size_t count = 1 + seed * 7;
    const float threshold = -0.2F + 0.04F * static_cast<float>(seed);
    const std::vector<float> rows = MakeRows(count, dim, seed, 0.8F);
    const Grouping grouping = GroupAll(rows, dim, threshold, 1 + static_cast<int>(seed % 3));
    std::set<std::uint32_t> seen;
    std::vector<std::uint32_t> representatives;
    for (const Group& group : grouping.groups) {
      EXPECT_TRUE(seen.insert(group.representative).second);
      representatives.push_back(group.representative);
      EXPECT_FALSE(group.members.empty());
      for (const Neighbour& member : group.members) {
        EXPECT_TRUE(seen.insert(member.index).second) << "a row in two groups";
        EXPECT_GT(member.similarity, threshold);
        EXPECT_EQ(member.similarity,
                  CosineSimilarity(&rows[group.representative * dim], &rows[member.index * dim], dim));
      }
    }
    EXPECT_EQ(grouping.unique, grouping.groups.size() + count - seen.size());
    for (const std::uint32_t a : representatives) {
      for (const std::uint32_t b : representatives) {
        if (a != b) {
          EXPECT_LE(CosineSimilarity(&rows[a * dim], &rows[b * dim], dim), threshold);
        }
      }
    }
    const auto pairs = AllPairs(rows, dim, threshold, 1);
    std::vector<std::uint32_t> similar(count, 0);
    for (const SimilarPair& pair : pairs) {
      ++similar[pair.first];
      ++similar[pair.second];
    }
    EXPECT_EQ(grouping.similar, similar);
  }
}

void ExpectSameGroups(const Grouping& a, const Grouping& b) {
  EXPECT_EQ(a.unique, b.unique);
  EXPECT_EQ(a.similar, b.similar);
  ASSERT_EQ(a.groups.size(), b.groups.size());
  for (std::size_t g = 0; g < a.groups.size(); ++g) {
    EXPECT_EQ(a.groups[g].representative, b.groups[g].representative);
    ASSERT_EQ(a.groups[g].members.size(), b.groups[g].members.size());
    for (std::size_t m = 0; m < a.groups[g].members.size(); ++m) {
      EXPECT_EQ(a.groups[g].members[m].index, b.groups[g].members[m].index);
      EXPECT_EQ(a.groups[g].members[m].similarity, b.groups[g].members[m].similarity);
    }
  }
}

TEST(GroupTest, ForgottenPairsGiveTheSameGroups) {
  const std::size_t dim = 8;
  for (const float threshold : {0.2F, 0.5F, 0.9F}) {
    const std::vector<float> rows = MakeRows(400, dim, 5, 0.8F);
    const EmbeddingsView view{rows.data(), 400, dim};
    const auto pairs = AllPairs(rows, dim, threshold, 1);
    ASSERT_GT(pairs.size(), 20U);
    internal::Scanner scanner(view, internal::AvailableTargets().front());
    ASSERT_TRUE(scanner.Prepare(1).ok());
    Grouping expected;
    for (const std::size_t limit : {pairs.size(), pairs.size() - 1, std::size_t{1}}) {
      internal::PairStore store(400, limit);
      store.Add(pairs.data(), pairs.size());
      int searches = 0;
      Grouping grouping;
      const Status status = store.Group(
          [&](const std::vector<std::uint32_t>& asked, Neighbours* found) {
            ++searches;
            return internal::NeighboursOfRows(scanner, asked, threshold, 2, found);
          },
          {}, &grouping);
      ASSERT_TRUE(status.ok());
      EXPECT_EQ(searches > 0, limit < pairs.size());
      if (limit == pairs.size()) {
        expected = std::move(grouping);
      } else {
        ExpectSameGroups(grouping, expected);
      }
    }
  }
}

TEST(GroupTest, ErrorsOfTheSecondSearchComeThrough) {
  internal::PairStore store(3, 0);
  const SimilarPair pair{0, 1, 0.9F};
  store.Add(&pair, 1);
  Grouping grouping;
  const Status status = store.Group(
      [](const std::vector<std::uint32_t>&, Neighbours*) { return Status(StatusCode::kCancelled, "cancelled"); }, {},
      &grouping);
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
}

// The rule of GroupRows, written as it is told.
Grouping GroupByRank(const std::vector<float>& rows, std::size_t dim, float threshold,
                     const std::vector<std::uint32_t>& ranks) {
  const auto count = static_cast<std::uint32_t>(ranks.size());
  const auto similarity = [&](std::uint32_t a, std::uint32_t b) {
    return CosineSimilarity(&rows[a * dim], &rows[b * dim], dim);
  };
  std::vector<std::pair<std::uint32_t, std::uint32_t>> order;
  for (std::uint32_t row = 0; row < count; ++row) order.emplace_back(ranks[row], row);
  std::sort(order.begin(), order.end());
  std::set<std::uint32_t> representatives;
  for (const auto& [rank, row] : order) {
    if (std::none_of(representatives.begin(), representatives.end(),
                     [&, r = row](std::uint32_t other) { return similarity(other, r) > threshold; })) {
      representatives.insert(row);
    }
  }
  Grouping grouping;
  grouping.unique = representatives.size();
  grouping.similar.assign(count, 0);
  std::map<std::uint32_t, std::vector<Neighbour>> members;
  for (std::uint32_t row = 0; row < count; ++row) {
    for (std::uint32_t other = 0; other < count; ++other) {
      if (other != row && similarity(row, other) > threshold) ++grouping.similar[row];
    }
    if (representatives.count(row) != 0) continue;
    Neighbour best{0, -2};
    for (const std::uint32_t other : representatives) {
      if (similarity(row, other) > best.similarity) best = {other, similarity(row, other)};
    }
    members[best.index].push_back({row, best.similarity});
  }
  for (auto& [representative, list] : members) {
    std::sort(list.begin(), list.end(), [](const Neighbour& a, const Neighbour& b) {
      return std::pair(-a.similarity, a.index) < std::pair(-b.similarity, b.index);
    });
    grouping.groups.push_back({representative, list});
  }
  return grouping;
}

TEST(RankTest, TheLowestRankBecomesARepresentativeFirst) {
  const std::size_t dim = 8;
  for (std::uint32_t seed = 0; seed < 12; ++seed) {
    const std::size_t count = 5 + 17 * seed;
    const std::vector<float> rows = MakeRows(count, dim, seed, 0.8F);
    std::mt19937 random(seed);
    std::vector<std::uint32_t> ranks(count);
    // Some ranks are equal.
    for (std::uint32_t& rank : ranks) rank = static_cast<std::uint32_t>(random() % count);
    for (const float threshold : {0.2F, 0.75F}) {
      const EmbeddingsView view{rows.data(), count, dim};
      std::vector<std::uint32_t> similar;
      const Result<Grouping> grouping =
          GroupRows(view, With(threshold, 2), [&](const std::vector<std::uint32_t>& counts) {
            similar = counts;
            return Result<std::vector<std::uint32_t>>(ranks);
          });
      ASSERT_TRUE(grouping.ok()) << grouping.status().message();
      EXPECT_EQ(similar, grouping->similar);
      ExpectSameGroups(*grouping, GroupByRank(rows, dim, threshold, ranks));

      internal::Scanner scanner(view, internal::AvailableTargets().front());
      ASSERT_TRUE(scanner.Prepare(1).ok());
      internal::PairStore forgetful(count, 1);
      const auto pairs = AllPairs(rows, dim, threshold, 1);
      forgetful.Add(pairs.data(), pairs.size());
      Grouping again;
      ASSERT_TRUE(
          forgetful
              .Group([&](const std::vector<std::uint32_t>& asked,
                         Neighbours* found) { return internal::NeighboursOfRows(scanner, asked, threshold, 2, found); },
                     [&](const std::vector<std::uint32_t>&) { return Result<std::vector<std::uint32_t>>(ranks); },
                     &again)
              .ok());
      ExpectSameGroups(again, *grouping);
    }
  }
}

TEST(RankTest, ErrorsComeThrough) {
  const std::vector<float> rows = OnCircle({0, 1, 2});
  const EmbeddingsView view{rows.data(), 3, 2};
  const auto fail = [](const std::vector<std::uint32_t>&) {
    return Result<std::vector<std::uint32_t>>(Status(StatusCode::kCancelled, "cancelled"));
  };
  EXPECT_EQ(GroupRows(view, With(0.5F), fail).status().code(), StatusCode::kCancelled);
  const auto few = [](const std::vector<std::uint32_t>&) {
    return Result<std::vector<std::uint32_t>>(std::vector<std::uint32_t>(2));
  };
  EXPECT_EQ(GroupRows(view, With(0.5F), few).status().code(), StatusCode::kInvalidArgument);
}

TEST(AcrossTest, JoinsTheMostSimilarReferenceAndTheEarlierOfEqualOnes) {
  const std::vector<float> rows = OnCircle({0, 50, 100, 200, 12});
  const std::vector<float> references = OnCircle({300, 10, 45, 10});
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
  const auto collect = [&](const SimilarPair* found, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) pairs.emplace_back(found[i].first, found[i].second);
    return true;
  };
  const EmbeddingsView a{rows.data(), 5, 2};
  const EmbeddingsView b{references.data(), 4, 2};
  Result<ReferenceGrouping> result = GroupRows(a, b, With(0.75F), {}, collect);
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->grouping.groups.size(), 2U);
  EXPECT_EQ(result->grouping.groups[0].representative, 1U);
  ASSERT_EQ(result->grouping.groups[0].members.size(), 2U);
  EXPECT_EQ(result->grouping.groups[0].members[0].index, 4U) << "the most similar one first";
  EXPECT_EQ(result->grouping.groups[0].members[1].index, 0U);
  EXPECT_EQ(result->grouping.groups[1].representative, 2U);
  EXPECT_EQ(result->grouping.groups[1].members[0].index, 1U);
  EXPECT_EQ(result->grouping.unique, 4U) << "two groups, and the rows at 100 and 200 degrees";
  // 100 degrees is 55 away from the nearest one (cosine 0.57); 50 is 40 away from 10 (0.77).
  EXPECT_THAT(result->grouping.similar, ElementsAre(2, 3, 0, 0, 3));
  EXPECT_THAT(result->reference_similar, ElementsAre(0, 3, 2, 3));
  EXPECT_EQ(pairs.size(), 8U);

  pairs.clear();
  result = GroupRows(
      a, b, With(0.75F, 2), [](std::uint32_t row, std::uint32_t reference) { return row == 4 && reference == 1; },
      collect);
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->grouping.similar, ElementsAre(2, 3, 0, 0, 2));
  EXPECT_EQ(result->grouping.groups[1].members.size(), 1U);
  EXPECT_EQ(result->grouping.groups.size(), 3U) << "row 4 joins the equal reference 3 now";
  EXPECT_EQ(pairs.size(), 7U);
}

}  // namespace
}  // namespace rrn
