#include "image/exif.h"

#include <cstring>

namespace rrn::image_internal {
namespace {

constexpr int kUpright = 1;
constexpr std::size_t kEntrySize = 12;
constexpr std::uint32_t kOrientationTag = 0x0112;

// Numbers of either byte order out of a block of memory. Callers check bounds.
class Numbers {
 public:
  Numbers(const std::uint8_t* data, bool little_endian) : data_(data), little_endian_(little_endian) {}

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
  bool little_endian_;
};

}  // namespace

int ExifOrientation(const std::uint8_t* data, std::size_t size) {
  constexpr char kPrefix[] = {'E', 'x', 'i', 'f', 0, 0};
  if (size >= sizeof(kPrefix) && std::memcmp(data, kPrefix, sizeof(kPrefix)) == 0) {
    data += sizeof(kPrefix);
    size -= sizeof(kPrefix);
  }
  if (size < 8) {
    return kUpright;
  }
  const bool little_endian = std::memcmp(data, "II", 2) == 0;
  if (!little_endian && std::memcmp(data, "MM", 2) != 0) {
    return kUpright;
  }
  const Numbers numbers(data, little_endian);
  const std::size_t directory = numbers.U32(4);
  if (numbers.U16(2) != 42 || directory > size - 2) {
    return kUpright;
  }
  const std::size_t declared = numbers.U16(directory);
  const std::size_t present = (size - directory - 2) / kEntrySize;
  for (std::size_t i = 0; i < declared && i < present; ++i) {
    const std::size_t entry = directory + 2 + i * kEntrySize;
    if (numbers.U16(entry) != kOrientationTag) {
      continue;
    }
    constexpr std::uint32_t kByte = 1;
    constexpr std::uint32_t kShort = 3;
    constexpr std::uint32_t kLong = 4;
    const std::uint32_t type = numbers.U16(entry + 2);
    std::uint32_t value = 0;
    if (type == kByte) {
      value = data[entry + 8];
    } else if (type == kShort) {
      value = numbers.U16(entry + 8);
    } else if (type == kLong) {
      value = numbers.U32(entry + 8);
    }
    return value >= 1 && value <= 8 ? static_cast<int>(value) : kUpright;
  }
  return kUpright;
}

}  // namespace rrn::image_internal
