// Giving back the space of rows that were replaced or removed.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/text.h"
#include "rrn/store.h"
#include "store/database.h"
#include "store/folder.h"
#include "store/state.h"
#include "store/vectors.h"

namespace rrn {
namespace internal {
namespace {

// The rows of a column, by slot.
struct LiveRows {
  std::vector<std::uint64_t> slots;
  std::vector<std::uint32_t> checksums;
};

Result<LiveRows> FindLiveRows(const Database& database, const Column& column) {
  LiveRows rows;
  Statement statement(database, "SELECT slot, checksum FROM rows WHERE column_id = ? ORDER BY slot");
  statement.Integer(column.id);
  while (statement.Step()) {
    rows.slots.push_back(statement.BitsAt(0));
    rows.checksums.push_back(static_cast<std::uint32_t>(statement.BitsAt(1)));
  }
  if (!statement.status().ok()) return statement.status();
  return rows;
}

// Collects rows and writes them to a new vector file, one after the other.
class Mover {
 public:
  Mover(const StoreState& state, const VectorFile& target, const Column& column)
      : state_(state), target_(target), column_(column), size_(column.RowBytes()) {}

  Status Take(const std::uint8_t* bytes) {
    constexpr std::size_t kBlock = std::size_t{1} << 20U;
    buffer_.insert(buffer_.end(), bytes, bytes + size_);
    return buffer_.size() < kBlock ? Status() : Flush();
  }

  Status Flush() {
    const std::size_t count = buffer_.size() / size_;
    const int error = target_.Write(column_.first_slot + written_, buffer_.data(), count);
    if (error != 0) return FileError(state_, "write " + column_.FileName(), error);
    written_ += count;
    buffer_.clear();
    return {};
  }

 private:
  const StoreState& state_;
  const VectorFile& target_;
  const Column& column_;
  std::size_t size_;
  std::vector<std::uint8_t> buffer_;
  std::size_t written_ = 0;
};

// Writes all rows to the vector file of `to`, and it to the disk.
//   progress: receives the rows that are done of this column; false to cancel.
Status CopyRows(StoreState* state, const Column& from, const Column& to, const LiveRows& rows,
                const std::function<bool(std::size_t)>& progress) {
  const auto source = VectorFile::Open(state->folder, from, VectorFile::Access::kRead);
  const auto target = VectorFile::Open(state->folder, to, VectorFile::Access::kNew);
  if (target == nullptr) return FileError(*state, "make " + to.FileName(), errno);
  const Status damaged(StatusCode::kCorrupt,
                       state->place + ": " + from.FileName() + " has damaged rows; " + kRepairAdvice);
  if (source == nullptr) return damaged;
  Mover mover(*state, *target, to);
  Status status;
  source->ForEachRow(rows.slots, [&](std::size_t i, const std::uint8_t* bytes) {
    if (bytes == nullptr || RowChecksum(bytes, from.RowBytes()) != rows.checksums[i]) {
      status = damaged;
    } else {
      status = mover.Take(bytes);
    }
    constexpr std::size_t kStep = 1024;
    if (status.ok() && i % kStep == 0 && !progress(i)) status = {StatusCode::kCancelled, "cancelled"};
    return status.ok();
  });
  if (!status.ok()) return status;
  if (status = mover.Flush(); !status.ok()) return status;
  if (const int error = target->Sync(); error != 0) return FileError(*state, "write " + to.FileName(), error);
  const int error = SyncFolder(state->folder);
  return error == 0 ? Status() : FileError(*state, "write the folder", error);
}

// Gives all rows of a column their new slots.
Status MoveSlots(StoreState* state, const Column& to, const LiveRows& rows) {
  Database* database = &*state->writer;
  if (Status made = database->Run("CREATE TEMP TABLE IF NOT EXISTS moved (old INTEGER PRIMARY KEY, new INTEGER);"
                                  "DELETE FROM moved");
      !made.ok()) {
    return made;
  }
  Statement move(*database, "INSERT INTO moved VALUES (?, ?)");
  for (std::size_t i = 0; i < rows.slots.size(); ++i) {
    if (Status done = move.Bits(rows.slots[i]).Bits(to.first_slot + i).Finish(); !done.ok()) return done;
  }
  for (const char* sql : {"UPDATE entries SET slot = (SELECT new FROM moved WHERE old = slot)"
                          " WHERE column_id = ? AND slot IS NOT NULL",
                          "UPDATE rows SET slot = (SELECT new FROM moved WHERE old = slot) WHERE column_id = ?"}) {
    Statement change(*database, sql);
    if (Status done = change.Integer(to.id).Finish(); !done.ok()) return done;
  }
  Statement column(*database, "UPDATE columns SET generation = ?, first_slot = ?, next_slot = ? WHERE id = ?");
  column.Bits(to.generation).Bits(to.first_slot).Bits(to.next_slot).Integer(to.id);
  if (Status done = column.Finish(); !done.ok()) return done;
  return database->Run("DELETE FROM moved");
}

std::uint64_t SizeOfFile(const StoreState& state, const Column& column) {
  std::error_code missing;
  const std::uintmax_t size = std::filesystem::file_size(state.folder + "/" + column.FileName(), missing);
  return missing ? 0 : size;
}

// One column, as one change.
Status CompactColumn(StoreState* state, const ColumnKey& key, const std::function<bool(std::size_t)>& progress,
                     StoreReport* report) {
  Writing writing(state);
  if (Status begun = writing.Begin(); !begun.ok()) return begun;
  const Result<std::optional<Column>> from = FindColumn(*state->writer, key);
  if (!from.ok() || !*from) return from.status();
  const Result<LiveRows> rows = FindLiveRows(*state->writer, **from);
  if (!rows.ok()) return rows.status();
  const std::uint64_t used = (*from)->next_slot - (*from)->first_slot;
  report->rows += rows->slots.size();
  if (used == rows->slots.size()) return {};
  Column to = **from;
  to.generation += 1;
  to.first_slot = (*from)->next_slot;
  to.next_slot = to.first_slot + rows->slots.size();
  Status status = CopyRows(state, **from, to, *rows, progress);
  if (status.ok()) status = MoveSlots(state, to, *rows);
  if (!status.ok()) {
    std::error_code ignored;  // the next Open tries again
    std::filesystem::remove(state->folder + "/" + to.FileName(), ignored);
    return status;
  }
  // After an error here nobody knows which of the two files is the right one until the database is opened again.
  if (status = writing.Commit(); !status.ok()) return status;
  const std::uint64_t before = SizeOfFile(*state, **from);
  const std::uint64_t after = SizeOfFile(*state, to);
  report->removed += used - rows->slots.size();
  report->freed += before - std::min(before, after);
  return {};
}

}  // namespace
}  // namespace internal

Result<StoreReport> Store::Compact(const Progress& progress) {
  using namespace internal;  // NOLINT(google-build-using-namespace): of this function
  const Result<StoreInfo> info = Info();
  if (!info.ok()) return info.status();
  std::size_t total = 0;
  for (const StoreColumn& column : info->columns) total += column.rows;
  StoreReport report;
  for (const StoreColumn& column : info->columns) {
    const std::size_t before = report.rows;
    const auto count = [&](std::size_t done) { return !progress || progress(std::min(before + done, total), total); };
    if (Status done = CompactColumn(state_.get(), column.key, count, &report); !done.ok()) return done;
  }
  {
    Writing writing(state_.get());  // for its lock
    if (Status begun = writing.Begin(); !begun.ok()) return begun;
    const Result<std::vector<Column>> columns = ReadColumns(*state_->writer);
    if (!columns.ok()) return columns.status();
    if (Status removed = RemoveOrphans(*state_, *columns); !removed.ok()) return removed;
  }
  {
    const std::lock_guard<std::mutex> lock(state_->writing);
    const Status shrunk = state_->writer->Run("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
    // Another process that reads or writes is in the way; the space is used again anyhow.
    if (!shrunk.ok() && !state_->writer->IsBusy()) return shrunk;
  }
  if (progress && !progress(total, total)) return Status(StatusCode::kCancelled, "cancelled");
  return report;
}

}  // namespace rrn
