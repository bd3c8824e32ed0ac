#include "store/state.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/files.h"
#include "base/text.h"
#include "store/folder.h"
#include "store/writer_note.h"

namespace rrn::internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kColumnFields =
    "SELECT id, kind, fingerprint, dim, floats, name, generation, first_slot, next_slot FROM columns ";

Column ColumnAt(const Statement& statement) {
  Column column;
  column.id = statement.IntegerAt(0);
  column.key = {statement.BytesAt(1), statement.BytesAt(2), static_cast<std::size_t>(statement.IntegerAt(3))};
  column.floats = statement.BytesAt(4) == NameOf(StoreFloat::kFloat16) ? StoreFloat::kFloat16 : StoreFloat::kFloat32;
  column.name = statement.BytesAt(5);
  column.generation = statement.BitsAt(6);
  column.first_slot = statement.BitsAt(7);
  column.next_slot = statement.BitsAt(8);
  return column;
}

// Can it be what a store has written? Sizes and paths follow from it.
bool IsSound(const Column& column) {
  return CheckKey(column.key).ok() && column.generation > 0 && column.first_slot <= column.next_slot &&
         column.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string::npos;
}

Status Damaged(const Database& database) {
  return {StatusCode::kCorrupt, database.place() + ": the columns in " + kIndexFile +
                                    " are damaged; delete the folder, all that is in a store can be computed again"};
}

}  // namespace

Status CheckKey(const ColumnKey& key) {
  constexpr std::size_t kLongestKind = 32;
  constexpr std::size_t kLongestFingerprint = 256;
  constexpr std::size_t kLongestRow = 1'000'000;
  if (key.kind.empty() || key.kind.size() > kLongestKind ||
      key.kind.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string::npos) {
    return {StatusCode::kInvalidArgument,
            "kind of a column: expected 1 to 32 of a-z, 0-9 and _, got '" + OneLine(key.kind) + "'"};
  }
  const auto printable = [](char c) { return c >= ' ' && c <= '~'; };
  if (key.fingerprint.empty() || key.fingerprint.size() > kLongestFingerprint ||
      !std::all_of(key.fingerprint.begin(), key.fingerprint.end(), printable)) {
    return {StatusCode::kInvalidArgument,
            "fingerprint of a column: expected 1 to 256 printable ASCII characters, got '" + OneLine(key.fingerprint) +
                "'"};
  }
  if (key.dim == 0 || key.dim > kLongestRow) {
    return {StatusCode::kInvalidArgument, "length of a column's rows: expected 1 to 1000000, got " + Digits(key.dim)};
  }
  return {};
}

Status FileError(const StoreState& state, const std::string& doing, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  const bool refused = error == EACCES || error == EPERM || error == EROFS;
  return {refused ? StatusCode::kUnreadable : StatusCode::kRuntime,
          state.place + ": cannot " + doing + ": " + ErrorText(error) +
              (full      ? "; nothing of this change was stored; free some space and run it again"
               : refused ? "; check the permissions of the folder and its files"
                         : "; check the disk, then run it again")};
}

Result<Database> OpenReader(const std::string& folder, const std::string& place, const StoreOptions& options) {
  const std::string path = folder + "/" + kIndexFile;
  if (!options.read_only) return Database::Open(path, place, Access::kWrite, options.wait_ms);
  // A log needs files beside the database, which cannot be made in a folder that is only for reading. Without a log,
  // all is in the database.
  struct stat info = {};
  const bool fixed = access(folder.c_str(), W_OK) != 0 && stat((path + "-wal").c_str(), &info) != 0;
  return Database::Open(path, place, fixed ? Access::kFixed : Access::kRead, options.wait_ms);
}

Result<std::vector<Column>> ReadColumns(const Database& database) {
  std::vector<Column> columns;
  Statement statement(database, (std::string(kColumnFields) + "ORDER BY id").c_str());
  while (statement.Step()) columns.push_back(ColumnAt(statement));
  if (!statement.status().ok()) return statement.status();
  if (!std::all_of(columns.begin(), columns.end(), IsSound)) return Damaged(database);
  return columns;
}

Result<std::optional<Column>> FindColumn(const Database& database, const ColumnKey& key) {
  std::optional<Column> column;
  Statement statement(database,
                      (std::string(kColumnFields) + "WHERE kind = ? AND fingerprint = ? AND dim = ?").c_str());
  statement.Text(key.kind).Text(key.fingerprint).Bits(key.dim);
  if (statement.Step()) column = ColumnAt(statement);
  if (!statement.status().ok()) return statement.status();
  if (column && !IsSound(*column)) return Damaged(database);
  return column;
}

std::shared_ptr<const VectorFile> FileOf(StoreState* state, const Column& column) {
  const std::lock_guard<std::mutex> lock(state->opened);
  for (const auto& file : state->files) {
    if (file->IsOf(column)) return file;
  }
  std::shared_ptr<const VectorFile> file = VectorFile::Open(state->folder, column, VectorFile::Access::kRead);
  if (file == nullptr) return nullptr;
  auto& files = state->files;
  files.erase(std::remove_if(files.begin(), files.end(), [&](const auto& old) { return old->IsSameColumn(column); }),
              files.end());
  files.push_back(file);
  return file;
}

Writing::Writing(StoreState* state) : state_(state), lock_(state->writing) {}

Status Writing::Begin() {
  if (!state_->writer) {
    return {StatusCode::kInvalidArgument, state_->place + ": opened for reading only, so nothing can be stored there"};
  }
  transaction_.emplace(&*state_->writer);
  Status begun = transaction_->BeginWriting();
  if (begun.ok()) {
    NoteWriter(state_->folder);
  } else if (state_->writer->IsBusy()) {
    return {StatusCode::kUnreadable,
            state_->place + ": " + DescribeWriter(state_->folder) + " writes to the store, for over " +
                Decimals(static_cast<float>(state_->options.wait_ms) / 1000.0F, 1) + " s; try again when it is done"};
  }
  return begun;
}

Status Writing::Commit() {
  Statement count(*state_->writer, "UPDATE meta SET value = value + 1 WHERE name = 'commits'");
  if (Status counted = count.Finish(); !counted.ok()) return counted;
  return transaction_->Commit();
}

Status RemoveOrphans(const StoreState& state, const std::vector<Column>& columns) {
  for (const std::string& name : ListVectorFiles(state.folder)) {
    const bool known =
        std::any_of(columns.begin(), columns.end(), [&](const Column& column) { return column.FileName() == name; });
    std::error_code error;
    if (!known && !fs::remove(state.folder + "/" + name, error) && error) {
      return FileError(state, "remove a vector file that is not needed any more", error.value());
    }
  }
  RemoveDerived(state.folder, [&](const std::string& name) {
    return std::any_of(columns.begin(), columns.end(), [&](const Column& column) {
      const std::string beginning = DerivedFileName(column.name, column.generation, "");
      const std::size_t size = beginning.rfind(".bin");
      return name.compare(0, size, beginning, 0, size) == 0;
    });
  });
  return {};
}

}  // namespace rrn::internal
