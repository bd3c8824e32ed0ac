#include "store/test_recorder.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace rrn::test_support {
namespace {

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsOurs(const std::string& path) {
  static const std::string* folder = new std::string(Variable("RRN_RECORD_FOLDER"));
  const bool inside = !folder->empty() && path.compare(0, folder->size(), *folder) == 0;
  // Shared memory of running processes: SQLite makes it again.
  return inside && (path.size() < 4 || path.compare(path.size() - 4, 4, "-shm") != 0);
}

std::string PathOf(int file) {
  std::array<char, 4096> path;
  const ssize_t size = readlink(("/proc/self/fd/" + std::to_string(file)).c_str(), path.data(), path.size());
  return size <= 0 ? "" : std::string(path.data(), static_cast<std::size_t>(size));
}

std::uint64_t InodeOf(int file) {
  struct stat info = {};
  return fstat(file, &info) == 0 ? info.st_ino : 0;
}

void Note(NoteHeader header, const std::string& path, const void* data) {
  static const int log = static_cast<int>(syscall(SYS_openat, AT_FDCWD, Variable("RRN_RECORD_LOG").c_str(),
                                                  O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  header.path_size = static_cast<std::uint32_t>(path.size());
  std::string note(reinterpret_cast<const char*>(&header), sizeof header);
  note += path;
  note.append(static_cast<const char*>(data), header.data_size);
  if (syscall(SYS_write, log, note.data(), note.size()) != static_cast<long>(note.size())) _exit(3);
}

void NoteWrite(int file, const void* data, ssize_t size, off_t offset) {
  if (size <= 0 || !IsOurs(PathOf(file))) return;
  Note({NoteKind::kWrite, 0, InodeOf(file), static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(size)}, "",
       data);
}

void NoteTruncate(int file, off_t size) {
  if (IsOurs(PathOf(file))) Note({NoteKind::kTruncate, 0, InodeOf(file), static_cast<std::uint64_t>(size), 0}, "", "");
}

void NoteMade(int file) {
  const std::string path = PathOf(file);
  if (IsOurs(path)) Note({NoteKind::kMake, 0, InodeOf(file), 0, 0}, path, "");
}

void NoteSync(int file) {
  const std::string path = PathOf(file);
  if (!IsOurs(path)) return;
  struct stat info = {};
  const bool folder = fstat(file, &info) == 0 && S_ISDIR(info.st_mode);
  Note({folder ? NoteKind::kSyncFolder : NoteKind::kSync, 0, InodeOf(file), 0, 0}, path, "");
}

void NoteRemoved(const char* path) {
  if (IsOurs(path)) Note({NoteKind::kRemove, 0, 0, 0, 0}, path, "");
}

int Open(const char* path, int flags, mode_t mode) {
  static const auto next = Next<int(const char*, int, ...)>("open");
  struct stat info = {};
  const bool there = stat(path, &info) == 0;
  const int file = next(path, flags, mode);
  if (file >= 0 && !there && (flags & O_CREAT) != 0) NoteMade(file);
  if (file >= 0 && there && (flags & O_TRUNC) != 0) NoteTruncate(file, 0);
  return file;
}

ssize_t WriteAndNote(int file, const void* data, std::size_t size, off_t offset) {
  static const auto next = Next<ssize_t(int, const void*, std::size_t, off_t)>("pwrite");
  const ssize_t done = next(file, data, size, offset);
  NoteWrite(file, data, done, offset);
  return done;
}

int TruncateAndNote(int file, off_t size) {
  static const auto next = Next<int(int, off_t)>("ftruncate");
  const int result = next(file, size);
  if (result == 0) NoteTruncate(file, size);
  return result;
}

int SyncAndNote(const char* name, int file) {
  const int result = Next<int(int)>(name)(file);
  if (result == 0) NoteSync(file);
  return result;
}

}  // namespace
}  // namespace rrn::test_support

#define RRN_EXPORT extern "C" __attribute__((visibility("default")))

using namespace rrn::test_support;  // NOLINT(google-build-using-namespace): the system's functions call ours

RRN_EXPORT int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return Open(path, flags, mode);
}

RRN_EXPORT int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return Open(path, flags, mode);
}

RRN_EXPORT int mkstemp(char* name) {
  const int file = Next<int(char*)>("mkstemp")(name);
  if (file >= 0) NoteMade(file);
  return file;
}

RRN_EXPORT ssize_t pwrite(int file, const void* data, std::size_t size, off_t offset) {
  return WriteAndNote(file, data, size, offset);
}

RRN_EXPORT ssize_t pwrite64(int file, const void* data, std::size_t size, off64_t offset) {
  return WriteAndNote(file, data, size, offset);
}

RRN_EXPORT ssize_t write(int file, const void* data, std::size_t size) {
  static const auto next = Next<ssize_t(int, const void*, std::size_t)>("write");
  const off_t offset = lseek(file, 0, SEEK_CUR);
  const ssize_t done = next(file, data, size);
  if (offset >= 0) NoteWrite(file, data, done, offset);
  if (file == STDOUT_FILENO) Note({NoteKind::kAcknowledge, 0, 0, 0, 0}, "", "");
  return done;
}

RRN_EXPORT int ftruncate(int file, off_t size) noexcept { return TruncateAndNote(file, size); }
RRN_EXPORT int ftruncate64(int file, off64_t size) noexcept { return TruncateAndNote(file, size); }
RRN_EXPORT int fsync(int file) { return SyncAndNote("fsync", file); }
RRN_EXPORT int fdatasync(int file) { return SyncAndNote("fdatasync", file); }

RRN_EXPORT int unlink(const char* path) noexcept {
  const int result = Next<int(const char*)>("unlink")(path);
  if (result == 0) NoteRemoved(path);
  return result;
}

RRN_EXPORT int remove(const char* path) noexcept {
  const int result = Next<int(const char*)>("remove")(path);
  if (result == 0) NoteRemoved(path);
  return result;
}

RRN_EXPORT int rename(const char* from, const char* to) noexcept {
  const int result = Next<int(const char*, const char*)>("rename")(from, to);
  const std::string target = to;
  if (result == 0 && IsOurs(from)) Note({NoteKind::kRename, 0, 0, 0, target.size()}, from, target.data());
  return result;
}
