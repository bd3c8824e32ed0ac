// What the page shows: pairs, a histogram, thumbnails.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/text.h"
#include "program/page/html_page.h"

namespace rrn {
namespace {

constexpr std::uint64_t kMostCountedPairs = 1'000'000;
constexpr std::size_t kBins = 200;
// Between two calls that may cancel.
constexpr std::uint64_t kPairsPerStep = 1U << 16U;

std::uint64_t PairsOf(std::size_t count) {
  const std::uint64_t n = count;
  return n < 2 ? 0 : (n % 2 == 0 ? n / 2 * (n - 1) : (n - 1) / 2 * n);
}

// Draws pairs of different rows. Only what the standard fixes bit for bit is used, so every machine draws the same.
class PairSampler {
 public:
  explicit PairSampler(const EmbeddingsView& unit) : unit_(unit) {}

  float Next() {
    const std::size_t first = random_() % unit_.count;
    std::size_t second = random_() % (unit_.count - 1);
    if (second >= first) ++second;
    return CosineSimilarity(unit_.data + first * unit_.dim, unit_.data + second * unit_.dim, unit_.dim);
  }

 private:
  EmbeddingsView unit_;
  std::mt19937_64 random_;  // NOLINT(cert-msc51-cpp): the same numbers every time, on purpose
};

// Where the search begins: so high that a few times `max_pairs` are expected, by a sample, but not above `threshold`,
// down to which the run itself has searched. Without this, a model that finds everything a little similar would make
// the search for the page take much longer than the run.
float StartingFloor(const EmbeddingsView& unit, float wanted, float threshold, std::uint64_t max_pairs) {
  constexpr std::size_t kSample = 200'000;
  constexpr std::size_t kLeast = 32;  // fewer would say too little
  const std::uint64_t total = PairsOf(unit.count);
  const double share = 4.0 * static_cast<double>(max_pairs) / static_cast<double>(std::max<std::uint64_t>(total, 1));
  if (share >= 1 || threshold <= wanted || total <= kSample) return wanted;
  std::vector<float> sample(kSample);
  PairSampler sampler(unit);
  for (float& similarity : sample) similarity = sampler.Next();
  const auto at =
      std::min(std::max(static_cast<std::size_t>(share * static_cast<double>(kSample)), kLeast), kSample - 1);
  std::nth_element(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(at), sample.end(), std::greater<>());
  return std::clamp(sample[at], wanted, threshold);
}

// Raises the floor until at most `most` pairs are above it. Whenever it is called in between, the result is the same
// in the end: the similarity of the first pair that is too many.
void Trim(std::size_t most, PagePairs* page) {
  std::vector<SimilarPair>& pairs = page->pairs;
  if (pairs.size() <= most) return;
  const auto boundary = pairs.begin() + static_cast<std::ptrdiff_t>(most);
  std::nth_element(pairs.begin(), boundary, pairs.end(),
                   [](const SimilarPair& a, const SimilarPair& b) { return a.similarity > b.similarity; });
  page->floor = boundary->similarity;
  const float floor = page->floor;
  pairs.erase(std::remove_if(pairs.begin(), pairs.end(),
                             [floor](const SimilarPair& pair) { return !(pair.similarity > floor); }),
              pairs.end());
}

void CountOne(float similarity, PageHistogram* histogram) {
  const double place = std::clamp((static_cast<double>(similarity) + 1) * 100, 0.0, kBins - 1.0);
  ++histogram->counts[static_cast<std::size_t>(place)];
  ++histogram->pairs;
}

// Images whose thumbnails are wanted: the ones that some threshold puts into a group.
std::vector<bool> WantedThumbnails(const HtmlPage& page, std::size_t most, bool* limited) {
  const SimilarityResult& result = *page.result;
  const std::size_t count = result.paths.size();
  constexpr float kNone = -2.0F;  // below every cosine
  std::vector<float> best(count, count <= kPageSmallFolder ? -1.5F : kNone);
  const auto see = [&best](std::uint32_t index, float similarity) { best[index] = std::max(best[index], similarity); };
  for (const SimilarPair& pair : page.pairs.pairs) {
    see(pair.first, pair.similarity);
    see(pair.second, pair.similarity);
  }
  for (const Group& group : result.grouping.groups) {
    for (const Neighbour& member : group.members) {
      see(group.representative, member.similarity);
      see(member.index, member.similarity);
    }
  }
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  order.erase(std::remove_if(order.begin(), order.end(), [&](std::uint32_t i) { return best[i] == kNone; }),
              order.end());
  *limited = order.size() > most;
  if (*limited) {
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return best[a] != best[b] ? best[a] > best[b] : a < b; });
    order.resize(most);
  }
  std::vector<bool> wanted(count, false);
  for (const std::uint32_t i : order) wanted[i] = true;
  return wanted;
}

}  // namespace

PagePairCollector::PagePairCollector(float wanted, std::uint64_t max_pairs)
    : most_(static_cast<std::size_t>(max_pairs)) {
  page_.wanted = wanted;
}

float PagePairCollector::Begin(const EmbeddingsView& unit, float threshold) {
  page_.floor = StartingFloor(unit, std::min(page_.wanted, threshold), threshold, most_);
  return page_.floor;
}

void PagePairCollector::Add(const SimilarPair* pairs, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (pairs[i].similarity > page_.floor) page_.pairs.push_back(pairs[i]);
    if (page_.pairs.size() >= 2 * most_) Trim(most_, &page_);
  }
}

PagePairs PagePairCollector::Take() {
  Trim(most_, &page_);
  std::sort(page_.pairs.begin(), page_.pairs.end(), [](const SimilarPair& a, const SimilarPair& b) {
    if (a.similarity != b.similarity) return a.similarity > b.similarity;
    return std::tie(a.first, a.second) < std::tie(b.first, b.second);
  });
  return std::exchange(page_, {});
}

Result<PageHistogram> CountSimilarities(const EmbeddingsView& unit, const Progress& progress) {
  PageHistogram histogram;
  histogram.counts.assign(kBins, 0);
  const std::uint64_t total = PairsOf(unit.count);
  histogram.all = total <= kMostCountedPairs;
  const std::uint64_t wanted = std::min(total, kMostCountedPairs);
  const auto goes_on = [&] {
    return histogram.pairs % kPairsPerStep != 0 || !progress || progress(histogram.pairs, wanted);
  };
  const Status cancelled(StatusCode::kCancelled, "cancelled");
  if (histogram.all) {
    for (std::size_t first = 0; first < unit.count; ++first) {
      for (std::size_t second = first + 1; second < unit.count; ++second) {
        if (!goes_on()) return cancelled;
        CountOne(CosineSimilarity(unit.data + first * unit.dim, unit.data + second * unit.dim, unit.dim), &histogram);
      }
    }
    return histogram;
  }
  PairSampler sampler(unit);
  while (histogram.pairs < wanted) {
    if (!goes_on()) return cancelled;
    CountOne(sampler.Next(), &histogram);
  }
  return histogram;
}

Result<HtmlPage> MakeHtmlPage(const SimilarityResult& result, PagePairs pairs, const HtmlPageOptions& options,
                              const PhaseProgress& progress) {
  const std::size_t count = result.paths.size();
  const auto dim = static_cast<std::size_t>(result.model.dim);
  if (result.embeddings.size() != count * dim || options.max_pairs < 1) {
    return Status(StatusCode::kInvalidArgument,
                  "the page needs the embeddings of all images and room for a pair; got " +
                      std::to_string(result.embeddings.size()) + " numbers for " + std::to_string(count) +
                      " images, and room for " + std::to_string(options.max_pairs) + " pairs");
  }
  HtmlPage page;
  page.result = &result;
  page.path = options.path;
  page.pairs = std::move(pairs);
  Progress pairs_progress;
  if (progress) {
    pairs_progress = [&progress](std::size_t done, std::size_t total) { return progress("pairs", done, total); };
  }
  {
    std::vector<float> unit = result.embeddings;
    NormalizeRows(unit.data(), count, dim);
    const EmbeddingsView view{unit.data(), count, dim};
    Result<PageHistogram> histogram = CountSimilarities(view, pairs_progress);
    if (!histogram.ok()) return histogram.status();
    page.histogram = *std::move(histogram);
  }
  if (result.keep != RepresentativePolicy::kMostSimilar) page.rank = RankImages(result.images, result.keep);
  page.with_thumbnail = WantedThumbnails(page, options.max_thumbnails, &page.limited);
  return page;
}

std::string MissingFromPage(const HtmlPage& page) {
  std::string text;
  if (page.pairs.floor > page.pairs.wanted) {
    text = page.path + " knows the pairs above " + ShortestText(page.pairs.floor) + " instead of " +
           ShortestText(page.pairs.wanted) + ", so that they are not too many (--html-pairs)";
  }
  if (page.limited) {
    text += (text.empty() ? page.path + " has" : std::string("; it has")) +
            " thumbnails of the images with the most similar partners only, so that browsers can open it";
  }
  return text;
}

}  // namespace rrn
