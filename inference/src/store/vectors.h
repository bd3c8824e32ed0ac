// Vector files: rows of one length at slots.
#ifndef RRN_STORE_VECTORS_H_
#define RRN_STORE_VECTORS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "rrn/status.h"
#include "rrn/store.h"

namespace rrn::internal {

// A column as the database has it.
struct Column {
  std::int64_t id = 0;
  ColumnKey key;
  StoreFloat floats = StoreFloat::kFloat32;
  std::string name;
  std::uint64_t generation = 1;
  std::uint64_t first_slot = 0;
  std::uint64_t next_slot = 0;

  std::size_t RowBytes() const;
  std::string FileName() const;
};

// The checksum of a row's bytes: the lower 32 bits of XXH3-64.
std::uint32_t RowChecksum(const std::uint8_t* bytes, std::size_t size);

// A vector file that is open. Safe to read on several threads.
class VectorFile {
 public:
  enum class Access {
    kRead,
    kWrite,
    kMake,  // makes it where it is missing
    kNew,   // empty: what a killed process left under this name is gone
  };

  // Null if it cannot be opened; errno says why.
  static std::shared_ptr<const VectorFile> Open(const std::string& folder, const Column& column, Access access);

  // Is this the file of that column, in its generation?
  bool IsOf(const Column& column) const;

  // In any generation?
  bool IsSameColumn(const Column& column) const { return column_.id == column.id; }

  // Writes `count` rows from bytes at `slot` and behind. 0 or an errno.
  int Write(std::uint64_t slot, const std::uint8_t* bytes, std::size_t count) const;

  // fdatasync. 0 or an errno.
  int Sync() const;

  // Bytes of the file; 0 where that cannot be told.
  std::uint64_t Size() const;

  // Receives the position of a slot and the bytes of its row; null where the file has none, or the disk cannot read it.
  // The bytes are those of the call only. Returns false to end.
  using Visit = std::function<bool(std::size_t position, const std::uint8_t* bytes)>;

  // Calls `visit` for each of `slots`, which ascend (equal ones may follow each other). Neighbours are read together.
  void ForEachRow(const std::vector<std::uint64_t>& slots, const Visit& visit) const;

 private:
  VectorFile(Descriptor file, Column column) : file_(std::move(file)), column_(std::move(column)) {}

  Descriptor file_;
  Column column_;
};

}  // namespace rrn::internal

#endif  // RRN_STORE_VECTORS_H_
