#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "rrn/search.h"
#include "search/test_rows.h"

namespace rrn {
namespace {

using ::testing::IsEmpty;

bool Ignore(const SimilarPair* /*pairs*/, std::size_t /*count*/) { return true; }

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
  const Status status = FindPairs({rows.data(), 3, 2}, With(std::nanf("")), Ignore);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
}

TEST(PairsTest, SinkAndProgressCanCancel) {
  const std::vector<float> rows = MakeRows(300, 16, 1);
  const EmbeddingsView view{rows.data(), 300, 16};
  int calls = 0;
  SearchOptions options = With(0.5F, 2);
  Status status = FindPairs(view, options, [&](const SimilarPair*, std::size_t) {
    ++calls;
    return false;
  });
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(calls, 1);
  options.progress = [](std::size_t done, std::size_t total) { return done < total / 2; };
  status = FindPairs(view, options, Ignore);
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
}

TEST(PairsTest, ProgressReachesTheTotal) {
  const std::vector<float> rows = MakeRows(100, 16, 1);
  std::size_t last = 0;
  std::size_t of = 0;
  SearchOptions options = With(0.5F, 2);
  options.progress = [&](std::size_t done, std::size_t total) {
    EXPECT_GT(done, last);
    last = done;
    of = total;
    return true;
  };
  const Status status = FindPairs({rows.data(), 100, 16}, options, Ignore);
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(last, of);
  EXPECT_GT(of, 0U);
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
      SearchOptions options = With(0.6F, threads);
      options.progress = [&](std::size_t d, std::size_t t) {
        done = d;
        total = t;
        return true;
      };
      const Status status = FindPairs(a, b, options, CollectInto(&pairs));
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_TRUE(Same(pairs, expected)) << left << ' ' << right << ' ' << threads;
      EXPECT_EQ(done, total);
    }
  }
  const EmbeddingsView a{rows.data(), 2, dim};
  const EmbeddingsView narrow{rows.data(), 2, dim - 1};
  EXPECT_EQ(FindPairs(a, narrow, With(0.5F), Ignore).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(FindPairs(a, a, With(std::nanf("")), Ignore).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(FindPairs(a, a, With(0.5F), [](const SimilarPair*, std::size_t) { return false; }).code(),
            StatusCode::kCancelled);
  SearchOptions approximate = With(0.5F);
  approximate.method = SearchMethod::kApproximate;
  EXPECT_FALSE(FindPairs(a, a, approximate, Ignore).ok()) << "one set of rows only";
}

}  // namespace
}  // namespace rrn
