// The approximate search against the exact one: nothing wrong, little missing, the recall as it says.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "rrn/search.h"

namespace rrn {
namespace {

constexpr std::size_t kDim = 48;
constexpr float kThreshold = 0.75F;

// Groups of 1 to 6 similar rows.
std::vector<float> Groups(std::size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> rows;
  std::vector<float> centre(kDim);
  while (rows.size() < count * kDim) {
    for (float& v : centre) v = normal(random);
    for (std::size_t copies = random() % 6 + 1; copies > 0 && rows.size() < count * kDim; --copies) {
      for (const float v : centre) rows.push_back(v + 0.3F * normal(random));
    }
  }
  NormalizeRows(rows.data(), count, kDim);
  return rows;
}

std::vector<SimilarPair> Exact(const EmbeddingsView& view) {
  std::vector<SimilarPair> pairs;
  EXPECT_TRUE(ForEachSimilarPair(view, kThreshold, 1, [&](const SimilarPair* found, std::size_t count) {
                pairs.insert(pairs.end(), found, found + count);
                return true;
              }).ok());
  return pairs;
}

std::vector<SimilarPair> Approximate(const EmbeddingsView& view, const ApproximateOptions& options, int threads,
                                     RecallEstimate* recall) {
  std::vector<SimilarPair> pairs;
  const Status status = ForEachSimilarPairApproximately(
      view, kThreshold, options, threads,
      [&](const SimilarPair* found, std::size_t count) {
        pairs.insert(pairs.end(), found, found + count);
        return true;
      },
      recall);
  EXPECT_TRUE(status.ok()) << status.message();
  return pairs;
}

bool Same(const std::vector<SimilarPair>& a, const std::vector<SimilarPair>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0;
}

class ApproximateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!ApproximateSearchAvailable()) GTEST_SKIP() << "built without hnswlib";
  }
  const std::vector<float> rows_ = Groups(3000);
  const EmbeddingsView view_{rows_.data(), 3000, kDim};
};

TEST_F(ApproximateTest, FindsNothingWrongAndNearlyEverything) {
  std::set<std::pair<std::uint32_t, std::uint32_t>> exact;
  for (const SimilarPair& pair : Exact(view_)) exact.insert({pair.first, pair.second});
  ASSERT_GT(exact.size(), 3000U);
  const std::vector<SimilarPair> found = Approximate(view_, {}, 2, nullptr);
  std::pair<std::uint32_t, std::uint32_t> last{0, 0};
  for (const SimilarPair& pair : found) {
    const std::pair<std::uint32_t, std::uint32_t> rows{pair.first, pair.second};
    EXPECT_TRUE(exact.count(rows) == 1);
    EXPECT_LT(last, rows) << "sorted, each once";
    EXPECT_EQ(pair.similarity, CosineSimilarity(&rows_[pair.first * kDim], &rows_[pair.second * kDim], kDim));
    last = rows;
  }
  EXPECT_GT(static_cast<double>(found.size()), 0.95 * static_cast<double>(exact.size()));
}

TEST_F(ApproximateTest, ThreadsAndRunsDoNotChangeTheResult) {
  const std::vector<SimilarPair> once = Approximate(view_, {4, 8}, 1, nullptr);
  ASSERT_FALSE(once.empty());
  for (const int threads : {1, 3}) EXPECT_TRUE(Same(Approximate(view_, {4, 8}, threads, nullptr), once));
}

TEST_F(ApproximateTest, RecallIsWhatWasMissed) {
  // With one neighbour for each row, most pairs of larger groups must be missing.
  RecallEstimate recall;
  const std::size_t found = Approximate(view_, {1, 1}, 1, &recall).size();
  const double truth = static_cast<double>(found) / static_cast<double>(Exact(view_).size());
  EXPECT_LT(truth, 0.6);
  EXPECT_GT(recall.rows, 200U);
  EXPECT_GT(recall.pairs, 200U);
  // Pairs of one row are missed together, so the sample's error is that of its rows rather than of its pairs.
  EXPECT_NEAR(recall.value(), truth, 6 * std::sqrt(0.25 / static_cast<double>(recall.rows)));
  const std::size_t all = Approximate(view_, {60, 400}, 1, &recall).size();
  EXPECT_EQ(all, Exact(view_).size());
  EXPECT_EQ(recall.value(), 1.0);
  EXPECT_EQ(recall.found, recall.pairs);
}

TEST_F(ApproximateTest, GroupsAreThoseOfThePairs) {
  RecallEstimate recall;
  const Result<Grouping> got = GroupByRepresentativeApproximately(view_, kThreshold, {60, 400}, 2, {}, &recall);
  const Result<Grouping> expected = GroupByRepresentative(view_, kThreshold, 1);
  ASSERT_TRUE(got.ok());
  ASSERT_TRUE(expected.ok());
  EXPECT_EQ(got->unique, expected->unique);
  EXPECT_EQ(got->similar, expected->similar);
  ASSERT_EQ(got->groups.size(), expected->groups.size());
}

TEST_F(ApproximateTest, FewRowsOddRowsAndCancelling) {
  RecallEstimate recall;
  EXPECT_TRUE(Approximate({rows_.data(), 0, kDim}, {}, 1, &recall).empty());
  EXPECT_TRUE(Approximate({rows_.data(), 1, kDim}, {}, 1, &recall).empty());
  std::vector<float> odd(rows_.begin(), rows_.begin() + 40 * kDim);
  for (std::size_t d = 0; d < kDim; ++d) odd[d] = 0;
  odd[kDim] = std::numeric_limits<float>::quiet_NaN();
  odd[2 * kDim] = std::numeric_limits<float>::infinity();
  const EmbeddingsView view{odd.data(), 40, kDim};
  EXPECT_EQ(Approximate(view, {40, 100}, 1, &recall).size(), Exact(view).size());
  const auto sink = [](const SimilarPair*, std::size_t) { return true; };
  for (const std::size_t last : {1U, 4U}) {
    const Status status = ForEachSimilarPairApproximately(view_, kThreshold, {}, 2, sink, nullptr,
                                                          [&](std::size_t done, std::size_t) { return done < last; });
    EXPECT_EQ(status.code(), StatusCode::kCancelled) << last;
  }
  EXPECT_EQ(ForEachSimilarPairApproximately(view_, kThreshold, {0, 1}, 1, sink, nullptr).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(ForEachSimilarPairApproximately(view_, std::nanf(""), {}, 1, sink, nullptr).code(),
            StatusCode::kInvalidArgument);
}

TEST(WithoutLibraryTest, SaysWhatToInstall) {
  if (ApproximateSearchAvailable()) GTEST_SKIP() << "built with hnswlib";
  const Status status = ForEachSimilarPairApproximately({}, kThreshold, {}, 1, {}, nullptr);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_NE(status.message().find("libhnswlib-dev"), std::string::npos);
}

}  // namespace
}  // namespace rrn
