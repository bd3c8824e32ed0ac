// Pairs as CSV, embeddings as NPY.
#include <cstddef>
#include <ostream>
#include <string>

#include "base/text.h"
#include "rrn/similarity.h"

namespace rrn {
namespace {

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
