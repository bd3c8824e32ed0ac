#include "store/folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/hash.h"
#include "base/text.h"

namespace rrn::internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMarkerLine = "rrn store";

bool BeginsWith(const std::string& text, const std::string& beginning) {
  return text.compare(0, beginning.size(), beginning) == 0;
}

Status Unusable(const std::string& folder, const std::string& doing, int error) {
  const StatusCode code =
      error == ENOSPC || error == EDQUOT || error == EIO ? StatusCode::kRuntime : StatusCode::kUnreadable;
  return {code, OneLine(folder) + ": cannot " + doing + ": " + ErrorText(error)};
}

// Is there nothing in it but the marker that another process is writing?
bool IsEmpty(const std::string& folder, std::error_code* error) {
  for (fs::directory_iterator entries(folder, *error); !*error && entries != fs::directory_iterator();
       entries.increment(*error)) {
    if (!BeginsWith(entries->path().filename().string(), std::string(kMarkerFile) + ".")) return false;
  }
  return true;
}

// What the marker says; empty without one.
std::optional<Status> CheckMarker(const std::string& folder) {
  std::ifstream marker(folder + "/" + kMarkerFile);
  if (!marker) return std::nullopt;
  std::string line;
  if (std::getline(marker, line) && line == kMarkerLine) return Status();
  return Status(StatusCode::kInvalidArgument, OneLine(folder) + "/" + kMarkerFile + ": expected the line \"" +
                                                  kMarkerLine + "\", so this is no store; name another folder");
}

Status WriteMarker(const std::string& folder) {
  const std::string text = std::string(kMarkerLine) +
                           "\nThe documentation of rrn says what is in this folder (\"The format of a store\").\n"
                           "It can be deleted: all of it can be computed again.\n";
  int error = WriteWhole(folder + "/" + kMarkerFile, {{text.data(), text.size()}});
  // On the disk before anything else is in the folder, which would be taken for another's without it.
  if (error == 0) error = SyncFolder(folder);
  return error == 0 ? Status() : Unusable(folder, "make a store there", error);
}

// Makes a folder and those above it, and writes their names to the disk. 0 or an errno.
int MakeFolders(const std::string& folder) {
  std::vector<fs::path> above;  // the folders whose contents change
  std::error_code error;
  for (fs::path at = fs::absolute(folder, error).lexically_normal(); !error && !fs::exists(at, error);
       at = at.parent_path()) {
    if (at.has_filename()) above.push_back(at.parent_path());
  }
  if (!error) fs::create_directories(folder, error);
  if (error) return error.value();
  for (const fs::path& path : above) {
    // A folder that may be entered but not read cannot be synced by this user.
    const int failed = SyncFolder(path.string());
    if (failed != 0 && failed != EACCES) return failed;
  }
  return 0;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Has a file that is not finished been left by a process that was killed? One that is being written is changed all the
// time.
bool IsLeft(const fs::path& path) {
  std::error_code gone;
  const fs::file_time_type written = fs::last_write_time(path, gone);
  return !gone && fs::file_time_type::clock::now() - written > std::chrono::hours(1);
}

// KIND-HASH-GENERATION.f32 or .f16
bool IsVectorFile(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string::npos || (name.substr(dot) != ".f32" && name.substr(dot) != ".f16")) return false;
  const std::size_t last = name.rfind('-', dot);
  if (last == std::string::npos || last + 1 == dot || !std::all_of(&name[last + 1], &name[dot], IsDigit)) return false;
  if (last < 18 || name[last - 17] != '-') return false;
  return name.find_first_not_of("0123456789abcdef", last - 16) == last;
}

}  // namespace

Status PrepareFolder(const std::string& folder, const StoreOptions& options) {
  const bool may_make = options.create && !options.read_only;
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (status.type() == fs::file_type::not_found) {
    if (!may_make) return {StatusCode::kNotFound, OneLine(folder) + ": there is no such folder, so no store"};
    if (const int failed = MakeFolders(folder); failed != 0) return Unusable(folder, "make the folder", failed);
  } else if (error) {
    return Unusable(folder, "open the folder", error.value());
  } else if (status.type() != fs::file_type::directory) {
    return {StatusCode::kInvalidArgument, OneLine(folder) + ": expected a folder for a store, found a file"};
  }
  if (const std::optional<Status> marked = CheckMarker(folder)) return *marked;
  const bool empty = IsEmpty(folder, &error);
  if (error) return Unusable(folder, "list the folder", error.value());
  if (!empty) {
    // Another process may have made the store after the first look.
    if (const std::optional<Status> marked = CheckMarker(folder)) return *marked;
    return {StatusCode::kInvalidArgument, OneLine(folder) + ": holds files but no " + kMarkerFile +
                                              ", so it is no store; name an empty folder, or one that does not exist"};
  }
  if (!may_make) return {StatusCode::kNotFound, OneLine(folder) + ": the folder is empty, so no store"};
  return WriteMarker(folder);
}

int WriteWhole(const std::string& place, const std::vector<std::pair<const void*, std::size_t>>& pieces) {
  Temporary file(place, Temporary::Kind::kFile);
  if (file.path().empty()) return errno;
  Descriptor descriptor(open(file.path().c_str(), O_WRONLY | O_CLOEXEC));
  if (descriptor.value() < 0) return errno;
  std::uint64_t at = 0;
  for (const auto& [data, size] : pieces) {
    if (const int error = WriteAt(descriptor.value(), data, size, at); error != 0) return error;
    at += size;
  }
  // A temporary file is for its user alone; this one is for those who may use the folder.
  struct stat folder = {};
  if (stat(std::filesystem::path(place).parent_path().c_str(), &folder) != 0) return errno;
  if (fchmod(descriptor.value(), folder.st_mode & 0666U) != 0) return errno;
  if (fsync(descriptor.value()) != 0) return errno;
  if (const int error = descriptor.Close(); error != 0) return error;
  return file.Move();
}

int WriteAt(int file, const void* data, std::size_t size, std::uint64_t offset) {
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  while (size > 0) {
    const ssize_t done = pwrite(file, bytes, size, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done == 0 ? ENOSPC : errno;
    bytes += done;
    size -= static_cast<std::size_t>(done);
    offset += static_cast<std::uint64_t>(done);
  }
  return 0;
}

int SyncFolder(const std::string& folder) {
  const Descriptor file(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return file.value() >= 0 && fsync(file.value()) == 0 ? 0 : errno;
}

const char* NameOf(StoreFloat floats) { return floats == StoreFloat::kFloat16 ? "f16" : "f32"; }

std::string ColumnName(const ColumnKey& key) {
  Hash hash;
  hash.AddField(key.kind);
  hash.AddField(key.fingerprint);
  hash.AddField(Digits(key.dim));
  return key.kind + "-" + hash.Hex().substr(0, 16);
}

std::string VectorFileName(const std::string& column_name, std::uint64_t generation, StoreFloat floats) {
  return column_name + "-" + Digits(generation) + "." + NameOf(floats);
}

std::string DerivedFileName(const std::string& column_name, std::uint64_t generation, const std::string& derived) {
  return column_name + "-" + Digits(generation) + "-" + derived + ".bin";
}

std::vector<std::string> ListVectorFiles(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entries(folder, error); !error && entries != fs::directory_iterator();
       entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    if (IsVectorFile(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void RemoveDerived(const std::string& folder, const std::function<bool(const std::string& name)>& keep) {
  std::vector<fs::path> unwanted;
  std::error_code error;
  for (fs::directory_iterator entries(folder + "/" + kDerivedFolder, error);
       !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    const bool finished = name.size() > 4 && name.compare(name.size() - 4, 4, ".bin") == 0;
    if (finished ? !keep(name) : IsLeft(entries->path())) unwanted.push_back(entries->path());
  }
  for (const fs::path& path : unwanted) fs::remove(path, error);
}

std::optional<std::uint64_t> FileSystemType(const std::string& folder) {
  struct statfs info = {};
  if (statfs(folder.c_str(), &info) != 0) return {};
  // The field is signed and of another width on some machines; all numbers have 32 bits.
  return static_cast<std::uint32_t>(info.f_type);
}

bool IsNetworkFileSystem(std::uint64_t type) {
  constexpr std::uint64_t kTypes[] = {
      0x6969,      // NFS
      0x517b,      // SMB
      0xff534d42,  // CIFS
      0xfe534d42,  // SMB 2 and newer
      0x5346414f,  // AFS of OpenAFS
      0x6b414653,  // AFS of the kernel
      0x73757245,  // Coda
      0x564c,      // NCP
      0x00c36400,  // Ceph
      0x0bd00bd0,  // Lustre
      0x47504653,  // GPFS
      0x01161970,  // GFS2
      0x7461636f,  // OCFS2
      0x01021997,  // 9p
      0x786f4256,  // VirtualBox's shared folders
      0xbacbacbc,  // VMware's shared folders
      0x65735546,  // FUSE
  };
  return std::find(std::begin(kTypes), std::end(kTypes), type) != std::end(kTypes);
}

}  // namespace rrn::internal
