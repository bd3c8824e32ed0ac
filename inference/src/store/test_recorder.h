// What store_test_recorder notes of a process: all that it asks of the disk, in order. A library that is loaded before
// the others (LD_PRELOAD) and stands in for the system's functions; it is for tests.
//   RRN_RECORD_FOLDER   only files in this folder (an absolute path without links); also "acknowledged": a byte written
//                       to standard output
//   RRN_RECORD_LOG      where the notes go
#ifndef RRN_STORE_TEST_RECORDER_H_
#define RRN_STORE_TEST_RECORDER_H_

#include <cstdint>

namespace rrn::test_support {

enum class NoteKind : std::uint32_t { kMake, kWrite, kTruncate, kSync, kSyncFolder, kRemove, kRename, kAcknowledge };

// In the log, the bytes of the path and the data follow.
struct NoteHeader {
  NoteKind kind;
  std::uint32_t path_size;  // kMake, kRemove, kRename: the name; kSyncFolder: the folder
  std::uint64_t file;       // its inode
  std::uint64_t offset;     // kWrite; kTruncate: the new size
  std::uint64_t data_size;  // kWrite: what is written; kRename: the new name
};

}  // namespace rrn::test_support

#endif  // RRN_STORE_TEST_RECORDER_H_
