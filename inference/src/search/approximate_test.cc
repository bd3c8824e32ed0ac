// The approximate search against the exact one: nothing wrong, little missing, the recall as it says.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "rrn/search.h"
#include "search/test_rows.h"

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

SearchOptions Approximate(const ApproximateOptions& approximate, int threads) {
  SearchOptions options = With(kThreshold, threads);
  options.method = SearchMethod::kApproximate;
  options.approximate = approximate;
  return options;
}

std::vector<SimilarPair> Exact(const EmbeddingsView& view) { return AllPairs(view, With(kThreshold)); }

std::vector<SimilarPair> FindApproximately(const EmbeddingsView& view, const ApproximateOptions& approximate,
                                           int threads, RecallEstimate* recall) {
  SearchOptions options = Approximate(approximate, threads);
  int calls = 0;
  if (recall != nullptr) {
    options.recall = [&](const RecallEstimate& measured) {
      *recall = measured;
      ++calls;
    };
  }
  std::vector<SimilarPair> pairs = AllPairs(view, options);
  EXPECT_EQ(calls, recall != nullptr ? 1 : 0);
  return pairs;
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
  const std::vector<SimilarPair> found = FindApproximately(view_, {}, 2, nullptr);
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
  const std::vector<SimilarPair> once = FindApproximately(view_, {4, 8}, 1, nullptr);
  ASSERT_FALSE(once.empty());
  for (const int threads : {1, 3}) EXPECT_TRUE(Same(FindApproximately(view_, {4, 8}, threads, nullptr), once));
}

TEST_F(ApproximateTest, RecallIsWhatWasMissed) {
  // With one neighbour for each row, most pairs of larger groups must be missing.
  RecallEstimate recall;
  const std::size_t found = FindApproximately(view_, {1, 1}, 1, &recall).size();
  const double truth = static_cast<double>(found) / static_cast<double>(Exact(view_).size());
  EXPECT_LT(truth, 0.6);
  EXPECT_GT(recall.rows, 200U);
  EXPECT_GT(recall.pairs, 200U);
  // Pairs of one row are missed together, so the sample's error is that of its rows rather than of its pairs.
  EXPECT_NEAR(recall.value(), truth, 6 * std::sqrt(0.25 / static_cast<double>(recall.rows)));
  const std::size_t all = FindApproximately(view_, {60, 400}, 1, &recall).size();
  EXPECT_EQ(all, Exact(view_).size());
  EXPECT_EQ(recall.value(), 1.0);
  EXPECT_EQ(recall.found, recall.pairs);
}

TEST_F(ApproximateTest, GroupsAreThoseOfThePairs) {
  const Result<Grouping> got = GroupRows(view_, Approximate({60, 400}, 2));
  const Result<Grouping> expected = GroupRows(view_, With(kThreshold));
  ASSERT_TRUE(got.ok());
  ASSERT_TRUE(expected.ok());
  EXPECT_EQ(got->unique, expected->unique);
  EXPECT_EQ(got->similar, expected->similar);
  ASSERT_EQ(got->groups.size(), expected->groups.size());
}

TEST_F(ApproximateTest, TheSinkMaySeePairsBelowTheThreshold) {
  SearchOptions options = Approximate({4, 8}, 2);
  RecallEstimate recall;
  options.recall = [&](const RecallEstimate& estimate) { recall = estimate; };
  const Result<Grouping> plain = GroupRows(view_, options);
  const RecallEstimate of_plain = recall;
  options.sink_threshold = options.threshold - 0.1F;
  std::size_t above = 0;
  std::size_t below = 0;
  const Result<Grouping> got = GroupRows(view_, options, {}, [&](const SimilarPair* pairs, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) ++(pairs[i].similarity > options.threshold ? above : below);
    return true;
  });
  ASSERT_TRUE(plain.ok() && got.ok());
  EXPECT_EQ(got->similar, plain->similar);
  EXPECT_EQ(got->groups.size(), plain->groups.size());
  EXPECT_EQ(recall.pairs, of_plain.pairs);
  EXPECT_EQ(recall.found, of_plain.found);
  EXPECT_EQ(above, FindApproximately(view_, {4, 8}, 1, nullptr).size());
  EXPECT_GT(below, 0U);
}

TEST_F(ApproximateTest, FewRowsOddRowsAndCancelling) {
  RecallEstimate recall;
  EXPECT_TRUE(FindApproximately({rows_.data(), 0, kDim}, {}, 1, &recall).empty());
  EXPECT_TRUE(FindApproximately({rows_.data(), 1, kDim}, {}, 1, &recall).empty());
  std::vector<float> odd(rows_.begin(), rows_.begin() + 40 * kDim);
  for (std::size_t d = 0; d < kDim; ++d) odd[d] = 0;
  odd[kDim] = std::numeric_limits<float>::quiet_NaN();
  odd[2 * kDim] = std::numeric_limits<float>::infinity();
  const EmbeddingsView view{odd.data(), 40, kDim};
  EXPECT_EQ(FindApproximately(view, {40, 100}, 1, &recall).size(), Exact(view).size());
  const auto sink = [](const SimilarPair*, std::size_t) { return true; };
  for (const std::size_t last : {1U, 4U}) {
    SearchOptions options = Approximate({}, 2);
    options.progress = [last](std::size_t done, std::size_t) { return done < last; };
    EXPECT_EQ(FindPairs(view_, options, sink).code(), StatusCode::kCancelled) << last;
  }
  EXPECT_EQ(FindPairs(view_, Approximate({0, 1}, 1), sink).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckSearchOptions(Approximate({16, 10'001}, 1)).code(), StatusCode::kInvalidArgument);
  SearchOptions options = Approximate({}, 1);
  options.threshold = std::nanf("");
  EXPECT_EQ(FindPairs(view_, options, sink).code(), StatusCode::kInvalidArgument);
}

TEST(WithoutLibraryTest, SaysWhatToInstall) {
  if (ApproximateSearchAvailable()) GTEST_SKIP() << "built with hnswlib";
  const Status status = FindPairs({}, Approximate({}, 1), {});
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_NE(status.message().find("libhnswlib-dev"), std::string::npos);
}

}  // namespace
}  // namespace rrn
