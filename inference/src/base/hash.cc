#include "base/hash.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

// Compiled in, so nothing is linked.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/files.h"

namespace rrn {

struct Hash::State {
  XXH3_state_t xxh3;  // carries its own alignment
};

Hash::Hash() : state_(std::make_unique<State>()) {
  XXH3_INITSTATE(&state_->xxh3);
  static_cast<void>(XXH3_128bits_reset(&state_->xxh3));
}
Hash::Hash(Hash&& other) noexcept = default;
Hash& Hash::operator=(Hash&& other) noexcept = default;
Hash::~Hash() = default;

void Hash::Add(const void* data, std::size_t size) {
  // It fails for a null pointer only.
  if (size > 0) static_cast<void>(XXH3_128bits_update(&state_->xxh3, data, size));
}

void Hash::AddSize(std::uint64_t size) {
  std::array<unsigned char, sizeof(size)> bytes;
  for (unsigned char& byte : bytes) {
    byte = static_cast<unsigned char>(size & 0xffU);
    size >>= 8U;
  }
  Add(bytes.data(), bytes.size());
}

void Hash::AddField(const std::string& text) {
  AddSize(text.size());
  Add(text.data(), text.size());
}

bool Hash::AddFile(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info = {};
  if (file.value() < 0 || fstat(file.value(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  auto left = static_cast<std::uint64_t>(info.st_size);
  AddSize(left);
  // Small enough to stay in the processor's cache between reading and hashing.
  std::vector<unsigned char> piece(std::size_t{1} << 18U);
  while (left > 0) {
    const ssize_t got = read(file.value(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || static_cast<std::uint64_t>(got) > left) return false;
    Add(piece.data(), static_cast<std::size_t>(got));
    left -= static_cast<std::uint64_t>(got);
  }
  return true;
}

std::array<std::uint8_t, 16> Hash::Bytes() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state_->xxh3));
  std::array<std::uint8_t, 16> bytes;
  std::copy(std::begin(canonical.digest), std::end(canonical.digest), bytes.begin());
  return bytes;
}

std::string Hash::Hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : Bytes()) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

std::uint64_t ShortHash(const void* data, std::size_t size) { return XXH3_64bits(data, size); }

}  // namespace rrn
