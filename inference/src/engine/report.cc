// Writing results.
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ostream>
#include <string>
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

// The shortest text that reads back as the same float.
std::string Shortest(float value) {
  std::array<char, 64> text;
  return {text.begin(), std::to_chars(text.begin(), text.end(), value).ptr};
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

}  // namespace

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

namespace {

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

// Rows of one table of the text form: similarity, number of dissimilar images, path.
class Table {
 public:
  Table(const SimilarityReport& report, std::ostream& out) : report_(report), out_(out) {}

  void Row(const std::string& similarity, std::uint32_t index) {
    const std::size_t dissimilar = report_.paths.size() - 1 - report_.grouping.similar[index];
    out_ << Padded(similarity, 12) << Padded(std::to_string(dissimilar), 12) << "  "
         << OneLinePath(report_.paths[index]) << '\n';
  }

 private:
  const SimilarityReport& report_;
  std::ostream& out_;
};

void WriteSkipped(const SimilarityReport& report, std::ostream& out) {
  out << "\"skipped\":[";
  const char* separator = "\n  ";
  for (const SkippedFile& file : report.skipped) {
    out << separator << "{\"path\":" << JsonString(file.path) << ",\"reason\":" << JsonString(file.reason) << '}';
    separator = ",\n  ";
  }
  out << "],\n";
}

void WriteGroups(const SimilarityReport& report, std::ostream& out) {
  out << "\"groups\":[";
  const char* separator = "\n  ";
  for (const Group& group : report.grouping.groups) {
    out << separator << "{\"representative\":" << JsonString(report.paths[group.representative]) << ",\"members\":[";
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
  for (std::size_t i = 0; i < report.paths.size(); ++i) {
    const std::size_t similar = report.grouping.similar[i];
    out << separator << "{\"path\":" << JsonString(report.paths[i]) << ",\"similar\":" << Digits(similar)
        << ",\"dissimilar\":" << Digits(report.paths.size() - 1 - similar) << '}';
    separator = ",\n  ";
  }
  out << "]}\n";
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
    table.Row("-", group.representative);
    grouped[group.representative] = true;
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
  if (!report.skipped.empty()) {
    out << "\nskipped: " << Count(report.skipped.size(), "file", "files") << '\n';
    for (const SkippedFile& file : report.skipped) out << "  " << OneLinePath(file.path) << ": " << file.reason << '\n';
  }
  out << '\n'
      << "files    " << Digits(report.files()) << '\n'
      << "read     " << Digits(report.paths.size()) << '\n'
      << "skipped  " << Digits(report.skipped.size()) << '\n'
      << "groups   " << Digits(groups) << "  (similarity to the group's first image above "
      << Shortest(report.threshold) << ")\n"
      << "unique   " << Digits(report.grouping.unique) << "  (" << Count(groups, "group", "groups") << " + "
      << Count(singletons, "image", "images") << " in no group)\n";
  if (report.search == SearchMethod::kApproximate) {
    out << "search   approximate: found " << Digits(report.recall.found) << " of the "
        << Count(report.recall.pairs, "similar pair", "similar pairs") << " of a sample of "
        << Count(report.recall.rows, "image", "images") << '\n';
  }
}

void WriteJson(const SimilarityReport& report, std::ostream& out) {
  const ModelInfo& model = report.model;
  out << "{\"version\":1,\n\"model\":{\"file\":" << JsonString(model.file)
      << ",\"weights_origin\":" << JsonString(model.weights_origin)
      << ",\"weights_sha256\":" << JsonString(model.weights_sha256) << ",\"size\":" << std::to_string(model.size)
      << ",\"embedding_dim\":" << std::to_string(model.dim) << ",\"provider\":" << JsonString(model.provider)
      << ",\"precision\":" << JsonString(model.precision) << "},\n\"threshold\":" << Shortest(report.threshold)
      << ",\n";
  WriteSearch(report, out);
  out << "\"files\":" << Digits(report.files()) << ",\n\"read\":" << Digits(report.paths.size()) << ",\n";
  WriteSkipped(report, out);
  WriteGroups(report, out);
  out << "\"unique\":" << Digits(report.grouping.unique) << ",\n";
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
