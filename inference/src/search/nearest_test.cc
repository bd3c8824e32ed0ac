// FindNearest against a plain loop over all columns, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "rrn/search.h"
#include "search/test_rows.h"

namespace rrn {
namespace {

// All neighbours, as the header says and as plainly as it can be written. `same`: rows and columns are one set.
Neighbours All(const EmbeddingsView& rows, const EmbeddingsView& columns, bool same = false) {
  Neighbours all(rows.count);
  for (std::size_t i = 0; i < rows.count; ++i) {
    std::vector<Neighbour>& list = all[i];
    for (std::uint32_t j = 0; j < columns.count; ++j) {
      const float similarity = CosineSimilarity(rows.data + i * rows.dim, columns.data + j * rows.dim, rows.dim);
      if (!std::isnan(similarity) && !(same && i == j)) list.push_back({j, similarity});
    }
    std::stable_sort(list.begin(), list.end(),
                     [](const Neighbour& a, const Neighbour& b) { return a.similarity > b.similarity; });
  }
  return all;
}

// The first k of each list that are above the threshold.
Neighbours First(Neighbours all, std::size_t k, float threshold = kNoThreshold) {
  for (std::vector<Neighbour>& list : all) {
    list.erase(std::find_if(list.begin(), list.end(), [&](const Neighbour& n) { return !(n.similarity > threshold); }),
               list.end());
    list.resize(std::min(k, list.size()));
  }
  return all;
}

SearchOptions On(const std::string& target, float threshold, int threads) {
  SearchOptions options = With(threshold, threads);
  options.target = target;
  return options;
}

Neighbours Nearest(const EmbeddingsView& rows, const EmbeddingsView& columns, std::size_t k,
                   const SearchOptions& options) {
  Result<Neighbours> nearest = FindNearest(rows, columns, k, options);
  EXPECT_TRUE(nearest.ok()) << nearest.status().message();
  return nearest.ok() ? *std::move(nearest) : Neighbours();
}

TEST(NearestTest, EqualsTheLoopOnEveryTargetForAnyThreads) {
  constexpr std::size_t kDim = 70;
  const std::vector<float> data = MakeRows(1500, kDim, 4);
  for (const auto& [left, right] : {std::pair{1U, 1500U}, {3U, 1U}, {40U, 700U}, {64U, 1000U}, {500U, 900U}}) {
    const EmbeddingsView rows{data.data(), left, kDim};
    const EmbeddingsView columns{data.data() + (1500 - right) * kDim, right, kDim};
    const Neighbours all = All(rows, columns);
    for (const std::size_t k : {1U, 10U, 300U}) {
      for (const float threshold : {kNoThreshold, -1.0F, 0.1F, 0.9F}) {
        const Neighbours expected = First(all, k, threshold);
        for (const std::string& target : SearchTargets()) {
          for (const int threads : {1, 3}) {
            EXPECT_TRUE(Same(Nearest(rows, columns, k, On(target, threshold, threads)), expected))
                << target << ' ' << left << ' ' << right << " k " << k << " threshold " << threshold;
          }
        }
      }
    }
  }
}

// Enough columns for the threads to share them, and many similar ones at the end, so that the bound rises late.
TEST(NearestTest, FewRowsAgainstManyColumns) {
  constexpr std::size_t kDim = 24;
  constexpr std::size_t kCount = 30'000;
  const std::vector<float> data = MakeRows(kCount, kDim, 6);
  const EmbeddingsView columns{data.data(), kCount, kDim};
  for (const std::size_t count : {1U, 2U, 33U, 100U}) {
    const EmbeddingsView rows{data.data() + (kCount - count) * kDim, count, kDim};
    const Neighbours all = All(rows, columns);
    for (const std::size_t k : {1U, 7U, 5000U}) {
      const Neighbours expected = First(all, k);
      for (const int threads : {0, 1, 2, 5}) {
        EXPECT_TRUE(Same(Nearest(rows, columns, k, With(kNoThreshold, threads)), expected)) << count << ' ' << k;
      }
    }
  }
}

TEST(NearestTest, ARowIsNotItsOwnNeighbour) {
  constexpr std::size_t kDim = 33;
  for (const std::size_t count : {0U, 1U, 2U, 63U, 64U, 800U}) {
    const std::vector<float> data = MakeRows(count, kDim, 9);
    const EmbeddingsView rows{data.data(), count, kDim};
    const Neighbours expected = First(All(rows, rows, true), 5);
    for (const std::string& target : SearchTargets()) {
      for (const int threads : {1, 2}) {
        const Result<Neighbours> nearest = FindNearest(rows, 5, On(target, kNoThreshold, threads));
        ASSERT_TRUE(nearest.ok()) << nearest.status().message();
        EXPECT_TRUE(Same(*nearest, expected)) << target << ' ' << count;
      }
    }
  }
}

// Among equally similar columns the first ones are taken, wherever blocks, spans and threads divide them.
TEST(NearestTest, TiesGoToTheFirstColumns) {
  constexpr std::size_t kCount = 9000;
  std::vector<float> data;
  for (std::size_t i = 0; i < kCount; ++i) {
    const std::vector<float> row = OnCircle({i % 3 == 0 ? 10.0F : 80.0F});
    data.insert(data.end(), row.begin(), row.end());
  }
  const EmbeddingsView columns{data.data(), kCount, 2};
  const std::vector<float> asked = OnCircle({0, 90});
  for (const std::size_t copies : {1U, 50U}) {
    std::vector<float> rows;
    for (std::size_t i = 0; i < copies; ++i) rows.insert(rows.end(), asked.begin(), asked.end());
    for (const int threads : {1, 4}) {
      const Neighbours nearest = Nearest({rows.data(), 2 * copies, 2}, columns, 4, With(kNoThreshold, threads));
      ASSERT_EQ(nearest.size(), 2 * copies);
      for (std::size_t row = 0; row < nearest.size(); ++row) {
        ASSERT_EQ(nearest[row].size(), 4U);
        for (std::uint32_t i = 0; i < 4; ++i) {
          EXPECT_EQ(nearest[row][i].index, row % 2 == 0 ? 3 * i : i / 2 * 3 + i % 2 + 1) << row;
        }
      }
    }
  }
}

TEST(NearestTest, MoreThanThereAreGivesAllOfThem) {
  const std::vector<float> data = MakeRows(20, 8, 3);
  const EmbeddingsView view{data.data(), 20, 8};
  EXPECT_TRUE(Same(Nearest(view, view, 1'000'000'000, With(kNoThreshold)), All(view, view)));
  const Result<Neighbours> others = FindNearest(view, std::numeric_limits<std::size_t>::max(), With(kNoThreshold));
  ASSERT_TRUE(others.ok());
  for (const std::vector<Neighbour>& list : *others) {
    EXPECT_EQ(list.size(), 19U);
  }
}

TEST(NearestTest, NoRowsNoColumnsAndShortRows) {
  const std::vector<float> data = MakeRows(100, 1, 3);
  for (const std::size_t dim : {0U, 1U}) {
    const EmbeddingsView many{data.data(), 100, dim};
    const EmbeddingsView none{data.data(), 0, dim};
    EXPECT_TRUE(Nearest(none, many, 3, With(kNoThreshold)).empty());
    EXPECT_TRUE(Same(Nearest(many, none, 3, With(kNoThreshold)), Neighbours(100)));
    for (const std::string& target : SearchTargets()) {
      EXPECT_TRUE(Same(Nearest(many, many, 3, On(target, kNoThreshold, 2)), First(All(many, many), 3)));
    }
  }
}

TEST(NearestTest, ZerosAndWhatIsNotFinite) {
  constexpr std::size_t kDim = 40;
  std::vector<float> data = MakeRows(300, kDim, 12);
  const auto fill = [&](std::size_t row, float value) {
    std::fill_n(data.begin() + static_cast<std::ptrdiff_t>(row * kDim), kDim, value);
  };
  fill(0, 0);
  fill(5, std::numeric_limits<float>::quiet_NaN());
  fill(70, std::numeric_limits<float>::infinity());
  fill(280, 1e30F);
  fill(299, 0);
  const EmbeddingsView view{data.data(), 300, kDim};
  const Neighbours all = All(view, view);
  for (const float threshold : {kNoThreshold, -1.0F, -0.1F, 0.0F, 0.5F, 1.0F}) {
    const Neighbours expected = First(all, 20, threshold);
    for (const std::string& target : SearchTargets()) {
      EXPECT_TRUE(Same(Nearest(view, view, 20, On(target, threshold, 2)), expected)) << target << ' ' << threshold;
    }
  }
  EXPECT_TRUE(Nearest(view, view, 20, With(kNoThreshold))[5].empty()) << "not a number is near to nothing";
}

TEST(NearestTest, WhatIsRefused) {
  const std::vector<float> data = MakeRows(4, 6, 3);
  const EmbeddingsView view{data.data(), 4, 6};
  const EmbeddingsView narrow{data.data(), 4, 5};
  SearchOptions approximate;
  approximate.method = SearchMethod::kApproximate;
  EXPECT_EQ(FindNearest(view, narrow, 1, {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(FindNearest(view, view, 0, {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(FindNearest(view, 0, {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(FindNearest(view, 1, With(std::nanf(""))).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(FindNearest(view, 1, approximate).status().code(),
            ApproximateSearchAvailable() ? StatusCode::kInvalidArgument : StatusCode::kUnsupported);
}

TEST(NearestTest, ProgressReachesTheTotalAndCancels) {
  const std::vector<float> data = MakeRows(2000, 16, 1);
  const EmbeddingsView view{data.data(), 2000, 16};
  SearchOptions options = With(kNoThreshold, 2);
  std::size_t last = 0;
  std::size_t of = 0;
  options.progress = [&](std::size_t done, std::size_t total) {
    EXPECT_EQ(done, last + 1);
    last = done;
    of = total;
    return true;
  };
  ASSERT_TRUE(FindNearest(view, 3, options).ok());
  EXPECT_EQ(last, of);
  EXPECT_GT(of, 2U);
  int calls = 0;
  options.progress = [&](std::size_t, std::size_t) {
    ++calls;
    return false;
  };
  EXPECT_EQ(FindNearest(view, 3, options).status().code(), StatusCode::kCancelled);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace rrn
