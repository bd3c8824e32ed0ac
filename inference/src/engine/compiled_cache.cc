#include "engine/compiled_cache.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "base/cache_folder.h"
#include "base/files.h"
#include "base/hash.h"

namespace rrn::internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kChecksumFile = "checksum";

// Of all files in the folder but the checksum itself; empty without files, or if one cannot be read.
std::string Checksum(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename() != kChecksumFile) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  Hash hash;
  for (const fs::path& file : files) {
    hash.AddField(file.filename().string());
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

CacheEntry::CacheEntry(const std::string& key) {
  try {
    const std::string cache = MakeCacheFolder("compiled");
    if (cache.empty()) return;
    const std::string place = (fs::path(cache) / key).string();
    found_ = IsIntact(place);
    if (found_) {
      folder_ = place;
      return;
    }
    fresh_.emplace(place, Temporary::Kind::kFolder);
    folder_ = fresh_->path();
  } catch (const std::exception&) {
    folder_.clear();
    found_ = false;
  }
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
    const std::string& place = fresh_->place();
    int error = fresh_->Move();
    if (error != 0 && !IsIntact(place)) {
      std::error_code ignored;
      fs::remove_all(place, ignored);
      error = fresh_->Move();
    }
    if (error == 0) folder_ = place;
  } catch (const std::exception&) {
    return;  // the destructor of fresh_ removes what is there
  }
}

}  // namespace rrn::internal
