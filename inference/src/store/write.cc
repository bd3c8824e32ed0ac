// Changing what a store holds. The order of a write is in the documentation's page "The format of a store".
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "rrn/store.h"
#include "store/database.h"
#include "store/float16.h"
#include "store/folder.h"
#include "store/state.h"
#include "store/vectors.h"

namespace rrn {
namespace internal {
namespace {

Status CheckFiles(const std::vector<StoredFile>& files) {
  for (const StoredFile& file : files) {
    if (file.path.empty() || file.path.front() != '/' || file.path.find('\0') != std::string::npos) {
      return {StatusCode::kInvalidArgument,
              "a path to store: expected an absolute one, got '" + OneLine(file.path) + "'"};
    }
    if (file.width < 0 || file.height < 0) {
      return {StatusCode::kInvalidArgument, OneLine(file.path) + ": expected a size of 0 or more pixels"};
    }
  }
  return {};
}

// The column of a key, made where it is missing.
Result<Column> MakeColumn(StoreState* state, const ColumnKey& key) {
  Result<std::optional<Column>> found = FindColumn(*state->writer, key);
  if (!found.ok()) return found.status();
  if (*found) return **std::move(found);
  Statement insert(*state->writer,
                   "INSERT INTO columns (kind, fingerprint, dim, floats, name, generation, first_slot, next_slot)"
                   " VALUES (?, ?, ?, ?, ?, 1, 0, 0)");
  insert.Text(key.kind).Text(key.fingerprint).Bits(key.dim).Text(NameOf(state->options.floats)).Text(ColumnName(key));
  if (Status made = insert.Finish(); !made.ok()) return made;
  found = FindColumn(*state->writer, key);
  if (!found.ok()) return found.status();
  if (!*found) return Status(StatusCode::kRuntime, state->place + ": cannot make a column in " + kIndexFile);
  return **std::move(found);
}

// Writes rows to the vector file, and it to the disk.
//   checksums: receives one for each row.
Status WriteRows(StoreState* state, const Column& column, const float* rows, std::size_t count,
                 std::vector<std::uint32_t>* checksums) {
  const std::size_t dim = column.key.dim;
  if (column.floats == StoreFloat::kFloat16) {
    const std::size_t bad = FindOverflow(rows, count * dim);
    if (bad < count * dim) {
      return {StatusCode::kInvalidArgument, state->place + ": row " + Digits(bad / dim) +
                                                " of the rows to store has the value " + ShortestText(rows[bad]) +
                                                ", and float16 ends at 65504; store this column as float32"};
    }
  }
  // Only a file that has rows is known to be there. Another one may be what a killed process left, or new.
  const bool fresh = column.next_slot == column.first_slot;
  const auto file =
      VectorFile::Open(state->folder, column, fresh ? VectorFile::Access::kMake : VectorFile::Access::kWrite);
  if (file == nullptr && errno == ENOENT) {
    return {StatusCode::kCorrupt, state->place + ": " + column.FileName() + " is missing; " + kRepairAdvice};
  }
  if (file == nullptr) return FileError(*state, "open " + column.FileName(), errno);
  const std::size_t size = column.RowBytes();
  const std::size_t portion = std::max<std::size_t>(1, (std::size_t{1} << 20U) / size);
  std::vector<std::uint8_t> bytes(std::min(portion, count) * size);
  for (std::size_t at = 0; at < count; at += portion) {
    const std::size_t now = std::min(portion, count - at);
    ToBytes(rows + at * dim, now * dim, column.floats, bytes.data());
    for (std::size_t i = 0; i < now; ++i) checksums->push_back(RowChecksum(bytes.data() + i * size, size));
    if (const int error = file->Write(column.next_slot + at, bytes.data(), now); error != 0) {
      return FileError(*state, "write " + column.FileName(), error);
    }
  }
  if (const int error = file->Sync(); error != 0) return FileError(*state, "write " + column.FileName(), error);
  if (fresh) {
    if (const int error = SyncFolder(state->folder); error != 0) return FileError(*state, "write the folder", error);
  }
  return {};
}

// Replaces and makes entries, one after the other.
class EntryWriter {
 public:
  EntryWriter(const Database& database, const Column& column)
      : column_(column),
        forget_(database,
                "DELETE FROM rows WHERE column_id = ?1 AND slot ="
                " (SELECT slot FROM entries WHERE column_id = ?1 AND path = ?2)"),
        row_(database, "INSERT INTO rows (column_id, slot, checksum) VALUES (?, ?, ?)"),
        entry_(database,
               "INSERT OR REPLACE INTO entries (column_id, path, device, inode, bytes, modified_ns, changed_ns,"
               " looked_at_ns, content, width, height, captured, detail, repeated, slot, reason)"
               " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)") {}

  Status Write(const StoredFile& file, std::uint64_t slot, std::uint32_t checksum) {
    if (Status done = forget_.Integer(column_.id).Blob(file.path).Finish(); !done.ok()) return done;
    const bool has_row = file.reason.empty();
    if (has_row) {
      if (Status done = row_.Integer(column_.id).Bits(slot).Integer(checksum).Finish(); !done.ok()) return done;
    }
    const StoredState& state = file.state;
    entry_.Integer(column_.id).Blob(file.path).Bits(state.device).Bits(state.inode).Bits(state.bytes);
    entry_.Integer(state.modified_ns).Integer(state.changed_ns).Integer(file.looked_at_ns);
    const bool known =
        std::any_of(file.content.begin(), file.content.end(), [](std::uint8_t byte) { return byte != 0; });
    known ? entry_.Blob({file.content.begin(), file.content.end()}) : entry_.Null();
    entry_.Integer(file.width).Integer(file.height);
    file.captured ? entry_.Integer(*file.captured) : entry_.Null();
    entry_.Real(file.detail).Real(file.repeated);
    has_row ? entry_.Bits(slot).Null() : entry_.Null().Blob(file.reason);
    return entry_.Finish();
  }

 private:
  const Column& column_;
  Statement forget_;
  Statement row_;
  Statement entry_;
};

}  // namespace
}  // namespace internal

Status Store::Add(const ColumnKey& key, const std::vector<StoredFile>& files, const float* rows,
                  std::vector<std::uint64_t>* slots) {
  using namespace internal;  // NOLINT(google-build-using-namespace): of this function
  if (slots != nullptr) slots->clear();
  if (Status checked = CheckKey(key); !checked.ok()) return checked;
  if (Status checked = CheckFiles(files); !checked.ok()) return checked;
  Writing writing(state_.get());
  if (Status begun = writing.Begin(); !begun.ok()) return begun;
  const Result<Column> column = MakeColumn(state_.get(), key);
  if (!column.ok()) return column.status();
  const auto count = static_cast<std::size_t>(
      std::count_if(files.begin(), files.end(), [](const StoredFile& file) { return file.reason.empty(); }));
  std::vector<std::uint32_t> checksums;
  if (count > 0) {
    if (Status written = WriteRows(state_.get(), *column, rows, count, &checksums); !written.ok()) return written;
  }
  {
    EntryWriter writer(*state_->writer, *column);
    std::size_t row = 0;
    for (const StoredFile& file : files) {
      const std::uint32_t checksum = file.reason.empty() ? checksums[row] : 0;
      if (Status done = writer.Write(file, column->next_slot + row, checksum); !done.ok()) return done;
      row += file.reason.empty() ? 1 : 0;
    }
    Statement next(*state_->writer, "UPDATE columns SET next_slot = ? WHERE id = ?");
    if (Status done = next.Bits(column->next_slot + count).Integer(column->id).Finish(); !done.ok()) return done;
  }
  if (Status committed = writing.Commit(); !committed.ok()) return committed;
  for (std::size_t i = 0; slots != nullptr && i < count; ++i) slots->push_back(column->next_slot + i);
  return {};
}

Status Store::Remove(const std::vector<std::string>& paths) {
  using namespace internal;  // NOLINT(google-build-using-namespace): of this function
  Writing writing(state_.get());
  if (Status begun = writing.Begin(); !begun.ok()) return begun;
  const Result<std::vector<Column>> columns = ReadColumns(*state_->writer);
  if (!columns.ok()) return columns.status();
  {
    Statement rows(*state_->writer,
                   "DELETE FROM rows WHERE column_id = ?1 AND slot ="
                   " (SELECT slot FROM entries WHERE column_id = ?1 AND path = ?2)");
    Statement entries(*state_->writer, "DELETE FROM entries WHERE column_id = ? AND path = ?");
    for (const std::string& path : paths) {
      for (const Column& column : *columns) {
        if (Status done = rows.Integer(column.id).Blob(path).Finish(); !done.ok()) return done;
        if (Status done = entries.Integer(column.id).Blob(path).Finish(); !done.ok()) return done;
      }
    }
  }
  return writing.Commit();
}

}  // namespace rrn
