// Writing results.
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "rrn/similarity.h"

namespace rrn {
namespace {

// Fixed decimals. std::to_chars knows no locale, unlike printf and streams, whose decimal point may be a comma.
std::string Decimals(float value, int digits) {
  std::array<char, 64> text;
  const auto result = std::to_chars(text.begin(), text.end(), value, std::chars_format::fixed, digits);
  return {text.begin(), result.ptr};
}

// Streams write integers with the thousands separators of their locale.
std::string Digits(std::size_t value) { return std::to_string(value); }

// Length of the UTF-8 sequence at text[i], or 0 if the bytes there are none (RFC 3629: no overlong forms, surrogates or
// values above U+10FFFF).
std::size_t Utf8Length(const std::string& text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0U; };
  const auto continues = [&](std::size_t k) { return (byte(k) & 0xc0U) == 0x80U; };
  const unsigned lead = byte(i);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(i + 1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (lead == 0xe0 && byte(i + 1) < 0xa0) return 0;
    if (lead == 0xed && byte(i + 1) > 0x9f) return 0;
    return continues(i + 1) && continues(i + 2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (lead == 0xf0 && byte(i + 1) < 0x90) return 0;
    if (lead == 0xf4 && byte(i + 1) > 0x8f) return 0;
    return continues(i + 1) && continues(i + 2) && continues(i + 3) ? 4 : 0;
  }
  return 0;
}

// A path on a line of its own: control characters would break the line.
std::string OneLinePath(std::string path) {
  for (char& c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return path;
}

std::string Padded(const std::string& text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string Count(std::size_t n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

const std::string& RepresentativePath(const SimilarityReport& report, const Group& group) {
  return (report.reference ? report.reference->paths : report.paths)[group.representative];
}

// For each image (or reference image), how many others it was compared with and is not similar to.
std::vector<std::size_t> Dissimilar(const SimilarityReport& report, bool of_references) {
  if (!report.reference) {
    std::vector<std::size_t> counts;
    for (const std::uint32_t similar : report.grouping.similar) counts.push_back(report.paths.size() - 1 - similar);
    return counts;
  }
  const std::vector<std::uint32_t>& similar = of_references ? report.reference->similar : report.grouping.similar;
  const std::size_t others = of_references ? report.paths.size() : report.reference->paths.size();
  std::vector<std::size_t> counts(similar.size());
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = others - similar[i];
  for (const SameFile& file : report.reference->same_files) --counts[of_references ? file.reference : file.image];
  return counts;
}

// Rows of one table of the text form: similarity, number of dissimilar images, path.
class Table {
 public:
  Table(const SimilarityReport& report, std::ostream& out)
      : report_(report), dissimilar_(Dissimilar(report, false)), out_(out) {
    if (report.reference) reference_dissimilar_ = Dissimilar(report, true);
  }

  void Row(const std::string& similarity, std::uint32_t index) {
    Line(similarity, dissimilar_[index], report_.paths[index]);
  }

  void Representative(const Group& group) {
    const std::uint32_t index = group.representative;
    Line("-", report_.reference ? reference_dissimilar_[index] : dissimilar_[index],
         RepresentativePath(report_, group));
  }

 private:
  void Line(const std::string& similarity, std::size_t dissimilar, const std::string& path) {
    out_ << Padded(similarity, 12) << Padded(std::to_string(dissimilar), 12) << "  " << OneLinePath(path) << '\n';
  }

  const SimilarityReport& report_;
  const std::vector<std::size_t> dissimilar_;
  std::vector<std::size_t> reference_dissimilar_;
  std::ostream& out_;
};

void WriteSkipped(const std::vector<SkippedFile>& skipped, std::ostream& out) {
  out << "\"skipped\":[";
  const char* separator = "\n  ";
  for (const SkippedFile& file : skipped) {
    out << separator << "{\"path\":" << JsonString(file.path) << ",\"reason\":" << JsonString(file.reason) << '}';
    separator = ",\n  ";
  }
  out << "],\n";
}

void WriteReference(const SimilarityReport& report, std::ostream& out) {
  const ReferenceReport& reference = *report.reference;
  out << R"("reference":{"folder":)" << JsonString(reference.folder) << ",\"files\":" << Digits(reference.files())
      << ",\"read\":" << Digits(reference.paths.size()) << ",\"known\":" << Digits(reference.known)
      << ",\"new\":" << Digits(reference.fresh) << ",\n";
  WriteSkipped(reference.skipped, out);
  out << "\"same_files\":[";
  const char* separator = "\n  ";
  for (const SameFile& file : reference.same_files) {
    out << separator << "{\"path\":" << JsonString(report.paths[file.image])
        << ",\"reference\":" << JsonString(reference.paths[file.reference]) << '}';
    separator = ",\n  ";
  }
  out << "]},\n";
}

void WriteRedundant(const SimilarityReport& report, std::ostream& out) {
  out << "\"redundant\":[";
  const char* separator = "\n  ";
  for (const RedundantImage& image : RedundantImages(report)) {
    out << separator << "{\"path\":" << JsonString(image.path) << ",\"kept\":" << JsonString(image.kept)
        << ",\"similarity\":" << Decimals(image.similarity, 6) << '}';
    separator = ",\n  ";
  }
  out << "],\n";
}

void WriteGroups(const SimilarityReport& report, std::ostream& out) {
  out << "\"groups\":[";
  const char* separator = "\n  ";
  for (const Group& group : report.grouping.groups) {
    out << separator << "{\"representative\":" << JsonString(RepresentativePath(report, group)) << ",\"members\":[";
    separator = ",\n  ";
    const char* member_separator = "";
    for (const GroupMember& member : group.members) {
      out << member_separator << "\n    {\"path\":" << JsonString(report.paths[member.index])
          << ",\"similarity\":" << Decimals(member.similarity, 6) << '}';
      member_separator = ",";
    }
    out << "]}";
  }
  out << "],\n";
}

// The recall is of the pairs, as far as a sample tells; null if the sample had none.
void WriteSearch(const SimilarityReport& report, std::ostream& out) {
  if (report.search == SearchMethod::kExact) {
    out << R"("search":{"method":"exact","recall":1},)" << '\n';
    return;
  }
  out << R"("search":{"method":"approximate","recall":)"
      << (report.recall.pairs == 0 ? "null" : Decimals(static_cast<float>(report.recall.value()), 4)) << "},\n";
}

void WriteImages(const SimilarityReport& report, std::ostream& out) {
  out << "\"images\":[";
  const char* separator = "\n  ";
  const std::vector<std::size_t> dissimilar = Dissimilar(report, false);
  for (std::size_t i = 0; i < report.paths.size(); ++i) {
    out << separator << "{\"path\":" << JsonString(report.paths[i])
        << ",\"similar\":" << Digits(report.grouping.similar[i]) << ",\"dissimilar\":" << Digits(dissimilar[i]) << '}';
    separator = ",\n  ";
  }
  out << "]}\n";
}

void WriteSkippedText(const char* title, const std::vector<SkippedFile>& skipped, std::ostream& out) {
  if (skipped.empty()) return;
  out << '\n' << title << ": " << Count(skipped.size(), "file", "files") << '\n';
  for (const SkippedFile& file : skipped) out << "  " << OneLinePath(file.path) << ": " << file.reason << '\n';
}

void WriteReferenceTotals(const SimilarityReport& report, std::ostream& out) {
  const ReferenceReport& reference = *report.reference;
  const auto line = [&out](const char* name, std::size_t own, std::size_t other) {
    out << name << Padded(Digits(own), 10) << Padded(Digits(other), 12) << '\n';
  };
  out << "\n             images   reference  (" << OneLinePath(reference.folder) << ")\n";
  line("files    ", report.files(), reference.files());
  line("read     ", report.paths.size(), reference.paths.size());
  line("skipped  ", report.skipped.size(), reference.skipped.size());
  if (!reference.same_files.empty()) {
    std::set<std::uint32_t> same;
    for (const SameFile& file : reference.same_files) same.insert(file.image);
    out << "same     " << Padded(Digits(same.size()), 10)
        << "              one and the same file on both sides, not compared with itself\n";
  }
  out << "known    " << Padded(Digits(reference.known), 10) << "              similarity to a reference image above "
      << ShortestText(report.threshold) << ", or the same file\n"
      << "new      " << Padded(Digits(reference.fresh), 10) << '\n';
}

using FileId = std::pair<dev_t, ino_t>;

// A path's file, and the folder entry that it is, links in its folder followed.
struct Entry {
  explicit Entry(const std::string& path) {
    struct stat info = {};
    if (stat(path.c_str(), &info) == 0) file = FileId(info.st_dev, info.st_ino);
    links = info.st_nlink;
    link = lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
  }

  std::optional<FileId> file;
  nlink_t links = 0;
  bool link = false;  // a symbolic one
};

// With its folder resolved, and the last part as it is.
std::filesystem::path Resolved(const std::string& path) {
  const std::filesystem::path whole(path);
  std::error_code error;
  return std::filesystem::weakly_canonical(whole.has_parent_path() ? whole.parent_path() : ".", error) /
         whole.filename();
}

// Whether removing `path` would take away what `kept` shows: they are one file, and not two hard links of it.
bool IsTheKeptOne(const std::string& path, const std::string& kept) {
  const Entry one(path);
  const Entry other(kept);
  if (!one.file || one.file != other.file || one.link) return false;
  return other.link || one.links == 1 || Resolved(path) == Resolved(kept);
}

std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string field = "\"";
  for (const char c : text) {
    if (c == '"') field += '"';
    field += c;
  }
  return field + "\"";
}

}  // namespace

std::string ShortestText(float value) {
  std::array<char, 64> text;
  return {text.begin(), std::to_chars(text.begin(), text.end(), value).ptr};
}

std::string JsonString(const std::string& text) {
  std::string json = "\"";
  std::array<char, 8> escape;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = Utf8Length(text, i);
    if (byte == '"' || byte == '\\') {
      json += '\\';
      json += text[i++];
    } else if (length == 0 || byte < 0x20 || byte == 0x7f) {
      const unsigned code = length == 0 ? 0xdc00U + byte : byte;
      std::snprintf(escape.data(), escape.size(), "\\u%04x", code);
      json += escape.data();
      ++i;
    } else {
      json.append(text, i, length);
      i += length;
    }
  }
  return json + "\"";
}

std::vector<RedundantImage> RedundantImages(const SimilarityReport& report) {
  std::vector<bool> kept(report.paths.size(), false);
  if (report.reference) {
    for (const SameFile& file : report.reference->same_files) kept[file.image] = true;
  }
  std::vector<RedundantImage> redundant;
  for (const Group& group : report.grouping.groups) {
    for (const GroupMember& member : group.members) {
      if (kept[member.index] || IsTheKeptOne(report.paths[member.index], RepresentativePath(report, group))) continue;
      redundant.push_back({report.paths[member.index], RepresentativePath(report, group), member.similarity});
    }
  }
  std::sort(redundant.begin(), redundant.end(),
            [](const RedundantImage& a, const RedundantImage& b) { return a.path < b.path; });
  return redundant;
}

void WriteText(const SimilarityReport& report, std::ostream& out) {
  std::vector<bool> grouped(report.paths.size(), false);
  Table table(report, out);
  const ModelInfo& model = report.model;
  out << "model " << OneLinePath(model.file) << ", " << std::to_string(model.size) << " pixels, " << model.provider
      << ' ' << model.precision << '\n';
  if (!report.paths.empty()) out << "  similarity  dissimilar  image\n";
  std::size_t number = 0;
  for (const Group& group : report.grouping.groups) {
    out << "\ngroup " << Digits(++number) << ": " << Digits(group.members.size() + 1) << " images\n";
    table.Representative(group);
    if (!report.reference) grouped[group.representative] = true;
    for (const GroupMember& member : group.members) {
      table.Row(Decimals(member.similarity, 4), member.index);
      grouped[member.index] = true;
    }
  }
  const std::size_t groups = report.grouping.groups.size();
  const std::size_t singletons = report.grouping.unique - groups;
  if (singletons > 0) {
    out << "\nin no group: " << Count(singletons, "image", "images") << '\n';
    for (std::uint32_t i = 0; i < report.paths.size(); ++i) {
      if (!grouped[i]) table.Row("-", i);
    }
  }
  WriteSkippedText("skipped", report.skipped, out);
  if (report.reference) {
    WriteSkippedText("skipped in the reference", report.reference->skipped, out);
    WriteReferenceTotals(report, out);
    return;
  }
  out << '\n'
      << "files    " << Digits(report.files()) << '\n'
      << "read     " << Digits(report.paths.size()) << '\n'
      << "skipped  " << Digits(report.skipped.size()) << '\n'
      << "groups   " << Digits(groups) << "  (similarity to the group's first image above "
      << ShortestText(report.threshold) << ")\n"
      << "unique   " << Digits(report.grouping.unique) << "  (" << Count(groups, "group", "groups") << " + "
      << Count(singletons, "image", "images") << " in no group)\n";
  if (report.search == SearchMethod::kApproximate) {
    out << "search   approximate: found " << Digits(report.recall.found) << " of the "
        << Count(report.recall.pairs, "similar pair", "similar pairs") << " of a sample of "
        << Count(report.recall.rows, "image", "images") << '\n';
  }
}

void WriteJson(const SimilarityReport& report, std::ostream& out, bool redundant) {
  const ModelInfo& model = report.model;
  out << "{\"version\":1,\n\"model\":{\"file\":" << JsonString(model.file)
      << ",\"weights_origin\":" << JsonString(model.weights_origin)
      << ",\"weights_sha256\":" << JsonString(model.weights_sha256) << ",\"size\":" << std::to_string(model.size)
      << ",\"embedding_dim\":" << std::to_string(model.dim) << ",\"provider\":" << JsonString(model.provider)
      << ",\"precision\":" << JsonString(model.precision) << "},\n\"threshold\":" << ShortestText(report.threshold)
      << ",\n";
  if (report.keep != Keep::kMostSimilar) out << "\"keep\":" << JsonString(KeepName(report.keep)) << ",\n";
  WriteSearch(report, out);
  out << "\"files\":" << Digits(report.files()) << ",\n\"read\":" << Digits(report.paths.size()) << ",\n";
  WriteSkipped(report.skipped, out);
  if (report.reference) WriteReference(report, out);
  WriteGroups(report, out);
  out << "\"unique\":" << Digits(report.grouping.unique) << ",\n";
  if (redundant) WriteRedundant(report, out);
  WriteImages(report, out);
}

void WritePairCsv(const std::string& first, const std::string& second, float similarity, std::ostream& out) {
  out << CsvField(first) << ',' << CsvField(second) << ',' << Decimals(similarity, 6) << '\n';
}

void WriteNpy(const float* rows, std::size_t count, std::size_t dim, std::ostream& out) {
  static_assert(sizeof(float) == 4, "the header says <f4");
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(count) + ", " +
                       std::to_string(dim) + "), }";
  // Magic (6), version (2), length (2) and header together fill a multiple of 64 bytes; the header ends in a newline.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  const auto length = static_cast<unsigned>(header.size());
  out << "\x93NUMPY" << '\x01' << '\x00' << static_cast<char>(length & 0xffU) << static_cast<char>(length >> 8)
      << header;
  out.write(reinterpret_cast<const char*>(rows), static_cast<std::streamsize>(count * dim * sizeof(float)));
}

}  // namespace rrn
