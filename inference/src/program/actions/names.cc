#include "program/actions/names.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>

namespace rrn {
namespace {

namespace fs = std::filesystem;

std::string OwnName(const std::string& begin, const std::string& path, std::size_t step) {
  return (fs::path(path).parent_path() / (begin + std::to_string(getpid()) + "-" + std::to_string(step))).string();
}

}  // namespace

std::string PartName(const std::string& path, std::size_t step) { return OwnName(kPartPrefix, path, step); }

std::string UndoPartName(const std::string& path, std::size_t step) {
  return OwnName(std::string(kPartPrefix) + "undo-", path, step);
}

std::string AsideName(const std::string& path, std::size_t step) { return OwnName(".rrn-aside-", path, step); }

std::string Numbered(const std::string& path, int number) {
  if (number == 0) return path;
  const fs::path whole(path);
  return (whole.parent_path() / (whole.stem().string() + "-" + std::to_string(number) + whole.extension().string()))
      .string();
}

std::string RelativePath(const std::string& path, const std::string& folder) {
  if (!folder.empty()) {
    std::string rest = path.substr(folder.size());
    rest.erase(0, std::min(rest.find_first_not_of('/'), rest.size()));
    return rest;
  }
  fs::path relative;
  for (const fs::path& part : fs::path(path).lexically_normal().relative_path()) {
    if (part != "..") relative /= part;
  }
  return relative.string();
}

}  // namespace rrn
