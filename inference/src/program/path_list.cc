#include "program/path_list.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"

namespace rrn {
namespace {

Result<std::string> ReadAll(int file) {
  constexpr std::size_t kPiece = std::size_t{1} << 16;
  std::array<char, kPiece> piece;
  std::string text;
  for (;;) {
    const ssize_t got = read(file, piece.data(), piece.size());
    if (got == 0) return text;
    if (got > 0) {
      text.append(piece.data(), static_cast<std::size_t>(got));
    } else if (errno != EINTR) {
      return Status(errno == EISDIR ? StatusCode::kInvalidArgument : StatusCode::kUnreadable, ErrorText(errno));
    }
  }
}

}  // namespace

std::vector<std::string> SplitPathList(const std::string& text) {
  const bool zeros = text.find('\0') != std::string::npos;
  const char end = zeros ? '\0' : '\n';
  std::vector<std::string> paths;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t at = text.find(end, begin);
    const std::size_t stop = at == std::string::npos ? text.size() : at;
    std::string path = text.substr(begin, stop - begin);
    if (!zeros && !path.empty() && path.back() == '\r') path.pop_back();
    if (!path.empty()) paths.push_back(std::move(path));
    begin = stop + 1;
  }
  return paths;
}

Result<std::vector<std::string>> ReadPathList(const std::string& name) {
  const bool standard = name == "-";
  const Descriptor named(standard ? -1 : open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!standard && named.value() < 0) {
    return Status(errno == ENOENT ? StatusCode::kNotFound : StatusCode::kUnreadable,
                  "--list " + name + ": " + ErrorText(errno));
  }
  const Result<std::string> text = ReadAll(standard ? STDIN_FILENO : named.value());
  if (!text.ok()) {
    return Status(text.status().code(),
                  (standard ? "standard input" : "--list " + name) + ": " + text.status().message());
  }
  return SplitPathList(*text);
}

}  // namespace rrn
