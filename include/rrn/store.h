// A store of rows: embeddings of images, or other features, that are computed once and kept on the disk together with
// what is known of their files. One folder; the documentation's page "The format of a store" describes what is in it.
//
// What Add reported as stored survives a crash of the process and of the machine: the rows are on the disk before the
// database says that they are. Any number of processes on one machine may use a store at once; one writes at a time,
// the others wait. All that is in a store can be computed again, so a damaged one is never a loss, and never silently
// wrong: each row has a checksum that is compared whenever the row is read.
//
// Thread-safety: a Store may be used by several threads at once. Functions that write wait for each other; reading goes
// on beside them.
#ifndef RRN_STORE_H_
#define RRN_STORE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rrn/progress.h"
#include "rrn/status.h"

namespace rrn {

namespace internal {
class StoreAccess;
struct StoreState;
}  // namespace internal

// How the rows of a column are kept. kFloat32 gives back the bits that were stored; kFloat16 rounds them to IEEE 754
// binary16 (to nearest, ties to even) and takes half the space.
enum class StoreFloat { kFloat32, kFloat16 };

// How to open a store.
struct StoreOptions {
  bool create = true;  // make it where it is missing; false: kNotFound
  // Nothing is written and nothing made; functions that write fail with kInvalidArgument. In a folder that this user
  // may not write to, nobody else should write meanwhile.
  bool read_only = false;
  StoreFloat floats = StoreFloat::kFloat32;  // of columns made from now on; an existing column keeps its own
  int wait_ms =
      30'000;  // for another process that writes, 0 or more milliseconds; then kUnreadable, which names its pid
};

// Which rows belong together. Rows of two keys are never mixed, whichever member differs.
struct ColumnKey {
  std::string kind = "embedding";  // 1 ... 32 of a-z, 0-9 and _
  std::string fingerprint;         // of what computed them, model and settings: 1 ... 256 printable ASCII characters
  std::size_t dim = 0;             // floats in a row, 1 ... 1,000,000
};

// What stat says of a file.
struct StoredState {
  std::uint64_t device = 0;  // kept, but not compared: see Unchanged
  std::uint64_t inode = 0;
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;  // since 1970: contents
  std::int64_t changed_ns = 0;   // since 1970: contents or inode (ctime), which no program can set
};

// What a store knows of a file.
struct StoredFile {
  std::string path;  // absolute, any bytes but 0
  StoredState state;
  // Of the system's clock, in nanoseconds since 1970, read before `state`, which was taken before the file was read.
  std::int64_t looked_at_ns = 0;
  std::array<std::uint8_t, 16> content = {};  // XXH3-128 of the bytes, as hash.Hex() has them; zeros: not known
  int width = 0;                              // of the upright picture, in pixels; 0: not known
  int height = 0;
  std::optional<std::int64_t> captured;  // when it was taken by its EXIF data, local time as seconds since 1970
  std::optional<double> detail;          // Detail of image.h, which has no infinite values
  std::optional<double> repeated;
  std::string reason;  // why the file gave no row; empty: it has one
};

// A file, and the slot of its row in the column that was asked for; none where the file has a reason instead.
// A slot is a number for one row of a column for good: it is never given to another row, not even after Compact.
struct StoreEntry {
  StoredFile file;
  std::optional<std::uint64_t> slot;
};

// One column of a store.
struct StoreColumn {
  ColumnKey key;
  StoreFloat floats = StoreFloat::kFloat32;
  std::uint64_t generation = 0;  // 1, and one more after each Compact that moved its rows
  std::uint64_t first_slot = 0;  // of this generation; slots in use are first_slot ... first_slot + rows + dead - 1
  std::size_t rows = 0;
  std::size_t skipped = 0;  // files with a reason instead of a row
  std::size_t dead = 0;     // slots whose row was replaced or removed; Compact gives their space back
  std::uint64_t bytes = 0;  // of the vector file
};

// What is in a store.
struct StoreInfo {
  int format = 0;         // version of the format
  std::size_t files = 0;  // paths with an entry in any column
  std::vector<StoreColumn> columns;
  std::uint64_t commits = 0;  // changes since the store was made; another number, another content
  std::string journal_mode;   // "wal", or "delete" on a network file system
};

// What Verify, Repair or Compact found and did.
struct StoreReport {
  std::vector<std::string> findings;  // a line for each thing that is wrong; of many of one kind, the first and a count
  std::size_t rows = 0;               // that were looked at
  std::size_t damaged = 0;            // entries whose row is not there or has another checksum
  std::size_t removed = 0;            // Repair: entries; Compact: dead rows
  std::uint64_t freed = 0;            // bytes of vector files that were given back
};

// Is a file as it was when it was stored? Not if its size, times or inode differ, and not if it was changed so shortly
// before it was looked at that a later change could have left the same times (git's racy-clean rule): within 20 ms,
// two ticks of the kernel's clock, or within 2 s where the nanoseconds of both times are zero, as on file systems that
// keep whole seconds. The device is not compared, because its number may be another one after each start of the
// machine.
bool Unchanged(const StoredFile& stored, const StoredState& now);

// An open store.
class Store {
 public:
  // Opens the store in `folder`, or makes one where the folder is missing or empty. Removes files that a killed Compact
  // left.
  // Errors: kNotFound (not there, and not to be made), kInvalidArgument (the folder holds something else), kUnreadable
  // (no permission; another process writes for longer than wait_ms), kUnsupported (made by a newer version), kCorrupt
  // (damaged), kRuntime (the disk is full or fails). All messages name the folder and say what to do.
  static Result<Store> Open(const std::string& folder, const StoreOptions& options = {});

  // One that was moved from may only be assigned to or destroyed.
  Store(Store&&) noexcept;
  // Closes the store that was open before.
  Store& operator=(Store&&) noexcept;
  ~Store();

  // What a user should know of how it was opened, one line; empty if there is nothing.
  const std::string& note() const;

  // The entries of a column, sorted by path (as bytes); none if there is no such column.
  //   prefix: only paths that begin with these bytes.
  // Memory: all entries that are returned, about 300 bytes each.
  // Errors: kInvalidArgument (the key is out of range), kUnreadable, kCorrupt, kRuntime.
  Result<std::vector<StoreEntry>> Read(const ColumnKey& key, const std::string& prefix = "") const;

  // Reads the rows of `slots`, in any order, into float32 [slots.size(), dim].
  //   damaged: may be null; receives the positions in `slots`, ascending, of rows that are not there (any more) or
  //   whose checksum is wrong; their floats are 0. Without it, such a row is an error (kCorrupt).
  // Errors: as for Read.
  Status ReadRows(const ColumnKey& key, const std::vector<std::uint64_t>& slots, float* rows,
                  std::vector<std::size_t>* damaged) const;

  // Stores files and their rows as one change: all of it is stored, or nothing. When it returns success, it is on the
  // disk. An earlier entry of a path in the column is replaced.
  //   rows: float32 [files without a reason, dim], in the order of the files; may be null without such files.
  //   slots: may be null; receives the slots of these rows.
  // Errors: kInvalidArgument (a key or path out of range, a value that float16 cannot hold, opened with read_only),
  // kUnreadable (another process writes for longer than wait_ms), kCorrupt, kRuntime (the disk is full or fails).
  Status Add(const ColumnKey& key, const std::vector<StoredFile>& files, const float* rows,
             std::vector<std::uint64_t>* slots = nullptr);

  // Removes the entries of these paths from all columns, as one change; paths without an entry are no error.
  // Errors: as for Add.
  Status Remove(const std::vector<std::string>& paths);

  // What is in it. Errors: as for Read.
  Result<StoreInfo> Info() const;

  // Looks at everything: the database's own check, the checksum of each row, slots, lengths of files. Damage is in
  // StoreReport::findings and no error. Other processes may go on, but the database's journal grows meanwhile.
  //   progress: in rows.
  // Errors: as for Read, and kCancelled.
  Result<StoreReport> Verify(const Progress& progress = {}) const;

  // Removes all entries that Verify complains of, so that their files are computed again, and all derived data.
  // Errors: as for Verify and Add, and kCorrupt (the database itself is damaged beyond that).
  Result<StoreReport> Repair(const Progress& progress = {});

  // Moves the rows of each column with dead ones to a new file, and gives unused space of the database back. A crash
  // leaves the state before or after a column was moved. Rows get other slots.
  //   progress: in rows.
  // Errors: as for Repair; kCorrupt if a row is damaged (Repair first).
  Result<StoreReport> Compact(const Progress& progress = {});

  // Data that was made from the rows of a column, say an index for searching; never the truth: nothing is returned
  // where it is missing, damaged, or was written before rows were moved by Compact.
  //   name: 1 ... 64 of a-z, 0-9, _ and -.
  std::optional<std::vector<std::uint8_t>> ReadDerived(const ColumnKey& key, const std::string& name) const;

  // Keeps such data in place of earlier data of that name; other processes see the old or the new. Rows that are added
  // later do not make it go away, so it has to say itself which slots it is of.
  // Errors: kInvalidArgument (the name, read_only), kNotFound (no such column), kUnreadable, kRuntime.
  Status WriteDerived(const ColumnKey& key, const std::string& name, const std::uint8_t* data, std::size_t size);

 private:
  friend class internal::StoreAccess;
  explicit Store(std::unique_ptr<internal::StoreState> state);

  std::unique_ptr<internal::StoreState> state_;
};

}  // namespace rrn

#endif  // RRN_STORE_H_
