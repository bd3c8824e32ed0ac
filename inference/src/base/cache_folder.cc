#include "base/cache_folder.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace rrn {

namespace fs = std::filesystem;

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

}  // namespace rrn
