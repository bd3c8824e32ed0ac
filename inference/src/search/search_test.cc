#include "rrn/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "search/dot_kernel.h"
#include "search/group.h"
#include "search/path.h"
#include "search/scanner.h"

namespace rrn {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Rows around a few centres, so that some pairs are similar.
std::vector<float> MakeRows(std::size_t count, std::size_t dim, std::uint32_t seed, float noise = 0.4F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const std::size_t centres = count / 5 + 1;
  std::vector<float> centre(centres * dim);
  for (float& v : centre) v = normal(random);
  std::vector<float> rows(count * dim);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t c = random() % centres;
    for (std::size_t d = 0; d < dim; ++d) rows[i * dim + d] = centre[c * dim + d] + noise * normal(random);
  }
  NormalizeRows(rows.data(), count, dim);
  return rows;
}

std::vector<SimilarPair> AllPairs(const std::vector<float>& rows, std::size_t dim, float threshold, int threads) {
  std::vector<SimilarPair> pairs;
  const Status status = ForEachSimilarPair({rows.data(), rows.size() / dim, dim}, threshold, threads,
                                           [&](const SimilarPair* found, std::size_t count) {
                                             pairs.insert(pairs.end(), found, found + count);
                                             return true;
                                           });
  EXPECT_TRUE(status.ok()) << status.message();
  return pairs;
}

// The bits of a float: unlike ==, they tell -0 from 0.
std::uint32_t Bits(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

bool Same(const std::vector<SimilarPair>& a, const std::vector<SimilarPair>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const SimilarPair& x, const SimilarPair& y) {
    return x.first == y.first && x.second == y.second && Bits(x.similarity) == Bits(y.similarity);
  });
}

TEST(NormalizeRowsTest, GivesUnitLengthAndKeepsZeros) {
  std::vector<float> rows = {3, 4, 0, 0, 1e-30F, 0, 1e30F, 1e30F};
  NormalizeRows(rows.data(), 4, 2);
  EXPECT_FLOAT_EQ(rows[0], 0.6F);
  EXPECT_FLOAT_EQ(rows[1], 0.8F);
  EXPECT_EQ(rows[2], 0.0F);
  EXPECT_EQ(rows[3], 0.0F);
  EXPECT_FLOAT_EQ(rows[4], 1.0F);
  EXPECT_FLOAT_EQ(rows[6], std::sqrt(0.5F));
}

TEST(DotTest, EveryInstructionSetGivesTheSameBits) {
  std::vector<std::pair<std::string, internal::DotTileFunction>> kernels;
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") != 0) kernels.emplace_back("avx2", internal::DotTileAvx2);
  if (__builtin_cpu_supports("avx512f") != 0) kernels.emplace_back("avx512", internal::DotTileAvx512);
#endif
  for (const std::size_t dim : {1U, 5U, 16U, 17U, 100U, 512U, 513U}) {
    const std::vector<float> rows = MakeRows(8, dim, static_cast<std::uint32_t>(dim));
    for (std::size_t a = 1; a <= internal::kTileRows; ++a) {
      for (std::size_t b = 1; b <= internal::kTileRows; ++b) {
        std::array<float, 16> expected = {};
        internal::DotTilePortable(rows.data(), a, rows.data() + 4 * dim, b, dim, expected.data());
        for (const auto& [name, kernel] : kernels) {
          std::array<float, 16> got = {};
          kernel(rows.data(), a, rows.data() + 4 * dim, b, dim, got.data());
          for (std::size_t i = 0; i < got.size(); ++i) {
            EXPECT_EQ(Bits(expected[i]), Bits(got[i])) << name << " dim " << dim;
          }
        }
      }
    }
  }
}

TEST(DotTest, IsCloseToDoublePrecision) {
  const std::size_t dim = 512;
  const std::vector<float> rows = MakeRows(20, dim, 3);
  for (std::size_t i = 0; i < 20; ++i) {
    for (std::size_t j = 0; j < 20; ++j) {
      double exact = 0;
      for (std::size_t d = 0; d < dim; ++d) {
        exact += static_cast<double>(rows[i * dim + d]) * static_cast<double>(rows[j * dim + d]);
      }
      // 512 / 16 additions in a lane and 4 across lanes of terms whose magnitudes sum to at most 1.
      EXPECT_NEAR(CosineSimilarity(&rows[i * dim], &rows[j * dim], dim), exact, 37 * 0x1p-24);
    }
  }
}

TEST(PairsTest, EqualsTheDoubleLoop) {
  for (const std::size_t count : {0U, 1U, 2U, 3U, 31U, 32U, 33U, 100U, 257U}) {
    const std::size_t dim = 40;
    const std::vector<float> rows = MakeRows(count, dim, static_cast<std::uint32_t>(count));
    std::vector<SimilarPair> expected;
    for (std::uint32_t i = 0; i < count; ++i) {
      for (std::uint32_t j = i + 1; j < count; ++j) {
        const float similarity = CosineSimilarity(&rows[i * dim], &rows[j * dim], dim);
        if (similarity > 0.75F) expected.push_back({i, j, similarity});
      }
    }
    for (const int threads : {0, 1, 2, 5}) {
      EXPECT_TRUE(Same(AllPairs(rows, dim, 0.75F, threads), expected)) << count << " rows, " << threads << " threads";
    }
  }
}

TEST(PairsTest, ThresholdIsStrictAndDuplicatesAreFound) {
  const std::vector<float> rows = {1, 0, 1, 0, 0, 1};
  EXPECT_THAT(AllPairs(rows, 2, 1.0F, 1), IsEmpty());
  EXPECT_EQ(AllPairs(rows, 2, 0.999999F, 1).size(), 1U);
  EXPECT_EQ(AllPairs(rows, 2, 0.0F, 1).size(), 1U);
  EXPECT_EQ(AllPairs(rows, 2, -0.001F, 1).size(), 3U);
}

TEST(PairsTest, EqualRowsHaveSimilarityOneWithinRounding) {
  std::vector<float> rows = MakeRows(1, 512, 9);
  rows.insert(rows.end(), rows.begin(), rows.begin() + 512);
  const auto pairs = AllPairs(rows, 512, 0.99999F, 1);
  ASSERT_EQ(pairs.size(), 1U);
  EXPECT_LE(pairs[0].similarity, 1.0F);
}

TEST(PairsTest, NotANumberIsSimilarToNothing) {
  std::vector<float> rows = {1, 0, std::numeric_limits<float>::quiet_NaN(), 0, 1, 0};
  const auto pairs = AllPairs(rows, 2, -1.0F, 1);
  ASSERT_EQ(pairs.size(), 1U);
  EXPECT_EQ(pairs[0].second, 2U);
  const Status status =
      ForEachSimilarPair({rows.data(), 3, 2}, std::nanf(""), 1, [](const SimilarPair*, std::size_t) { return true; });
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
}

TEST(PairsTest, SinkAndProgressCanCancel) {
  const std::vector<float> rows = MakeRows(300, 16, 1);
  const EmbeddingsView view{rows.data(), 300, 16};
  int calls = 0;
  Status status = ForEachSimilarPair(view, 0.5F, 2, [&](const SimilarPair*, std::size_t) {
    ++calls;
    return false;
  });
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(calls, 1);
  status = ForEachSimilarPair(
      view, 0.5F, 2, [](const SimilarPair*, std::size_t) { return true; },
      [](std::size_t done, std::size_t total) { return done < total / 2; });
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
}

TEST(PairsTest, ProgressReachesTheTotal) {
  const std::vector<float> rows = MakeRows(100, 16, 1);
  std::size_t last = 0;
  std::size_t of = 0;
  const Status status = ForEachSimilarPair(
      {rows.data(), 100, 16}, 0.5F, 2, [](const SimilarPair*, std::size_t) { return true; },
      [&](std::size_t done, std::size_t total) {
        EXPECT_GT(done, last);
        last = done;
        of = total;
        return true;
      });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(last, of);
  EXPECT_GT(of, 0U);
}

Grouping GroupRows(const std::vector<float>& rows, std::size_t dim, float threshold, int threads) {
  Result<Grouping> result = GroupByRepresentative({rows.data(), rows.size() / dim, dim}, threshold, threads);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return *std::move(result);
}

std::vector<float> OnCircle(const std::vector<float>& degrees) {
  std::vector<float> rows;
  for (const float d : degrees) {
    rows.push_back(std::cos(d * 3.14159265F / 180));
    rows.push_back(std::sin(d * 3.14159265F / 180));
  }
  return rows;
}

TEST(GroupTest, DoesNotChain) {
  // Neighbours are 35 degrees apart (cosine 0.82), the ends 70 (0.34): one group around the middle, not a chain of 5.
  const Grouping grouping = GroupRows(OnCircle({0, 35, 70, 105, 140}), 2, 0.75F, 1);
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
  const Grouping grouping = GroupRows(OnCircle({0, 3, 6, 60, 63, 66, 36}), 2, 0.75F, 1);
  for (const Group& group : grouping.groups) {
    for (const GroupMember& member : group.members) {
      if (member.index == 6) {
        EXPECT_GE(group.representative, 3U);
      }
    }
  }
}

TEST(GroupTest, NothingSimilar) {
  const Grouping grouping = GroupRows(OnCircle({0, 90, 180}), 2, 0.75F, 2);
  EXPECT_THAT(grouping.groups, IsEmpty());
  EXPECT_EQ(grouping.unique, 3U);
  EXPECT_EQ(GroupRows({}, 2, 0.75F, 2).unique, 0U);
}

// The laws that every grouping keeps, whatever the data.
TEST(GroupTest, LawsHoldOnRandomData) {
  for (std::uint32_t seed = 0; seed < 30; ++seed) {
    const std::size_t dim = 8;
    const std::size_t count = 1 + seed * 7;
    const float threshold = -0.2F + 0.04F * static_cast<float>(seed);
    const std::vector<float> rows = MakeRows(count, dim, seed, 0.8F);
    const Grouping grouping = GroupRows(rows, dim, threshold, 1 + static_cast<int>(seed % 3));
    std::set<std::uint32_t> seen;
    std::vector<std::uint32_t> representatives;
    for (const Group& group : grouping.groups) {
      EXPECT_TRUE(seen.insert(group.representative).second);
      representatives.push_back(group.representative);
      EXPECT_FALSE(group.members.empty());
      for (const GroupMember& member : group.members) {
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
    internal::Scanner scanner(view, threshold, internal::AvailablePaths().front());
    ASSERT_TRUE(scanner.Prepare(1).ok());
    Grouping expected;
    for (const std::size_t limit : {pairs.size(), pairs.size() - 1, std::size_t{1}}) {
      internal::PairStore store(400, limit);
      store.Add(pairs.data(), pairs.size());
      int searches = 0;
      Grouping grouping;
      const Status status = store.Group(
          [&](const std::vector<std::uint32_t>& asked, std::vector<std::vector<GroupMember>>* found) {
            ++searches;
            return internal::NeighboursOfRows(scanner, asked, 2, found);
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
  const Status status =
      store.Group([](const std::vector<std::uint32_t>&,
                     std::vector<std::vector<GroupMember>>*) { return Status(StatusCode::kCancelled, "cancelled"); },
                  {}, &grouping);
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
}

TEST(PairsTest, ThreadsAndManyJobsDoNotChangeOrder) {
  const std::size_t dim = 24;
  const std::vector<float> rows = MakeRows(3000, dim, 21);
  for (const float threshold : {0.0F, 0.75F}) {
    const auto expected = AllPairs(rows, dim, threshold, 1);
    ASSERT_GT(expected.size(), 3000U);
    for (const int threads : {2, 3, 4}) EXPECT_TRUE(Same(AllPairs(rows, dim, threshold, threads), expected)) << threads;
  }
}

// The rule of GroupByRepresentative, written as it is told.
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
  std::map<std::uint32_t, std::vector<GroupMember>> members;
  for (std::uint32_t row = 0; row < count; ++row) {
    for (std::uint32_t other = 0; other < count; ++other) {
      if (other != row && similarity(row, other) > threshold) ++grouping.similar[row];
    }
    if (representatives.count(row) != 0) continue;
    GroupMember best{0, -2};
    for (const std::uint32_t other : representatives) {
      if (similarity(row, other) > best.similarity) best = {other, similarity(row, other)};
    }
    members[best.index].push_back({row, best.similarity});
  }
  for (auto& [representative, list] : members) {
    std::sort(list.begin(), list.end(), [](const GroupMember& a, const GroupMember& b) {
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
          GroupByRepresentative(view, threshold, 2, {}, {}, [&](const std::vector<std::uint32_t>& counts) {
            similar = counts;
            return Result<std::vector<std::uint32_t>>(ranks);
          });
      ASSERT_TRUE(grouping.ok()) << grouping.status().message();
      EXPECT_EQ(similar, grouping->similar);
      ExpectSameGroups(*grouping, GroupByRank(rows, dim, threshold, ranks));

      internal::Scanner scanner(view, threshold, internal::AvailablePaths().front());
      ASSERT_TRUE(scanner.Prepare(1).ok());
      internal::PairStore forgetful(count, 1);
      const auto pairs = AllPairs(rows, dim, threshold, 1);
      forgetful.Add(pairs.data(), pairs.size());
      Grouping again;
      ASSERT_TRUE(forgetful
                      .Group(
                          [&](const std::vector<std::uint32_t>& asked, std::vector<std::vector<GroupMember>>* found) {
                            return internal::NeighboursOfRows(scanner, asked, 2, found);
                          },
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
  EXPECT_EQ(GroupByRepresentative(view, 0.5F, 1, {}, {}, fail).status().code(), StatusCode::kCancelled);
  const auto few = [](const std::vector<std::uint32_t>&) {
    return Result<std::vector<std::uint32_t>>(std::vector<std::uint32_t>(2));
  };
  EXPECT_EQ(GroupByRepresentative(view, 0.5F, 1, {}, {}, few).status().code(), StatusCode::kInvalidArgument);
}

TEST(AcrossTest, PairsEqualTheDoubleLoopWhateverTheThreads) {
  const std::size_t dim = 24;
  const std::vector<float> rows = MakeRows(900, dim, 8);
  for (const auto& [left, right] : {std::pair{0U, 5U}, {5U, 0U}, {1U, 1U}, {33U, 700U}, {700U, 33U}, {450U, 450U}}) {
    const EmbeddingsView a{rows.data(), left, dim};
    const EmbeddingsView b{rows.data() + (900 - right) * dim, right, dim};
    std::vector<SimilarPair> expected;
    for (std::uint32_t i = 0; i < a.count; ++i) {
      for (std::uint32_t j = 0; j < b.count; ++j) {
        const float similarity = CosineSimilarity(a.data + i * dim, b.data + j * dim, dim);
        if (similarity > 0.6F) expected.push_back({i, j, similarity});
      }
    }
    for (const int threads : {1, 2, 5}) {
      std::vector<SimilarPair> pairs;
      std::size_t done = 0;
      std::size_t total = 0;
      const Status status = ForEachSimilarPairAcross(
          a, b, 0.6F, threads,
          [&](const SimilarPair* found, std::size_t count) {
            pairs.insert(pairs.end(), found, found + count);
            return true;
          },
          [&](std::size_t d, std::size_t t) {
            done = d;
            total = t;
            return true;
          });
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_TRUE(Same(pairs, expected)) << left << ' ' << right << ' ' << threads;
      EXPECT_EQ(done, total);
    }
  }
  const EmbeddingsView a{rows.data(), 2, dim};
  const EmbeddingsView narrow{rows.data(), 2, dim - 1};
  const auto sink = [](const SimilarPair*, std::size_t) { return true; };
  EXPECT_EQ(ForEachSimilarPairAcross(a, narrow, 0.5F, 1, sink).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ForEachSimilarPairAcross(a, a, std::nanf(""), 1, sink).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ForEachSimilarPairAcross(a, a, 0.5F, 1, [](const SimilarPair*, std::size_t) { return false; }).code(),
            StatusCode::kCancelled);
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
  Result<ReferenceGrouping> result = GroupByReference(a, b, 0.75F, 1, {}, collect);
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
  result = GroupByReference(
      a, b, 0.75F, 2, [](std::uint32_t row, std::uint32_t reference) { return row == 4 && reference == 1; }, collect);
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->grouping.similar, ElementsAre(2, 3, 0, 0, 2));
  EXPECT_EQ(result->grouping.groups[1].members.size(), 1U);
  EXPECT_EQ(result->grouping.groups.size(), 3U) << "row 4 joins the equal reference 3 now";
  EXPECT_EQ(pairs.size(), 7U);
}

TEST(EstimateTest, IsCloseAndNeedsTwoRows) {
  const std::size_t dim = 24;
  const std::vector<float> rows = MakeRows(700, dim, 2);
  EXPECT_EQ(EstimateSimilarShare({rows.data(), 0, dim}, 0.5F), 0);
  EXPECT_EQ(EstimateSimilarShare({rows.data(), 1, dim}, -1), 0);
  EXPECT_EQ(EstimateSimilarShare({rows.data(), 700, dim}, 1), 0);
  const double all = 700.0 * 699.0 / 2;
  const double exact = static_cast<double>(AllPairs(rows, dim, 0.1F, 1).size()) / all;
  // Six standard deviations of the mean of 4096 drawings.
  EXPECT_NEAR(EstimateSimilarShare({rows.data(), 700, dim}, 0.1F), exact, 6 * std::sqrt(0.25 / 4096));
}

}  // namespace
}  // namespace rrn
