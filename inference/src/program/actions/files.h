// Moving, copying and comparing files without ever replacing one. No function prints anything or follows a symbolic
// link at the end of a path. Errors are those of the system, as its text (kRuntime) without the path; what callers have
// to tell apart, as a name that is taken, is a value.
#ifndef RRN_PROGRAM_ACTIONS_FILES_H_
#define RRN_PROGRAM_ACTIONS_FILES_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "rrn/status.h"

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

// Errors: kNotFound (there is nothing), kInvalidArgument (a symbolic link, or no regular file), kRuntime; the message
// is a reason for leaving the file alone.
Result<FileState> StateOf(const std::string& path);

// The same for the file that a symbolic link ends at.
Result<FileState> StateBehind(const std::string& path);

// Gives two entries each other's names, in one step; false where the file system cannot.
Result<bool> Exchange(const std::string& first, const std::string& second);

// The error of Exchange, also where the file system cannot.
Status ErrorUnlessDone(const Result<bool>& exchanged);

// How giving a file a new name ended.
enum class NewName {
  kMade,
  kTaken,            // something has the name, whatever it is; nothing was done
  kOtherFileSystem,  // the name is on another file system, or on one that can rename in no such way; nothing was done
};

// kMade, or the error that says why not.
Status ErrorUnlessMade(const Result<NewName>& name);

// Renames a file to a name that nothing has.
Result<NewName> RenameNew(const std::string& from, const std::string& to);

// Copies the bytes to a new file with the mode, times and (where allowed) owner of `state`, and with the extended
// attributes of people (user.*) and the access list, where the file system has them; waits until all is on the disk,
// and compares the bytes. After an error nothing is left of `to`. Returns kMade or kTaken.
Result<NewName> CopyNew(const std::string& from, const std::string& to, const FileState& state);

// The same under the name `part` first, which is then renamed to `to`, so that nothing incomplete ever has that name.
Result<NewName> CopyUnderName(const std::string& from, const std::string& part, const std::string& to,
                              const FileState& state);

// Writes all of the data, in as many pieces as it takes.
Status WriteAll(int file, const char* data, std::size_t size);

// Removes a name. Renames a file, in the place of what has the new name. Gives a file one more name.
Status Remove(const std::string& path);
Status Rename(const std::string& from, const std::string& to);
Status MakeLink(const std::string& file, const std::string& name);

// Whether two files hold the same bytes, read now.
Result<bool> SameBytes(const std::string& first, const std::string& second);

// Whether two files have the same of the attributes that CopyNew copies.
Result<bool> SameAttributes(const std::string& first, const std::string& second);

// Of an errno.
Status SystemError(int error);

// Makes new names in a folder survive a power cut; where the file system cannot, nothing happens.
void SyncFolder(const std::string& folder);

// The folder of a path, "." for a mere name.
std::string FolderOf(const std::string& path);

// `path` with its folder resolved and its last part as it is: the one way to name this very entry of a folder.
// Empty if the folder cannot be resolved.
std::string EntryName(const std::string& path);

}  // namespace rrn

#endif  // RRN_PROGRAM_ACTIONS_FILES_H_
