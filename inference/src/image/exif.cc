#include "image/exif.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

namespace rrn::image_internal {
namespace {

constexpr std::size_t kEntrySize = 12;
constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::uint32_t kExifDirectoryTag = 0x8769;
constexpr std::uint32_t kDateTimeOriginalTag = 0x9003;

constexpr std::uint32_t kByte = 1;
constexpr std::uint32_t kAscii = 2;
constexpr std::uint32_t kShort = 3;
constexpr std::uint32_t kLong = 4;

// Numbers of either byte order out of a block of memory. Callers check bounds.
class Numbers {
 public:
  Numbers(const std::uint8_t* data, std::size_t size, bool little_endian)
      : data_(data), size_(size), little_endian_(little_endian) {}

  const std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }

  std::uint32_t U16(std::size_t at) const {
    const std::uint32_t first = data_[at];
    const std::uint32_t second = data_[at + 1];
    return little_endian_ ? first | second << 8 : first << 8 | second;
  }
  std::uint32_t U32(std::size_t at) const {
    return little_endian_ ? U16(at) | U16(at + 2) << 16 : U16(at) << 16 | U16(at + 2);
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  bool little_endian_;
};

// Where the first entry with this tag begins, in the directory at `directory`; empty without one.
std::optional<std::size_t> FindEntry(const Numbers& numbers, std::size_t directory, std::uint32_t tag) {
  if (numbers.size() < 2 || directory > numbers.size() - 2) return std::nullopt;
  const std::size_t declared = numbers.U16(directory);
  const std::size_t present = (numbers.size() - directory - 2) / kEntrySize;
  for (std::size_t i = 0; i < declared && i < present; ++i) {
    const std::size_t entry = directory + 2 + i * kEntrySize;
    if (numbers.U16(entry) == tag) return entry;
  }
  return std::nullopt;
}

int Orientation(const Numbers& numbers, std::size_t entry) {
  const std::uint32_t type = numbers.U16(entry + 2);
  std::uint32_t value = 0;
  if (type == kByte) {
    value = numbers.data()[entry + 8];
  } else if (type == kShort) {
    value = numbers.U16(entry + 8);
  } else if (type == kLong) {
    value = numbers.U32(entry + 8);
  }
  return value >= 1 && value <= 8 ? static_cast<int>(value) : ExifFacts().orientation;
}

// Days from 1970-01-01 to a date of the Gregorian calendar.
std::int64_t DaysSince1970(int year, int month, int day) {
  // Years that begin in March have the leap day at their end.
  const std::int64_t y = month > 2 ? year : year - 1;
  const std::int64_t m = month > 2 ? month - 3 : month + 9;
  const std::int64_t before_month = (153 * m + 2) / 5;
  return 365 * y + y / 4 - y / 100 + y / 400 + before_month + day - 1 - 719468;
}

int DaysOf(int month, int year) {
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return kDays[month - 1] + (month == 2 && leap ? 1 : 0);
}

// "YYYY:MM:DD HH:MM:SS"; cameras without a clock write spaces or zeros.
std::optional<std::int64_t> ParseTime(const std::uint8_t* text) {
  constexpr char kForm[] = "dddd:dd:dd dd:dd:dd";
  int fields[6] = {};
  std::size_t field = 0;
  for (std::size_t i = 0; i + 1 < sizeof(kForm); ++i) {
    if (kForm[i] != 'd') {
      if (text[i] != static_cast<std::uint8_t>(kForm[i])) return std::nullopt;
      ++field;
    } else if (text[i] >= '0' && text[i] <= '9') {
      fields[field] = fields[field] * 10 + (text[i] - '0');
    } else {
      return std::nullopt;
    }
  }
  const auto [year, month, day, hour, minute, second] = fields;
  const bool valid = year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= DaysOf(month, year) && hour < 24 &&
                     minute < 60 && second < 60;
  if (!valid) return std::nullopt;
  return ((DaysSince1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
}

std::optional<std::int64_t> Captured(const Numbers& numbers, std::size_t entry) {
  constexpr std::uint32_t kLength = 19;  // 20 with the zero at its end
  const std::uint32_t count = numbers.U32(entry + 4);
  const std::size_t at = numbers.U32(entry + 8);
  if (numbers.U16(entry + 2) != kAscii || count < kLength || numbers.size() < kLength ||
      at > numbers.size() - kLength) {
    return std::nullopt;
  }
  return ParseTime(numbers.data() + at);
}

}  // namespace

ExifFacts ReadExif(const std::uint8_t* data, std::size_t size) {
  ExifFacts facts;
  constexpr char kPrefix[] = {'E', 'x', 'i', 'f', 0, 0};
  if (size >= sizeof(kPrefix) && std::memcmp(data, kPrefix, sizeof(kPrefix)) == 0) {
    data += sizeof(kPrefix);
    size -= sizeof(kPrefix);
  }
  if (size < 8) return facts;
  const bool little_endian = std::memcmp(data, "II", 2) == 0;
  if (!little_endian && std::memcmp(data, "MM", 2) != 0) return facts;
  const Numbers numbers(data, size, little_endian);
  if (numbers.U16(2) != 42) return facts;
  const std::size_t directory = numbers.U32(4);
  if (const auto entry = FindEntry(numbers, directory, kOrientationTag)) {
    facts.orientation = Orientation(numbers, *entry);
  }
  const auto pointer = FindEntry(numbers, directory, kExifDirectoryTag);
  if (!pointer || numbers.U16(*pointer + 2) != kLong) return facts;
  if (const auto entry = FindEntry(numbers, numbers.U32(*pointer + 8), kDateTimeOriginalTag)) {
    facts.captured = Captured(numbers, *entry);
  }
  return facts;
}

}  // namespace rrn::image_internal
