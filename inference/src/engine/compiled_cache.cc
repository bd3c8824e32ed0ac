#include "engine/compiled_cache.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

namespace rrn::internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kChecksumFile = "checksum";

// A 64-bit hash against accidents, not against enemies: whoever can write to the user's cache can do worse. Eight bytes
// a step, so that hashing a model takes a few milliseconds.
class Hash {
 public:
  void Add(const char* data, std::size_t size) {
    for (; size >= sizeof(std::uint64_t); data += sizeof(std::uint64_t), size -= sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, data, sizeof(word));
      Mix(word);
    }
    std::uint64_t rest = 0;
    std::memcpy(&rest, data, size);
    Mix(rest);
    Mix(size);
  }
  void Add(const std::string& text) { Add(text.data(), text.size()); }

  // False if the file cannot be read to its end.
  bool AddFile(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    std::vector<char> buffer(1U << 20U);
    while (stream) {
      stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
      Add(buffer.data(), static_cast<std::size_t>(stream.gcount()));
    }
    return stream.eof();
  }

  std::string Hex() const {
    constexpr std::array<char, 17> digits = {"0123456789abcdef"};
    std::string text;
    for (int shift = 60; shift >= 0; shift -= 4) text += digits.at((state_ >> static_cast<unsigned>(shift)) & 15U);
    return text;
  }

 private:
  void Mix(std::uint64_t word) {
    state_ = (state_ ^ word) * 0x9e3779b97f4a7c15U;
    state_ ^= state_ >> 29U;
  }
  std::uint64_t state_ = 0x243f6a8885a308d3U;
};

// Of all files in the folder but the checksum itself; empty if there are none, or one cannot be read.
std::string Checksum(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename() != kChecksumFile) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  Hash hash;
  for (const fs::path& file : files) {
    hash.Add(file.filename().string());
    if (!hash.AddFile(file.string())) return "";
  }
  return files.empty() ? "" : hash.Hex();
}

bool IsIntact(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return false;
  std::ifstream stream(folder / kChecksumFile);
  std::string noted;
  return stream >> noted && noted == Checksum(folder);
}

}  // namespace

std::string CacheFolder() {
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && xdg[0] == '/') return std::string(xdg) + "/rrn";
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.cache/rrn";
  return "";
}

std::string MakeCacheFolder(const std::string& name) {
  const std::string cache = CacheFolder();
  if (cache.empty()) return "";
  std::error_code error;
  if (fs::create_directories(cache, error)) fs::permissions(cache, fs::perms::owner_all, error);
  std::string folder = (fs::path(cache) / name).string();
  if (!error) fs::create_directories(folder, error);
  return error ? "" : folder;
}

CacheEntry::CacheEntry(const std::vector<std::string>& files, const std::vector<std::string>& settings) {
  try {
    Hash hash;
    for (const std::string& setting : settings) hash.Add(setting);
    for (const std::string& file : files) {
      if (!hash.AddFile(file)) return;
    }
    const std::string cache = MakeCacheFolder("compiled");
    if (cache.empty()) return;
    place_ = (fs::path(cache) / hash.Hex()).string();
    found_ = IsIntact(place_);
    if (found_) {
      folder_ = place_;
      return;
    }
    std::string name = place_ + ".XXXXXX";
    if (mkdtemp(name.data()) != nullptr) folder_ = name;
  } catch (const std::exception&) {
    folder_.clear();
    found_ = false;
  }
}

CacheEntry::~CacheEntry() {
  std::error_code ignored;
  if (!folder_.empty() && folder_ != place_) fs::remove_all(folder_, ignored);
}

void CacheEntry::Keep() {
  if (folder_.empty() || found_) return;
  try {
    const std::string checksum = Checksum(folder_);
    std::ofstream stream(fs::path(folder_) / kChecksumFile);
    stream << checksum << '\n';
    stream.close();
    if (checksum.empty() || stream.fail()) return;
    // Another process may have been faster. Its entry is as good as ours, unless it is damaged.
    std::error_code error;
    fs::rename(folder_, place_, error);
    if (error && !IsIntact(place_)) {
      fs::remove_all(place_, error);
      fs::rename(folder_, place_, error);
    }
    if (!error) folder_ = place_;
  } catch (const std::exception&) {
    return;  // the destructor removes what is there
  }
}

}  // namespace rrn::internal
