#include "base/text.h"

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <string>

namespace rrn {
namespace {

// Length of the UTF-8 sequence at text[i], or 0 if the bytes are not one (RFC 3629: no overlong forms, surrogates or
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

std::string Decimals(float value, int digits) {
  std::array<char, 64> text;
  const auto result = std::to_chars(text.begin(), text.end(), value, std::chars_format::fixed, digits);
  return {text.begin(), result.ptr};
}

std::string ShortestText(float value) {
  std::array<char, 64> text;
  return {text.begin(), std::to_chars(text.begin(), text.end(), value).ptr};
}

std::string Digits(std::size_t value) { return std::to_string(value); }

std::string Count(std::size_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

std::string Padded(const std::string& text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string OneLine(std::string text, char replacement) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = replacement;
  }
  return text;
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

}  // namespace rrn
