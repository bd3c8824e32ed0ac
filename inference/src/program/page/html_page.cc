// The page as text.
#include "program/page/html_page.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/text.h"
#include "rrn/version.h"

namespace rrn {
namespace internal {

// Written by CMake from page.html, page.css and the .js files.
extern const char* const kPageHtml;
extern const char* const kPageCss;
extern const char* const kPageCssSha256;
extern const char* const kPageJs;
extern const char* const kPageJsSha256;

}  // namespace internal

namespace {

namespace fs = std::filesystem;

// Thumbnails travel in blocks, so that the page reads only those that are shown.
constexpr std::size_t kThumbnailBlock = 128;

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

}  // namespace rrn
