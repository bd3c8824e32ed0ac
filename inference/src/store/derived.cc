// Data that was made from rows and can be made again.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/hash.h"
#include "base/text.h"
#include "rrn/store.h"
#include "store/folder.h"
#include "store/state.h"

namespace rrn {
namespace internal {
namespace {

constexpr std::size_t kHeaderSize = 32;
using Header = std::array<std::uint8_t, kHeaderSize>;

void PutLittleEndian(std::uint64_t value, std::size_t size, std::uint8_t* at) {
  for (std::size_t i = 0; i < size; ++i) at[i] = static_cast<std::uint8_t>(value >> (8 * i));
}

Header HeaderOf(const std::uint8_t* data, std::size_t size) {
  Header header = {'R', 'R', 'N', 'D', 'E', 'R', 'I', 'V'};
  constexpr std::uint64_t kVersion = 1;
  PutLittleEndian(kVersion, 4, &header[8]);
  PutLittleEndian(size, 8, &header[16]);
  PutLittleEndian(ShortHash(data, size), 8, &header[24]);
  return header;
}

bool IsDerivedName(const std::string& name) {
  constexpr std::size_t kLongest = 64;
  return !name.empty() && name.size() <= kLongest &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string::npos;
}

// Where it is; empty where there is no such column.
Result<std::string> PlaceOf(StoreState* state, const ColumnKey& key, const std::string& name) {
  if (Status checked = CheckKey(key); !checked.ok()) return checked;
  if (!IsDerivedName(name)) {
    return Status(StatusCode::kInvalidArgument,
                  "name of derived data: expected 1 to 64 of a-z, 0-9, _ and -, got '" + OneLine(name) + "'");
  }
  const std::lock_guard<std::mutex> lock(state->reading);
  const Result<std::optional<Column>> column = FindColumn(*state->reader, key);
  if (!column.ok()) return column.status();
  if (!*column) return std::string();
  return state->folder + "/" + kDerivedFolder + "/" + DerivedFileName((*column)->name, (*column)->generation, name);
}

}  // namespace
}  // namespace internal

std::optional<std::vector<std::uint8_t>> Store::ReadDerived(const ColumnKey& key, const std::string& name) const {
  using namespace internal;  // NOLINT(google-build-using-namespace): of this function
  const Result<std::string> place = PlaceOf(state_.get(), key, name);
  if (!place.ok() || place->empty()) return {};
  const Descriptor file(open(place->c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info = {};
  if (file.value() < 0 || fstat(file.value(), &info) != 0 || info.st_size < static_cast<off_t>(kHeaderSize)) return {};
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(info.st_size));
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t got = read(file.value(), bytes.data() + at, bytes.size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return {};
    at += static_cast<std::size_t>(got);
  }
  const Header expected = HeaderOf(bytes.data() + kHeaderSize, bytes.size() - kHeaderSize);
  if (std::memcmp(bytes.data(), expected.data(), kHeaderSize) != 0) return {};
  bytes.erase(bytes.begin(), bytes.begin() + kHeaderSize);
  return bytes;
}

Status Store::WriteDerived(const ColumnKey& key, const std::string& name, const std::uint8_t* data, std::size_t size) {
  using namespace internal;  // NOLINT(google-build-using-namespace): of this function
  if (state_->options.read_only) {
    return {StatusCode::kInvalidArgument, state_->place + ": opened for reading only, so nothing can be stored there"};
  }
  const Result<std::string> place = PlaceOf(state_.get(), key, name);
  if (!place.ok()) return place.status();
  if (place->empty()) {
    return {StatusCode::kNotFound, state_->place + ": there is no such column to keep derived data of"};
  }
  std::error_code failed;
  std::filesystem::create_directory(state_->folder + "/" + kDerivedFolder, failed);
  if (failed) return FileError(*state_, "make a folder for derived data", failed.value());
  const Header header = HeaderOf(data, size);
  const int error = WriteWhole(*place, {{header.data(), header.size()}, {data, size}});
  return error == 0 ? Status() : FileError(*state_, "write derived data", error);
}

}  // namespace rrn
