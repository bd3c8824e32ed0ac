#include "program/actions/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "base/files.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kNanoseconds = 1'000'000'000;
constexpr std::size_t kPiece = std::size_t{1} << 18;

std::int64_t Nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * kNanoseconds + static_cast<std::int64_t>(time.tv_nsec);
}

timespec Timespec(std::int64_t nanoseconds) {
  std::int64_t seconds = nanoseconds / kNanoseconds;
  std::int64_t rest = nanoseconds % kNanoseconds;
  if (rest < 0) {
    rest += kNanoseconds;
    --seconds;
  }
  timespec time = {};
  time.tv_sec = static_cast<time_t>(seconds);
  time.tv_nsec = static_cast<long>(rest);  // NOLINT(google-runtime-int): the type of the field
  return time;
}

// Fills the buffer unless the file ends.
int ReadPiece(int file, char* data, std::size_t size, std::size_t* filled) {
  *filled = 0;
  while (*filled < size) {
    const ssize_t got = read(file, data + *filled, size - *filled);
    if (got == 0) return 0;
    if (got > 0) {
      *filled += static_cast<std::size_t>(got);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

int WritePiece(int file, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t put = write(file, data, size);
    if (put >= 0) {
      data += put;
      size -= static_cast<std::size_t>(put);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

int CopyBytes(int from, int to) {
  const std::unique_ptr<char[]> piece(new char[kPiece]);
  for (;;) {
    std::size_t size = 0;
    int error = ReadPiece(from, piece.get(), kPiece, &size);
    if (error != 0) return error;
    if (size == 0) return 0;
    error = WritePiece(to, piece.get(), size);
    if (error != 0) return error;
  }
}

int OpenToRead(const std::string& path) { return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); }

using Attributes = std::map<std::string, std::string>;

// Calls `read` (data, size) until the answer fits; it may grow in between.
template <typename Read>
int ReadGrowing(const Read& read, std::string* text) {
  for (;;) {
    const ssize_t size = read(nullptr, std::size_t{0});
    if (size < 0) return errno;
    text->resize(static_cast<std::size_t>(size));
    if (size == 0) return 0;
    const ssize_t got = read(text->data(), text->size());
    if (got >= 0) {
      text->resize(static_cast<std::size_t>(got));
      return 0;
    }
    if (errno != ERANGE) return errno;
  }
}

// Those of people, and the access list; all others belong to the system.
int ReadAttributes(int file, Attributes* attributes) {
  std::string names;
  int error = ReadGrowing([&](char* data, std::size_t size) { return flistxattr(file, data, size); }, &names);
  if (error != 0) return error == ENOTSUP || error == ENOSYS ? 0 : error;
  for (std::size_t begin = 0; begin < names.size();) {
    const std::string name = names.c_str() + begin;
    begin += name.size() + 1;
    if (name.rfind("user.", 0) != 0 && name != "system.posix_acl_access") continue;
    std::string value;
    error =
        ReadGrowing([&](char* data, std::size_t size) { return fgetxattr(file, name.c_str(), data, size); }, &value);
    if (error == ENODATA || error == ENOTSUP) continue;
    if (error != 0) return error;
    (*attributes)[name] = value;
  }
  return 0;
}

int CopyAttributes(int from, int to) {
  Attributes attributes;
  const int error = ReadAttributes(from, &attributes);
  if (error != 0) return error;
  for (const auto& [name, value] : attributes) {
    if (fsetxattr(to, name.c_str(), value.data(), value.size(), 0) != 0 && errno != ENOTSUP && errno != EPERM) {
      return errno;
    }
  }
  return 0;
}

std::optional<FileState> Look(const std::string& path, int flags, int* error) {
  struct stat info = {};
  int problem = 0;
  if (fstatat(AT_FDCWD, path.c_str(), &info, flags) != 0) {
    problem = errno;
  } else if (S_ISLNK(info.st_mode)) {
    problem = ELOOP;
  } else if (!S_ISREG(info.st_mode)) {
    problem = EINVAL;
  }
  if (error != nullptr) *error = problem;
  if (problem != 0) return {};
  return FileState{info.st_dev,
                   info.st_ino,
                   static_cast<std::int64_t>(info.st_size),
                   Nanoseconds(info.st_mtim),
                   Nanoseconds(info.st_atim),
                   Nanoseconds(info.st_ctim),
                   static_cast<mode_t>(info.st_mode & 07777U),
                   info.st_uid,
                   info.st_gid,
                   static_cast<std::uint64_t>(info.st_nlink)};
}

}  // namespace

std::optional<FileState> StateOf(const std::string& path, int* error) { return Look(path, AT_SYMLINK_NOFOLLOW, error); }

std::optional<FileState> StateBehind(const std::string& path, int* error) { return Look(path, 0, error); }

int Exchange(const std::string& first, const std::string& second) {
#ifdef RENAME_EXCHANGE
  return renameat2(AT_FDCWD, first.c_str(), AT_FDCWD, second.c_str(), RENAME_EXCHANGE) == 0 ? 0 : errno;
#else
  return ENOSYS;
#endif
}

int RenameNew(const std::string& from, const std::string& to) {
#ifdef RENAME_NOREPLACE
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
#endif
  // Not every file system knows that flag. A link never replaces anything either.
  if (link(from.c_str(), to.c_str()) != 0) {
    return errno == EPERM || errno == ENOTSUP || errno == EMLINK || errno == ENOSYS ? EXDEV : errno;
  }
  if (unlink(from.c_str()) == 0) return 0;
  const int error = errno;
  unlink(to.c_str());
  return error;
}

int CopyNew(const std::string& from, const std::string& to, const FileState& state) {
  const Descriptor source(OpenToRead(from));
  if (source.value() < 0) return errno;
  Descriptor target(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (target.value() < 0) return errno;
  int error = CopyBytes(source.value(), target.value());
  // Before the mode, because it takes away the set-user bit. Only root may give files away; others keep their own.
  if (error == 0 && fchown(target.value(), state.user, state.group) != 0 && errno != EPERM && errno != EINVAL) {
    error = errno;
  }
  if (error == 0 && fchmod(target.value(), state.mode) != 0) error = errno;
  // After the mode, which would change the access list.
  if (error == 0) error = CopyAttributes(source.value(), target.value());
  const std::array<timespec, 2> times = {Timespec(state.accessed), Timespec(state.modified)};
  if (error == 0 && futimens(target.value(), times.data()) != 0) error = errno;
  if (error == 0 && fsync(target.value()) != 0) error = errno;
  const int closing = target.Close();
  if (error == 0) error = closing;
  if (error != 0) unlink(to.c_str());
  return error;
}

int SameBytes(const std::string& first, const std::string& second, bool* same) {
  *same = false;
  const Descriptor a(OpenToRead(first));
  if (a.value() < 0) return errno;
  const Descriptor b(OpenToRead(second));
  if (b.value() < 0) return errno;
  const std::unique_ptr<char[]> pieces(new char[2 * kPiece]);
  for (;;) {
    std::size_t a_size = 0;
    std::size_t b_size = 0;
    int error = ReadPiece(a.value(), pieces.get(), kPiece, &a_size);
    if (error == 0) error = ReadPiece(b.value(), pieces.get() + kPiece, kPiece, &b_size);
    if (error != 0) return error;
    if (a_size != b_size || std::memcmp(pieces.get(), pieces.get() + kPiece, a_size) != 0) return 0;
    if (a_size == 0) break;
  }
  *same = true;
  return 0;
}

int SameAttributes(const std::string& first, const std::string& second, bool* same) {
  *same = false;
  const Descriptor a(OpenToRead(first));
  if (a.value() < 0) return errno;
  const Descriptor b(OpenToRead(second));
  if (b.value() < 0) return errno;
  Attributes a_has;
  Attributes b_has;
  int error = ReadAttributes(a.value(), &a_has);
  if (error == 0) error = ReadAttributes(b.value(), &b_has);
  if (error == 0) *same = a_has == b_has;
  return error;
}

void SyncFolder(const std::string& folder) {
  const Descriptor descriptor(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.value() >= 0) static_cast<void>(fsync(descriptor.value()));
}

std::string EntryName(const std::string& path) {
  const fs::path whole(path);
  std::error_code error;
  const fs::path folder = fs::canonical(whole.has_parent_path() ? whole.parent_path() : fs::path("."), error);
  return error ? "" : (folder / whole.filename()).string();
}

}  // namespace rrn
