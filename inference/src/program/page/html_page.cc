#include "program/page/html_page.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "base/text.h"
#include "rrn/version.h"

namespace rrn {
namespace internal {

// Written by CMake from page.html, page.css and page.js.
extern const char* const kPageHtml;
extern const char* const kPageCss;
extern const char* const kPageCssSha256;
extern const char* const kPageJs;
extern const char* const kPageJsSha256;

}  // namespace internal

namespace {

namespace fs = std::filesystem;

// Thumbnails travel in blocks, so that the page reads only those that somebody looks at.
constexpr std::size_t kThumbnailBlock = 128;
constexpr std::uint64_t kMostCountedPairs = 1'000'000;
constexpr std::size_t kBins = 200;
// Between two chances to cancel.
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

// Text ------------------------------------------------------------------------------------------------------------

// A JSON string that can stand inside a <script> element: nothing in it can end the element or begin a comment.
std::string ScriptString(const std::string& text) {
  std::string safe;
  const std::string json = JsonString(text);
  for (std::size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '<') {
      safe += "\\u003c";
    } else if (json[i] == '>') {
      safe += "\\u003e";
    } else if (json[i] == '&') {
      safe += "\\u0026";
    } else if (json.compare(i, 3, "\xE2\x80\xA8") == 0 || json.compare(i, 3, "\xE2\x80\xA9") == 0) {
      // Line breaks to JavaScript before 2019.
      safe += json[i + 2] == '\xA8' ? "\\u2028" : "\\u2029";
      i += 2;
    } else {
      safe += json[i];
    }
  }
  return safe;
}

std::string Base64(const std::vector<std::uint8_t>& bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(bytes.size() - i, 3);
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k) word = word << 8U | (k < left ? bytes[i + k] : 0U);
    for (std::size_t k = 0; k < 4; ++k) text += k <= left ? kDigits[word >> (18 - 6 * k) & 63U] : '=';
  }
  return text;
}

// How a Content-Security-Policy names an element's text: 'sha256-...'.
std::string PolicySource(std::string_view hexadecimal) {
  const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i + 1 < hexadecimal.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(digit(hexadecimal[i]) << 4U | digit(hexadecimal[i + 1])));
  }
  return "'sha256-" + Base64(bytes) + "'";
}

// Any bytes as a part of a URL's path.
std::string PercentEncoded(const std::string& path) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
  constexpr std::string_view kHexadecimal = "0123456789ABCDEF";
  std::string url;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (kPlain.find(c) != std::string_view::npos) {
      url += c;
    } else {
      url += '%';
      url += kHexadecimal[byte >> 4U];
      url += kHexadecimal[byte & 15U];
    }
  }
  return url;
}

// The path up to its last '/', that included.
std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/') + 1); }

// A link from the page to a folder, ending in '/'.
std::string FolderLink(const std::string& folder, const std::string& page) {
  std::error_code error;
  // An empty name stands for the current folder.
  const fs::path to = fs::absolute(folder.empty() ? "." : folder, error).lexically_normal();
  const fs::path from = fs::absolute(page, error).lexically_normal().parent_path();
  std::string link = to.lexically_relative(from).string();
  if (link.empty()) return "file://" + PercentEncoded(to.string());
  if (link.back() != '/') link += '/';
  // "./": a name with a colon would be taken for a protocol.
  return "./" + PercentEncoded(link);
}

// Writes "[a,b,...]" of what `write` puts out for each of `count` positions.
template <typename Write>
void WriteList(std::size_t count, std::ostream& out, const Write& write) {
  out << '[';
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) out << ',';
    write(i);
  }
  out << ']';
}

void WriteHeader(const HtmlPage& page, std::ostream& out) {
  const SimilarityResult& result = *page.result;
  const ModelInfo& model = result.model;
  out << "\"rrn\":" << ScriptString(Version()) << ",\n\"model\":{\"file\":" << ScriptString(model.file)
      << ",\"origin\":" << ScriptString(model.weights_origin) << ",\"sha256\":" << ScriptString(model.weights_sha256)
      << ",\"size\":" << std::to_string(model.size) << ",\"provider\":" << ScriptString(model.provider)
      << ",\"precision\":" << ScriptString(model.precision) << "},\n\"threshold\":" << ShortestText(result.threshold)
      << ",\"wanted\":" << ShortestText(page.pairs.wanted) << ",\"floor\":" << ShortestText(page.pairs.floor)
      << ",\"limited\":" << (page.limited ? "true" : "false") << ",\"approximate\":";
  if (result.search == SearchMethod::kExact) {
    out << "null";
  } else {
    out << "{\"pairs\":" << std::to_string(result.recall.pairs) << ",\"found\":" << std::to_string(result.recall.found)
        << '}';
  }
  out << ",\n\"files\":" << std::to_string(result.files()) << ",\"read\":" << std::to_string(result.paths.size())
      << ",\n\"skipped\":";
  WriteList(result.skipped.size(), out, [&](std::size_t i) {
    out << "\n[" << ScriptString(result.skipped[i].path) << ',' << ScriptString(result.skipped[i].reason) << ']';
  });
}

void WriteImages(const HtmlPage& page, std::ostream& out) {
  const std::vector<std::string>& paths = page.result->paths;
  std::map<std::string, std::size_t> places;
  std::vector<std::string> folders;
  for (const std::string& path : paths) {
    if (places.emplace(FolderOf(path), folders.size()).second) folders.push_back(FolderOf(path));
  }
  out << ",\n\"folders\":";
  WriteList(folders.size(), out, [&](std::size_t i) {
    out << "\n[" << ScriptString(folders[i]) << ',' << ScriptString(FolderLink(folders[i], page.path)) << ']';
  });
  out << ",\n\"images\":";
  WriteList(paths.size(), out, [&](std::size_t i) {
    const std::string folder = FolderOf(paths[i]);
    const ImageRecord& image = page.result->images[i];
    out << "\n[" << std::to_string(places[folder]) << ',' << ScriptString(paths[i].substr(folder.size())) << ','
        << std::to_string(image.width) << ',' << std::to_string(image.height) << ',' << std::to_string(image.file.bytes)
        << ']';
  });
}

void WritePairs(const HtmlPage& page, std::ostream& out) {
  const std::vector<SimilarPair>& pairs = page.pairs.pairs;
  out << ",\n\"first\":";
  WriteList(pairs.size(), out, [&](std::size_t i) { out << std::to_string(pairs[i].first); });
  out << ",\n\"second\":";
  WriteList(pairs.size(), out, [&](std::size_t i) { out << std::to_string(pairs[i].second); });
  out << ",\n\"similarity\":";
  WriteList(pairs.size(), out, [&](std::size_t i) { out << ShortestText(pairs[i].similarity); });
  out << ",\n\"rank\":";
  if (page.rank.empty()) {
    out << "null";
  } else {
    WriteList(page.rank.size(), out, [&](std::size_t i) { out << std::to_string(page.rank[i]); });
  }
  // Where the floor is above the threshold, the script cannot make the run's own groups.
  out << ",\n\"groups\":";
  const std::vector<Group>& groups = page.result->grouping.groups;
  if (page.pairs.floor <= page.result->threshold) {
    out << "null";
    return;
  }
  WriteList(groups.size(), out, [&](std::size_t i) {
    out << "\n[" << std::to_string(groups[i].representative) << ',';
    WriteList(groups[i].members.size(), out, [&](std::size_t k) {
      const Neighbour& member = groups[i].members[k];
      out << '[' << std::to_string(member.index) << ',' << ShortestText(member.similarity) << ']';
    });
    out << ']';
  });
}

void WriteHistogram(const PageHistogram& histogram, std::ostream& out) {
  out << ",\n\"histogram\":{\"all\":" << (histogram.all ? "true" : "false")
      << ",\"pairs\":" << std::to_string(histogram.pairs) << ",\"counts\":";
  WriteList(histogram.counts.size(), out, [&](std::size_t i) { out << std::to_string(histogram.counts[i]); });
  out << '}';
}

void WriteData(const HtmlPage& page, std::ostream& out) {
  out << '{';
  WriteHeader(page, out);
  WriteImages(page, out);
  WritePairs(page, out);
  WriteHistogram(page.histogram, out);
  out << ",\n\"block\":" << std::to_string(kThumbnailBlock) << '}';
}

void WriteThumbnails(const HtmlPage& page, std::ostream& out) {
  const std::vector<ImageRecord>& images = page.result->images;
  for (std::size_t begin = 0; begin < images.size(); begin += kThumbnailBlock) {
    out << R"(<script type="application/json" class="thumbnails">)";
    WriteList(std::min(kThumbnailBlock, images.size() - begin), out, [&](std::size_t i) {
      out << '"' << (page.with_thumbnail[begin + i] ? Base64(images[begin + i].thumbnail) : "") << '"';
    });
    out << "</script>\n";
  }
}

}  // namespace

Result<PagePairs> CollectPagePairs(const EmbeddingsView& unit, float wanted, float threshold, SearchMethod method,
                                   const HtmlPageOptions& options, const Progress& progress) {
  PagePairs page;
  page.wanted = wanted;
  page.floor = StartingFloor(unit, wanted, threshold, options.max_pairs);
  const auto most = static_cast<std::size_t>(options.max_pairs);
  const PairSink sink = [&](const SimilarPair* pairs, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      if (pairs[i].similarity > page.floor) page.pairs.push_back(pairs[i]);
      if (page.pairs.size() >= 2 * most) Trim(most, &page);
    }
    return true;
  };
  SearchOptions search;
  search.threshold = page.floor;
  search.threads = options.threads;
  search.method = method;
  search.approximate = options.approximate;
  search.progress = progress;
  Status status = FindPairs(unit, search, sink);
  if (!status.ok()) return status;
  Trim(most, &page);
  std::sort(page.pairs.begin(), page.pairs.end(), [](const SimilarPair& a, const SimilarPair& b) {
    if (a.similarity != b.similarity) return a.similarity > b.similarity;
    return std::tie(a.first, a.second) < std::tie(b.first, b.second);
  });
  return page;
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

Result<HtmlPage> MakeHtmlPage(const SimilarityResult& result, const HtmlPageOptions& options,
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
  Progress pairs_progress;
  if (progress) {
    pairs_progress = [&progress](std::size_t done, std::size_t total) { return progress("pairs", done, total); };
  }
  {
    std::vector<float> unit = result.embeddings;
    NormalizeRows(unit.data(), count, dim);
    const EmbeddingsView view{unit.data(), count, dim};
    Result<PagePairs> pairs = CollectPagePairs(view, std::min(result.threshold, kPageFloor), result.threshold,
                                               result.search, options, pairs_progress);
    if (!pairs.ok()) return pairs.status();
    page.pairs = *std::move(pairs);
    Result<PageHistogram> histogram = CountSimilarities(view, pairs_progress);
    if (!histogram.ok()) return histogram.status();
    page.histogram = *std::move(histogram);
  }
  if (result.keep != RepresentativePolicy::kMostSimilar) page.rank = RankImages(result.images, result.keep);
  page.with_thumbnail = WantedThumbnails(page, options.max_thumbnails, &page.limited);
  return page;
}

void WriteHtmlPage(const HtmlPage& page, std::ostream& out) {
  constexpr std::string_view kMark = "%%";
  const std::string_view html = internal::kPageHtml;
  std::size_t at = 0;
  while (true) {
    const std::size_t begin = html.find(kMark, at);
    const std::size_t end = begin == std::string_view::npos ? begin : html.find(kMark, begin + kMark.size());
    if (end == std::string_view::npos) break;
    out << html.substr(at, begin - at);
    const std::string_view name = html.substr(begin + kMark.size(), end - begin - kMark.size());
    if (name == "POLICY") {
      out << "default-src 'none'; img-src data:; style-src " << PolicySource(internal::kPageCssSha256)
          << "; script-src " << PolicySource(internal::kPageJsSha256) << "; base-uri 'none'; form-action 'none'";
    } else if (name == "STYLE") {
      out << internal::kPageCss;
    } else if (name == "SCRIPT") {
      out << internal::kPageJs;
    } else if (name == "DATA") {
      WriteData(page, out);
    } else if (name == "THUMBNAILS") {
      WriteThumbnails(page, out);
    }
    at = end + kMark.size();
  }
  out << html.substr(at);
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
