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

// Fills the buffer unless the file ends; returns how much it did.
Result<std::size_t> ReadPiece(int file, char* data, std::size_t size) {
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t got = read(file, data + filled, size - filled);
    if (got == 0) break;
    if (got > 0) {
      filled += static_cast<std::size_t>(got);
    } else if (errno != EINTR) {
      return SystemError(errno);
    }
  }
  return filled;
}

Status CopyBytes(int from, int to) {
  const std::unique_ptr<char[]> piece(new char[kPiece]);
  for (;;) {
    const Result<std::size_t> size = ReadPiece(from, piece.get(), kPiece);
    if (!size.ok() || *size == 0) return size.status();
    Status status = WriteAll(to, piece.get(), *size);
    if (!status.ok()) return status;
  }
}

int OpenToRead(const std::string& path) { return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); }

using Attributes = std::map<std::string, std::string>;

// Calls `read` (data, size) until the answer fits; it may grow in between. Returns 0 or an errno.
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
Result<Attributes> ReadAttributes(int file) {
  Attributes attributes;
  std::string names;
  int error = ReadGrowing([&](char* data, std::size_t size) { return flistxattr(file, data, size); }, &names);
  if (error == ENOTSUP || error == ENOSYS) return attributes;
  if (error != 0) return SystemError(error);
  for (std::size_t begin = 0; begin < names.size();) {
    const std::string name = names.c_str() + begin;
    begin += name.size() + 1;
    if (name.rfind("user.", 0) != 0 && name != "system.posix_acl_access") continue;
    std::string value;
    error =
        ReadGrowing([&](char* data, std::size_t size) { return fgetxattr(file, name.c_str(), data, size); }, &value);
    if (error == ENODATA || error == ENOTSUP) continue;
    if (error != 0) return SystemError(error);
    attributes[name] = value;
  }
  return attributes;
}

Status CopyAttributes(int from, int to) {
  const Result<Attributes> attributes = ReadAttributes(from);
  if (!attributes.ok()) return attributes.status();
  for (const auto& [name, value] : *attributes) {
    if (fsetxattr(to, name.c_str(), value.data(), value.size(), 0) != 0 && errno != ENOTSUP && errno != EPERM) {
      return SystemError(errno);
    }
  }
  return {};
}

Result<FileState> Look(const std::string& path, int flags) {
  struct stat info = {};
  if (fstatat(AT_FDCWD, path.c_str(), &info, flags) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return Status(StatusCode::kNotFound, "it is no longer there");
    return SystemError(errno);
  }
  if (S_ISLNK(info.st_mode)) {
    return Status(StatusCode::kInvalidArgument, "a symbolic link, which is never acted on");
  }
  if (!S_ISREG(info.st_mode)) return Status(StatusCode::kInvalidArgument, "no longer a regular file");
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

// Makes the copy's content and properties those of the original, on the disk.
Status FillCopy(int source, int target, const FileState& state) {
  Status status = CopyBytes(source, target);
  if (!status.ok()) return status;
  // Before the mode, because it takes away the set-user bit. Only root may give files away; others keep their own.
  if (fchown(target, state.user, state.group) != 0 && errno != EPERM && errno != EINVAL) return SystemError(errno);
  if (fchmod(target, state.mode) != 0) return SystemError(errno);
  // After the mode, which would change the access list.
  status = CopyAttributes(source, target);
  if (!status.ok()) return status;
  const std::array<timespec, 2> times = {Timespec(state.accessed), Timespec(state.modified)};
  if (futimens(target, times.data()) != 0 || fsync(target) != 0) return SystemError(errno);
  return {};
}

Result<NewName> NewNameError(int error) {
  if (error == EEXIST) return NewName::kTaken;
  if (error == EXDEV) return NewName::kOtherFileSystem;
  return SystemError(error);
}

}  // namespace

Status SystemError(int error) { return {StatusCode::kRuntime, ErrorText(error)}; }

Status WriteAll(int file, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t put = write(file, data, size);
    if (put >= 0) {
      data += put;
      size -= static_cast<std::size_t>(put);
    } else if (errno != EINTR) {
      return SystemError(errno);
    }
  }
  return {};
}

Result<FileState> StateOf(const std::string& path) { return Look(path, AT_SYMLINK_NOFOLLOW); }

Result<FileState> StateBehind(const std::string& path) { return Look(path, 0); }

Result<bool> Exchange(const std::string& first, const std::string& second) {
#ifdef RENAME_EXCHANGE
  if (renameat2(AT_FDCWD, first.c_str(), AT_FDCWD, second.c_str(), RENAME_EXCHANGE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) return SystemError(errno);
#endif
  return false;
}

Status ErrorUnlessDone(const Result<bool>& exchanged) {
  return exchanged.ok() && !*exchanged ? SystemError(ENOTSUP) : exchanged.status();
}

Status ErrorUnlessMade(const Result<NewName>& name) {
  if (!name.ok() || *name == NewName::kMade) return name.status();
  return SystemError(*name == NewName::kTaken ? EEXIST : EXDEV);
}

Result<NewName> RenameNew(const std::string& from, const std::string& to) {
#ifdef RENAME_NOREPLACE
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return NewName::kMade;
  if (errno != EINVAL && errno != ENOSYS) return NewNameError(errno);
#endif
  // Not every file system knows that flag. A link never replaces anything either.
  if (link(from.c_str(), to.c_str()) != 0) {
    const bool cannot = errno == EPERM || errno == ENOTSUP || errno == EMLINK || errno == ENOSYS;
    return NewNameError(cannot ? EXDEV : errno);
  }
  Status status = Remove(from);
  if (status.ok()) return NewName::kMade;
  static_cast<void>(Remove(to));
  return status;
}

Result<NewName> CopyNew(const std::string& from, const std::string& to, const FileState& state) {
  const Descriptor source(OpenToRead(from));
  if (source.value() < 0) return SystemError(errno);
  Descriptor target(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (target.value() < 0) return NewNameError(errno);
  Status status = FillCopy(source.value(), target.value(), state);
  const int closing = target.Close();
  if (status.ok() && closing != 0) status = SystemError(closing);
  if (status.ok()) {
    const Result<bool> same = SameBytes(from, to);
    status = same.ok() && !*same ? SystemError(EIO) : same.status();
  }
  if (status.ok()) return NewName::kMade;
  static_cast<void>(Remove(to));
  return status;
}

Result<NewName> CopyUnderName(const std::string& from, const std::string& part, const std::string& to,
                              const FileState& state) {
  Result<NewName> made = CopyNew(from, part, state);
  if (!made.ok() || *made != NewName::kMade) return made;
  made = RenameNew(part, to);
  if (!made.ok() || *made != NewName::kMade) {
    static_cast<void>(Remove(part));
    return made;
  }
  SyncFolder(FolderOf(to));
  return made;
}

Status Remove(const std::string& path) { return unlink(path.c_str()) == 0 ? Status() : SystemError(errno); }

Status Rename(const std::string& from, const std::string& to) {
  return rename(from.c_str(), to.c_str()) == 0 ? Status() : SystemError(errno);
}

Status MakeLink(const std::string& file, const std::string& name) {
  return link(file.c_str(), name.c_str()) == 0 ? Status() : SystemError(errno);
}

Result<bool> SameBytes(const std::string& first, const std::string& second) {
  const Descriptor a(OpenToRead(first));
  if (a.value() < 0) return SystemError(errno);
  const Descriptor b(OpenToRead(second));
  if (b.value() < 0) return SystemError(errno);
  const std::unique_ptr<char[]> pieces(new char[2 * kPiece]);
  for (;;) {
    const Result<std::size_t> a_size = ReadPiece(a.value(), pieces.get(), kPiece);
    if (!a_size.ok()) return a_size.status();
    const Result<std::size_t> b_size = ReadPiece(b.value(), pieces.get() + kPiece, kPiece);
    if (!b_size.ok()) return b_size.status();
    if (*a_size != *b_size || std::memcmp(pieces.get(), pieces.get() + kPiece, *a_size) != 0) return false;
    if (*a_size == 0) return true;
  }
}

Result<bool> SameAttributes(const std::string& first, const std::string& second) {
  const Descriptor a(OpenToRead(first));
  if (a.value() < 0) return SystemError(errno);
  const Descriptor b(OpenToRead(second));
  if (b.value() < 0) return SystemError(errno);
  const Result<Attributes> a_has = ReadAttributes(a.value());
  if (!a_has.ok()) return a_has.status();
  const Result<Attributes> b_has = ReadAttributes(b.value());
  if (!b_has.ok()) return b_has.status();
  return *a_has == *b_has;
}

void SyncFolder(const std::string& folder) {
  const Descriptor descriptor(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.value() >= 0) static_cast<void>(fsync(descriptor.value()));
}

std::string FolderOf(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

std::string EntryName(const std::string& path) {
  const fs::path whole(path);
  std::error_code error;
  const fs::path folder = fs::canonical(whole.has_parent_path() ? whole.parent_path() : fs::path("."), error);
  return error ? "" : (folder / whole.filename()).string();
}

}  // namespace rrn
