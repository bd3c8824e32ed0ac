// SearchIndex against FindNearest and FindPairs, bit for bit.
#include <gtest/gtest.h>

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

SearchIndex MakeIndex(const EmbeddingsView& rows, const SearchOptions& options) {
  Result<SearchIndex> index = SearchIndex::Create(rows, options);
  EXPECT_TRUE(index.ok()) << index.status().message();
  return *std::move(index);
}

std::vector<SimilarPair> PairsInRange(const SearchIndex& index, const EmbeddingsView& rows, float threshold) {
  std::vector<SimilarPair> pairs;
  EXPECT_TRUE(index.Range(rows, threshold, CollectInto(&pairs)).ok());
  return pairs;
}

TEST(SearchIndexTest, FindsWhatFindNearestAndFindPairsFind) {
  for (const std::size_t dim : {7U, 160U}) {
    const std::size_t count = 5000;
    const std::vector<float> data = MakeRows(count, dim, 3);
    const EmbeddingsView columns{data.data(), count, dim};
    for (const std::string& target : SearchTargets()) {
      for (const ShortRows way : {ShortRows::kNever, ShortRows::kAlways}) {
        SearchOptions options = With(0.75F, 3);
        options.target = target;
        options.short_rows = way;
        const SearchIndex index = MakeIndex(columns, options);
        EXPECT_EQ(index.count(), count);
        EXPECT_EQ(index.dim(), dim);
        for (const std::size_t asked : {0U, 1U, 5U, 40U}) {
          const EmbeddingsView rows{data.data() + 17 * dim, asked, dim};
          options.threshold = kNoThreshold;
          for (const std::size_t k : {std::size_t{1}, std::size_t{10}, count + 1}) {
            if (k > count && asked > 1) continue;
            EXPECT_TRUE(Same(*index.Nearest(rows, k), *FindNearest(rows, columns, k, options))) << target << ' ' << k;
          }
          options.threshold = 0.8F;
          std::vector<SimilarPair> expected;
          EXPECT_TRUE(FindPairs(rows, columns, options, CollectInto(&expected)).ok());
          EXPECT_TRUE(Same(PairsInRange(index, rows, 0.8F), expected)) << target << ' ' << asked;
        }
      }
    }
  }
}

TEST(SearchIndexTest, OwnsRowsThatItIsGiven) {
  std::vector<float> data = MakeRows(100, 9, 3);
  const std::vector<float> copy = data;
  Result<SearchIndex> made = SearchIndex::Create(std::move(data), 9, With(0.5F));
  ASSERT_TRUE(made.ok());
  const SearchIndex index = *std::move(made);
  const EmbeddingsView view{copy.data(), 100, 9};
  EXPECT_TRUE(Same(*index.Nearest(view, 4), *FindNearest(view, view, 4, With(kNoThreshold))));
}

TEST(SearchIndexTest, RowsThatAreNotFiniteAndAnEmptyIndex) {
  std::vector<float> data = MakeRows(64, 130, 3);
  data[5] = std::numeric_limits<float>::quiet_NaN();
  data[300] = std::numeric_limits<float>::infinity();
  const EmbeddingsView view{data.data(), 64, 130};
  SearchOptions options = With(kNoThreshold);
  options.short_rows = ShortRows::kAlways;
  EXPECT_TRUE(Same(*MakeIndex(view, options).Nearest(view, 3), *FindNearest(view, view, 3, options)));
  const SearchIndex empty = MakeIndex({nullptr, 0, 130}, options);
  EXPECT_EQ((*empty.Nearest({data.data(), 1, 130}, 3))[0].size(), 0U);
  EXPECT_TRUE(PairsInRange(empty, {data.data(), 1, 130}, 0.5F).empty());
}

TEST(SearchIndexTest, Refuses) {
  const std::vector<float> data = MakeRows(20, 8, 3);
  const EmbeddingsView view{data.data(), 20, 8};
  const SearchIndex index = MakeIndex(view, {});
  const PairSink sink = [](const SimilarPair*, std::size_t) { return true; };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  SearchOptions warp;
  warp.target = "warp";
  SearchOptions approximate;
  approximate.method = SearchMethod::kApproximate;
  for (const Status& refused : {index.Nearest({data.data(), 10, 16}, 1).status(), index.Nearest(view, 0).status(),
                                index.Nearest(view, 1, nan).status(), index.Range({data.data(), 10, 16}, 0.5F, sink),
                                index.Range(view, nan, sink), SearchIndex::Create(view, warp).status(),
                                SearchIndex::Create(std::vector<float>(7), 2, {}).status(),
                                SearchIndex::Create(std::vector<float>(), 0, {}).status()}) {
    EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument) << refused.message();
  }
  EXPECT_FALSE(SearchIndex::Create(view, approximate).ok());
}

TEST(SearchIndexTest, TheSinkCancels) {
  const std::vector<float> data = MakeRows(20, 8, 3);
  const EmbeddingsView view{data.data(), 20, 8};
  const Status status = MakeIndex(view, {}).Range(view, -1.5F, [](const SimilarPair*, std::size_t) { return false; });
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace rrn
