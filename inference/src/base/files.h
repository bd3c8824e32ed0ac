// What several rooms need of the operating system's files: a descriptor that closes itself, the identity of a file, and
// a temporary beside the place that it is meant for.
//
// Thread-safety: functions are safe, objects are not.
#ifndef RRN_BASE_FILES_H_
#define RRN_BASE_FILES_H_

#include <sys/stat.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>

namespace rrn {

// Owns a file descriptor and closes it. A negative value owns nothing.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() { static_cast<void>(Close()); }

  int value() const { return value_; }

  // Closes it now; 0 or an errno. Some file systems report only here that the disk is full.
  int Close();

 private:
  int value_;
};

// A file or folder, whatever its names: device and inode.
using FileId = std::pair<dev_t, ino_t>;

// Of what stat or fstat returned.
inline FileId IdOf(const struct stat& info) { return {info.st_dev, info.st_ino}; }

// Of what `path` leads to, symbolic links followed; empty if there is nothing, or it cannot be reached.
std::optional<FileId> IdOf(const std::string& path);

// A new, empty file or folder under a name that nothing else has, beside `place`: "PLACE." and six characters, for this
// user alone. It is removed with its contents unless Move moved it to its place, so no process sees half of it.
class Temporary {
 public:
  enum class Kind { kFile, kFolder };

  // path() is empty if it cannot be made.
  Temporary(std::string place, Kind kind);
  ~Temporary();
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  // Where it is now; empty after Move.
  const std::string& path() const { return path_; }
  const std::string& place() const { return place_; }

  // Renames it to its place, in one step; a file replaces what is there, a folder only an empty one. 0 or an errno;
  // after an error it is where it was.
  int Move();

 private:
  std::string place_;
  std::string path_;
};

// The text of an errno.
std::string ErrorText(int error);

}  // namespace rrn

#endif  // RRN_BASE_FILES_H_
