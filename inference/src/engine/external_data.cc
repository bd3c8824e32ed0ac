// Reads the protobuf wire format; the numbers of fields are those of onnx.proto. A whole protobuf library would be
// linked for one string in a nested message.
#include "engine/external_data.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/files.h"

namespace rrn::internal {
namespace {

enum class Kind : std::uint8_t { kModel, kGraph, kFunction, kNode, kAttribute, kSparse, kTensor, kEntry };

// A field of `in` that holds a message on the way to a tensor's external data.
struct Field {
  Kind in;
  std::uint64_t number;
  Kind kind;
};

constexpr std::array<Field, 15> kFields = {{
    {Kind::kModel, 7, Kind::kGraph},
    {Kind::kModel, 25, Kind::kFunction},
    {Kind::kGraph, 1, Kind::kNode},
    {Kind::kGraph, 5, Kind::kTensor},
    {Kind::kGraph, 15, Kind::kSparse},
    {Kind::kFunction, 7, Kind::kNode},
    {Kind::kNode, 5, Kind::kAttribute},
    {Kind::kAttribute, 5, Kind::kTensor},
    {Kind::kAttribute, 6, Kind::kGraph},
    {Kind::kAttribute, 10, Kind::kTensor},
    {Kind::kAttribute, 11, Kind::kGraph},
    {Kind::kAttribute, 22, Kind::kSparse},
    {Kind::kAttribute, 23, Kind::kSparse},
    {Kind::kSparse, 1, Kind::kTensor},
    {Kind::kSparse, 2, Kind::kTensor},
}};
constexpr std::uint64_t kExternalData = 13;  // of a tensor: entries
constexpr std::uint64_t kKey = 1;            // of an entry
constexpr std::uint64_t kValue = 2;
constexpr int kMaxDepth = 100;  // as protobuf's own readers
constexpr std::uint64_t kMaxLocation = std::uint64_t{1} << 16U;

// The bytes of an open file, through a small buffer.
class Bytes {
 public:
  explicit Bytes(int file) : file_(file), buffer_(std::size_t{1} << 16U) {}

  // False past the end, or where the file cannot be read.
  bool Get(std::uint64_t at, std::uint8_t* byte) {
    if (at < begin_ || at >= begin_ + filled_) {
      begin_ = at;
      ssize_t got = -1;
      do {
        got = pread(file_, buffer_.data(), buffer_.size(), static_cast<off_t>(at));
      } while (got < 0 && errno == EINTR);
      filled_ = got < 0 ? 0 : static_cast<std::uint64_t>(got);
      if (filled_ == 0) return false;
    }
    *byte = buffer_[static_cast<std::size_t>(at - begin_)];
    return true;
  }

 private:
  int file_;
  std::vector<std::uint8_t> buffer_;
  std::uint64_t begin_ = 0;
  std::uint64_t filled_ = 0;
};

// A part of the file.
struct Range {
  std::uint64_t begin;
  std::uint64_t end;
};

class Reader {
 public:
  explicit Reader(int file) : bytes_(file) {}

  // Adds the locations in a message. False where it is not such a message.
  bool Read(Range range, Kind kind, int depth, std::set<std::string>* locations) {
    if (depth > kMaxDepth) return false;
    while (range.begin < range.end) {
      std::uint64_t number = 0;
      Range field = {};
      bool has_length = false;
      if (!Next(&range, &number, &has_length, &field)) return false;
      if (!has_length) continue;
      if (kind == Kind::kTensor && number == kExternalData) {
        if (!ReadEntry(field, locations)) return false;
        continue;
      }
      const auto* inner = std::find_if(kFields.begin(), kFields.end(),
                                       [&](const Field& f) { return f.in == kind && f.number == number; });
      if (inner != kFields.end() && !Read(field, inner->kind, depth + 1, locations)) return false;
    }
    return true;
  }

 private:
  bool Varint(Range* range, std::uint64_t* value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      std::uint8_t byte = 0;
      if (range->begin >= range->end || !bytes_.Get(range->begin++, &byte)) return false;
      *value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  // Takes one field from the front of `range`; `field` is its content where it has a length.
  bool Next(Range* range, std::uint64_t* number, bool* has_length, Range* field) {
    enum : std::uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
    std::uint64_t tag = 0;
    std::uint64_t size = 0;
    if (!Varint(range, &tag)) return false;
    *number = tag >> 3U;
    *has_length = (tag & 7U) == kBytes;
    switch (tag & 7U) {
      case kVarint:
        return Varint(range, &size);
      case kFixed64:
        size = 8;
        break;
      case kFixed32:
        size = 4;
        break;
      case kBytes:
        if (!Varint(range, &size)) return false;
        break;
      default:
        return false;
    }
    if (size > range->end - range->begin) return false;
    *field = {range->begin, range->begin + size};
    range->begin += size;
    return true;
  }

  bool ReadEntry(Range range, std::set<std::string>* locations) {
    std::string key;
    std::string value;
    while (range.begin < range.end) {
      std::uint64_t number = 0;
      Range field = {};
      bool has_length = false;
      if (!Next(&range, &number, &has_length, &field)) return false;
      if (has_length && number == kKey && !Text(field, &key)) return false;
      if (has_length && number == kValue && !Text(field, &value)) return false;
    }
    if (key == "location") locations->insert(value);
    return true;
  }

  bool Text(Range range, std::string* text) {
    text->clear();
    if (range.end - range.begin > kMaxLocation) return false;
    for (; range.begin < range.end; ++range.begin) {
      std::uint8_t byte = 0;
      if (!bytes_.Get(range.begin, &byte)) return false;
      *text += static_cast<char>(byte);
    }
    return true;
  }

  Bytes bytes_;
};

}  // namespace

Result<std::vector<std::string>> ExternalDataLocations(const std::string& model) {
  const Descriptor file(open(model.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info = {};
  if (file.value() < 0 || fstat(file.value(), &info) != 0) {
    return Status(StatusCode::kUnreadable, model + ": " + ErrorText(errno));
  }
  std::set<std::string> locations;
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (!S_ISREG(info.st_mode) || size == 0 || !Reader(file.value()).Read({0, size}, Kind::kModel, 0, &locations)) {
    return Status(StatusCode::kCorrupt, model + ": not an ONNX file, or damaged");
  }
  return std::vector<std::string>(locations.begin(), locations.end());
}

}  // namespace rrn::internal
