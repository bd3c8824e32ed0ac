// Numbers and names as text: the same bytes in every locale, and one line for one name.
//
// Thread-safety: all functions are pure.
#ifndef RRN_BASE_TEXT_H_
#define RRN_BASE_TEXT_H_

#include <cstddef>
#include <string>

namespace rrn {

// `value` with this number of decimals, with a decimal point in every locale (printf and streams use the locale's).
std::string Decimals(float value, int digits);

// The shortest text that reads back as the same float, with a decimal point in every locale: 0.75 and not 0.7500000. It
// is a JSON number where the value is finite.
std::string ShortestText(float value);

// Digits only; streams may insert the thousands separators of their locale.
std::string Digits(std::size_t value);

// `count` and the noun that fits: "1 file", "2 files".
std::string Count(std::size_t count, const char* one, const char* many);

// At least `width` bytes: spaces, then `text`.
std::string Padded(const std::string& text, std::size_t width);

// `text` with `replacement` in place of each control character, which would break the line.
std::string OneLine(std::string text, char replacement = '?');

// `text` as a JSON string with its quotes. Bytes that are not UTF-8 become lone surrogates \udc80 ... \udcff, as
// Python's os.fsdecode makes and os.fsencode undoes.
std::string JsonString(const std::string& text);

}  // namespace rrn

#endif  // RRN_BASE_TEXT_H_
