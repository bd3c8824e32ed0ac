// Moving, copying and comparing files without ever replacing one. All functions return 0 or an errno, print nothing and
// follow no symbolic link at the end of a path.
#ifndef RRN_PROGRAM_ACTIONS_FILES_H_
#define RRN_PROGRAM_ACTIONS_FILES_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace rrn {

// What is known of a regular file without reading it.
struct FileState {
  dev_t device = 0;
  ino_t inode = 0;
  std::int64_t size = 0;
  std::int64_t modified = 0;  // nanoseconds since 1970
  std::int64_t accessed = 0;
  std::int64_t changed = 0;  // of the inode: nobody can set it back
  mode_t mode = 0;           // permissions
  uid_t user = 0;
  gid_t group = 0;
  std::uint64_t links = 1;  // names that the file has

  bool SameFile(const FileState& other) const { return device == other.device && inode == other.inode; }
  bool SameContent(const FileState& other) const { return size == other.size && modified == other.modified; }
};

// Empty for everything but a regular file; `error` (if not null) receives why: ENOENT, ..., ELOOP for a symbolic link,
// EINVAL for anything else that is there.
std::optional<FileState> StateOf(const std::string& path, int* error = nullptr);

// The same for the file that a symbolic link ends at; all else as StateOf.
std::optional<FileState> StateBehind(const std::string& path, int* error = nullptr);

// Gives two entries each other's names, in one step. EINVAL or ENOSYS where the file system cannot.
int Exchange(const std::string& first, const std::string& second);

// Renames a file, and fails with EEXIST if `to` is there, whatever it is. EXDEV: another file system, or one that can
// rename in no such way.
int RenameNew(const std::string& from, const std::string& to);

// Copies the bytes to a new file with the mode, times and (where allowed) owner of `state`, and with the extended
// attributes of people (user.*) and the access list, where the file system has them; waits until all is on the disk.
// EEXIST if `to` is there. After an error nothing is left of `to`.
int CopyNew(const std::string& from, const std::string& to, const FileState& state);

// Whether two files hold the same bytes, read now.
int SameBytes(const std::string& first, const std::string& second, bool* same);

// Whether two files have the same of the attributes that CopyNew copies.
int SameAttributes(const std::string& first, const std::string& second, bool* same);

// Makes new names in a folder survive a power cut; where the file system cannot, nothing happens.
void SyncFolder(const std::string& folder);

// `path` with its folder resolved and its last part as it is: the one way to name this very entry of a folder.
// Empty if the folder cannot be resolved.
std::string EntryName(const std::string& path);

}  // namespace rrn

#endif  // RRN_PROGRAM_ACTIONS_FILES_H_
