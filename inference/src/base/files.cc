#include "base/files.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace rrn {

int Descriptor::Close() {
  const int value = std::exchange(value_, -1);
  return value < 0 || close(value) == 0 ? 0 : errno;
}

std::optional<FileId> IdOf(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return {};
  return IdOf(info);
}

Temporary::Temporary(std::string place, Kind kind) : place_(std::move(place)), path_(place_ + ".XXXXXX") {
  const bool made =
      kind == Kind::kFile ? Descriptor(mkstemp(path_.data())).value() >= 0 : mkdtemp(path_.data()) != nullptr;
  if (!made) path_.clear();
}

Temporary::~Temporary() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

int Temporary::Move() {
  if (path_.empty()) return ENOENT;
  if (std::rename(path_.c_str(), place_.c_str()) != 0) return errno;
  path_.clear();
  return 0;
}

std::string ErrorText(int error) { return std::generic_category().message(error); }

}  // namespace rrn
