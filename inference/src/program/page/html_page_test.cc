// The native side of the HTML page: which pairs it carries, what is counted, and that no text can break out of it.
#include "program/page/html_page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace rrn {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDim = 16;

// Rows around a few directions, so that there are pairs of every similarity, some rows twice.
std::vector<float> Rows(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  const auto next = [&] { return static_cast<float>(random() % 2001) / 1000.0F - 1.0F; };
  std::vector<float> centres(8 * kDim);
  for (float& value : centres) value = next();
  std::vector<float> rows;
  for (std::size_t row = 0; row < count; ++row) {
    if (row % 7 == 6) {
      const std::vector<float> earlier(rows.end() - 3 * kDim, rows.end() - 2 * kDim);
      rows.insert(rows.end(), earlier.begin(), earlier.end());
      continue;
    }
    const std::size_t centre = random() % 8;
    const float spread = 0.1F + static_cast<float>(random() % 100) / 100.0F;
    for (std::size_t k = 0; k < kDim; ++k) rows.push_back(centres[centre * kDim + k] + spread * next());
  }
  NormalizeRows(rows.data(), count, kDim);
  return rows;
}

using Pairs = std::map<std::pair<std::uint32_t, std::uint32_t>, float>;

Pairs AllPairs(const std::vector<float>& rows, float floor) {
  Pairs pairs;
  const std::size_t count = rows.size() / kDim;
  for (std::uint32_t i = 0; i < count; ++i) {
    for (std::uint32_t j = i + 1; j < count; ++j) {
      const float similarity = CosineSimilarity(rows.data() + i * kDim, rows.data() + j * kDim, kDim);
      if (similarity > floor) pairs[{i, j}] = similarity;
    }
  }
  return pairs;
}

Pairs AsMap(const PagePairs& page) {
  Pairs pairs;
  for (const SimilarPair& pair : page.pairs) pairs[{pair.first, pair.second}] = pair.similarity;
  return pairs;
}

// What a run collects for a page.
PagePairs Collect(const EmbeddingsView& unit, float threshold, std::uint64_t max_pairs, int threads = 0) {
  PagePairCollector collector(0.5F, max_pairs);
  SearchOptions options;
  options.threshold = threshold;
  options.threads = threads;
  options.sink_threshold = collector.Begin(unit, threshold);
  const Result<Grouping> grouping = GroupRows(unit, options, {}, [&](const SimilarPair* pairs, std::size_t count) {
    collector.Add(pairs, count);
    return true;
  });
  EXPECT_TRUE(grouping.ok()) << grouping.status().message();
  return collector.Take();
}

TEST(PagePairCollectorTest, AllAboveTheFloorAndTheFloorAsLowAsPossible) {
  const std::vector<float> rows = Rows(300, 1);
  const EmbeddingsView view{rows.data(), 300, kDim};
  const Pairs all = AllPairs(rows, 0.5F);
  ASSERT_GT(all.size(), 2000U);
  for (const std::size_t most :
       {std::size_t{1}, std::size_t{17}, std::size_t{1000}, all.size() - 1, all.size(), all.size() + 1}) {
    const PagePairs page = Collect(view, 0.75F, most);
    EXPECT_LE(page.pairs.size(), most);
    EXPECT_EQ(AsMap(page), AllPairs(rows, page.floor)) << most;
    EXPECT_TRUE(std::is_sorted(page.pairs.begin(), page.pairs.end(),
                               [](const auto& a, const auto& b) { return a.similarity > b.similarity; }));
    if (most >= all.size()) {
      EXPECT_EQ(page.floor, 0.5F);
    } else {
      // One step lower there would be too many.
      const auto at_floor = static_cast<std::size_t>(
          std::count_if(all.begin(), all.end(), [&](const auto& entry) { return entry.second >= page.floor; }));
      EXPECT_GT(at_floor, most);
    }
  }
}

TEST(PagePairCollectorTest, DoesNotDependOnThreads) {
  const std::vector<float> rows = Rows(900, 2);
  const EmbeddingsView view{rows.data(), 900, kDim};
  std::set<std::pair<float, std::size_t>> results;
  for (const int threads : {1, 2, 5}) {
    const PagePairs page = Collect(view, 0.9F, 500, threads);
    EXPECT_EQ(AsMap(page), AllPairs(rows, page.floor));
    results.insert({page.floor, page.pairs.size()});
  }
  EXPECT_EQ(results.size(), 1U);
}

TEST(CountSimilaritiesTest, AllPairsOfFewAndASampleOfMany) {
  const std::vector<float> rows = Rows(1500, 3);
  const Result<PageHistogram> few = CountSimilarities({rows.data(), 100, kDim}, {});
  ASSERT_TRUE(few.ok());
  EXPECT_TRUE(few->all);
  EXPECT_EQ(few->pairs, 4950U);
  EXPECT_EQ(std::accumulate(few->counts.begin(), few->counts.end(), std::uint64_t{0}), 4950U);
  const std::vector<float> first(rows.begin(), rows.begin() + 100 * kDim);
  EXPECT_EQ(std::accumulate(few->counts.begin() + 150, few->counts.end(), std::uint64_t{0}),
            AllPairs(first, 0.5F).size());
  const Result<PageHistogram> many = CountSimilarities({rows.data(), 1500, kDim}, {});
  const Result<PageHistogram> again = CountSimilarities({rows.data(), 1500, kDim}, {});
  ASSERT_TRUE(many.ok() && again.ok());
  EXPECT_FALSE(many->all);
  EXPECT_EQ(many->pairs, 1'000'000U);
  EXPECT_EQ(many->counts, again->counts);
  EXPECT_EQ(CountSimilarities({rows.data(), 0, kDim}, {})->pairs, 0U);
  const auto stop = [](std::size_t /*done*/, std::size_t /*total*/) { return false; };
  EXPECT_EQ(CountSimilarities({rows.data(), 1500, kDim}, stop).status().code(), StatusCode::kCancelled);
}

class PageTest : public testing::Test {
 protected:
  PageTest() {
    std::string name = (fs::temp_directory_path() / "rrn_page_XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~PageTest() override { fs::remove_all(folder_); }

  // Writes a grey BMP of `side` x `side` pixels.
  SimilarityResult Report(const std::vector<std::string>& paths) {
    SimilarityResult result;
    result.model.dim = 2;
    result.model.file = "model.onnx";
    result.paths = paths;
    result.images.resize(paths.size());
    for (std::size_t i = 0; i < paths.size(); ++i) {
      result.embeddings.push_back(1.0F);
      result.embeddings.push_back(0.1F * static_cast<float>(i));
    }
    std::vector<float> unit = result.embeddings;
    NormalizeRows(unit.data(), paths.size(), 2);
    SearchOptions search;
    search.threshold = result.threshold;
    result.grouping = *GroupRows({unit.data(), paths.size(), 2}, search);
    return result;
  }

  static Result<HtmlPage> Make(const SimilarityResult& result, const HtmlPageOptions& options = {},
                               const PhaseProgress& progress = {}) {
    std::vector<float> unit = result.embeddings;
    NormalizeRows(unit.data(), unit.size() / 2, 2);
    PagePairs pairs = Collect({unit.data(), unit.size() / 2, 2}, result.threshold, options.max_pairs);
    return MakeHtmlPage(result, std::move(pairs), options, progress);
  }

  static std::string Text(const HtmlPage& page) {
    std::ostringstream out;
    WriteHtmlPage(page, out);
    return out.str();
  }

  std::string folder_;
};

TEST_F(PageTest, ShowsTheThumbnailsOfTheRunAndSaysWhatIsMissing) {
  SimilarityResult result = Report({"a.bmp", "b.bmp", "c.bmp"});
  result.images[0].file.bytes = 12345;
  result.images[0].width = 320;
  result.images[0].height = 200;
  for (const std::size_t i : {0U, 1U}) result.images[i].thumbnail = {'J', 'P', static_cast<std::uint8_t>('0' + i)};
  const Result<HtmlPage> page = Make(result);
  ASSERT_TRUE(page.ok()) << page.status().message();
  const std::string text = Text(*page);
  EXPECT_NE(text.find("\"a.bmp\",320,200,12345]"), std::string::npos);
  EXPECT_NE(text.find("[\"SlAw\",\"SlAx\",\"\"]"), std::string::npos);
  EXPECT_FALSE(page->limited);

  HtmlPageOptions options;
  options.max_thumbnails = 1;
  const Result<HtmlPage> limited = Make(result, options);
  ASSERT_TRUE(limited.ok());
  EXPECT_TRUE(limited->limited);
  EXPECT_FALSE(MissingFromPage(*limited).empty());
  EXPECT_EQ(std::count(limited->with_thumbnail.begin(), limited->with_thumbnail.end(), true), 1);
}

TEST_F(PageTest, CanBeCancelled) {
  const SimilarityResult result = Report({"a.bmp", "b.bmp"});
  const auto progress = [](const char* /*phase*/, std::size_t /*done*/, std::size_t /*total*/) { return false; };
  EXPECT_EQ(Make(result, {}, progress).status().code(), StatusCode::kCancelled);
}

TEST_F(PageTest, NeedsTheEmbeddings) {
  SimilarityResult result = Report({"a.bmp"});
  result.embeddings.clear();
  EXPECT_EQ(Make(result).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(PageTest, NoTextBreaksOut) {
  const std::string hostile = "</script><script>alert(1)</script><!--\xE2\x80\xA8\"'\\&\xFF\n%%DATA%%.bmp";
  SimilarityResult result = Report({"photos/" + hostile, "photos/b.bmp"});
  result.skipped.push_back({"photos/" + hostile, "</script>" + hostile});
  const Result<HtmlPage> page = Make(result);
  ASSERT_TRUE(page.ok());
  const std::string text = Text(*page);
  const std::string plain = Text(*Make(Report({"photos/a.bmp", "photos/b.bmp"})));
  const auto count = [](const std::string& in, const std::string& what) {
    std::size_t found = 0;
    for (std::size_t at = in.find(what); at != std::string::npos; at = in.find(what, at + 1)) ++found;
    return found;
  };
  EXPECT_GT(count(plain, "</script"), 2U);
  for (const char* word : {"<script", "</script", "<!--", "\xE2\x80\xA8", "\xFF"}) {
    EXPECT_EQ(count(text, word), count(plain, word)) << word;
  }
  EXPECT_NE(text.find("\\u003c/script\\u003e"), std::string::npos);
  EXPECT_NE(text.find("\\udcff"), std::string::npos);
  EXPECT_EQ(text, Text(*page)) << "same page, same bytes";
}

TEST_F(PageTest, LinksAreRelativeToThePage) {
  fs::create_directories(folder_ + "/odd %#?:name");
  const SimilarityResult result = Report({folder_ + "/odd %#?:name/a.bmp", folder_ + "/b.bmp"});
  HtmlPageOptions options;
  options.path = folder_ + "/results/page.html";
  const std::string text = Text(*Make(result, options));
  EXPECT_NE(text.find("\"./../odd%20%25%23%3F%3Aname/\""), std::string::npos);
  EXPECT_NE(text.find("\"./../\""), std::string::npos);
}

TEST_F(PageTest, GroupsComeAlongWhereTheFloorIsAboveTheThreshold) {
  const SimilarityResult result = Report({"a", "b", "c", "d"});
  HtmlPageOptions options;
  options.path = "page.html";
  const Result<HtmlPage> whole = Make(result, options);
  EXPECT_NE(Text(*whole).find("\"groups\":null"), std::string::npos);
  EXPECT_EQ(MissingFromPage(*whole), "");
  options.max_pairs = 1;
  const Result<HtmlPage> few = Make(result, options);
  EXPECT_GT(few->pairs.floor, result.threshold);
  EXPECT_EQ(Text(*few).find("\"groups\":null"), std::string::npos);
  EXPECT_NE(MissingFromPage(*few).find("--html-pairs"), std::string::npos);
}

}  // namespace
}  // namespace rrn
