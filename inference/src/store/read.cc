// What a store holds: entries, rows, numbers.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "rrn/store.h"
#include "store/database.h"
#include "store/float16.h"
#include "store/folder.h"
#include "store/schema.h"
#include "store/state.h"
#include "store/vectors.h"

namespace rrn {
namespace internal {
namespace {

// Another process may remove a vector file between our look into the database and our opening the file; then the next
// look finds its successor. Only one that removes files all the time could use up this many looks.
constexpr int kLooks = 20;

StoreEntry EntryAt(const Statement& statement) {
  StoreEntry entry;
  StoredFile& file = entry.file;
  file.path = statement.BytesAt(0);
  file.state = {statement.BitsAt(1), statement.BitsAt(2), statement.BitsAt(3), statement.IntegerAt(4),
                statement.IntegerAt(5)};
  file.looked_at_ns = statement.IntegerAt(6);
  const std::string content = statement.BytesAt(7);
  if (content.size() == file.content.size()) std::memcpy(file.content.data(), content.data(), content.size());
  file.width = static_cast<int>(statement.IntegerAt(8));
  file.height = static_cast<int>(statement.IntegerAt(9));
  if (!statement.IsNull(10)) file.captured = statement.IntegerAt(10);
  file.detail = statement.RealAt(11);
  file.repeated = statement.RealAt(12);
  if (!statement.IsNull(13)) entry.slot = statement.BitsAt(13);
  file.reason = statement.BytesAt(14);
  return entry;
}

// The first text that follows all those that begin with `prefix`; empty if nothing does.
std::string After(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

// Which rows are asked for, and where they go.
struct Request {
  std::vector<std::size_t> order;    // positions, by slot
  std::vector<std::uint64_t> slots;  // in that order
  std::vector<std::optional<std::uint32_t>> checksums;
};

Request InOrder(const std::vector<std::uint64_t>& slots) {
  Request request;
  request.order.resize(slots.size());
  std::iota(request.order.begin(), request.order.end(), std::size_t{0});
  std::stable_sort(request.order.begin(), request.order.end(),
                   [&](std::size_t a, std::size_t b) { return slots[a] < slots[b]; });
  for (const std::size_t position : request.order) request.slots.push_back(slots[position]);
  request.checksums.resize(slots.size());
  return request;
}

// One query for each run of slots: all of a column are one query, single ones a query each.
Status FindChecksums(const Database& database, std::int64_t column, Request* request) {
  constexpr std::uint64_t kGap = 16;
  const std::vector<std::uint64_t>& slots = request->slots;
  Statement find(database,
                 "SELECT slot, checksum FROM rows WHERE column_id = ? AND slot BETWEEN ? AND ? ORDER BY slot");
  for (std::size_t begin = 0; begin < slots.size();) {
    std::size_t end = begin + 1;
    while (end < slots.size() && slots[end] - slots[end - 1] <= kGap) ++end;
    find.Integer(column).Bits(slots[begin]).Bits(slots[end - 1]);
    while (find.Step()) {
      const std::uint64_t slot = find.BitsAt(0);
      while (begin < end && slots[begin] < slot) ++begin;
      for (; begin < end && slots[begin] == slot; ++begin) {
        request->checksums[begin] = static_cast<std::uint32_t>(find.BitsAt(1));
      }
    }
    if (Status found = find.Finish(); !found.ok()) return found;
    begin = end;
  }
  return {};
}

// Finds what the database says of the rows, and their file, or null where it is missing.
Status Locate(StoreState* state, const ColumnKey& key, Request* request, std::shared_ptr<const VectorFile>* file,
              StoreFloat* floats) {
  for (int look = 0; look < kLooks; ++look) {
    const std::lock_guard<std::mutex> lock(state->reading);
    Transaction transaction(&*state->reader);
    if (Status begun = transaction.BeginReading(); !begun.ok()) return begun;
    const Result<std::optional<Column>> column = FindColumn(*state->reader, key);
    if (!column.ok() || !*column) return column.status();
    *floats = (*column)->floats;
    std::fill(request->checksums.begin(), request->checksums.end(), std::nullopt);
    if (Status found = FindChecksums(*state->reader, (*column)->id, request); !found.ok()) return found;
    *file = FileOf(state, **column);
    if (*file != nullptr) return {};
    if (errno != ENOENT) return FileError(*state, "open " + (*column)->FileName(), errno);
  }
  return {};
}

Status ReadColumnInfo(StoreState* state, const Database& database, const Column& column, StoreColumn* info) {
  info->key = column.key;
  info->floats = column.floats;
  info->generation = column.generation;
  info->first_slot = column.first_slot;
  Statement count(database, "SELECT count(slot), count(reason) FROM entries WHERE column_id = ?");
  count.Integer(column.id);
  if (!count.Step()) return count.status();
  info->rows = static_cast<std::size_t>(count.IntegerAt(0));
  info->skipped = static_cast<std::size_t>(count.IntegerAt(1));
  const std::uint64_t used = column.next_slot - column.first_slot;
  info->dead = used > info->rows ? static_cast<std::size_t>(used - info->rows) : 0;
  const std::shared_ptr<const VectorFile> file = FileOf(state, column);
  info->bytes = file == nullptr ? 0 : file->Size();
  return {};
}

}  // namespace
}  // namespace internal

Result<std::vector<StoreEntry>> Store::Read(const ColumnKey& key, const std::string& prefix) const {
  using namespace internal;  // NOLINT(google-build-using-namespace): of this function
  if (Status checked = CheckKey(key); !checked.ok()) return checked;
  const std::lock_guard<std::mutex> lock(state_->reading);
  const Database& database = *state_->reader;
  const std::string end = After(prefix);
  std::string sql =
      "SELECT path, device, inode, bytes, modified_ns, changed_ns, looked_at_ns, content, width, height, captured,"
      " detail, repeated, slot, reason FROM entries WHERE column_id ="
      " (SELECT id FROM columns WHERE kind = ? AND fingerprint = ? AND dim = ?) AND path >= ?";
  sql += end.empty() ? " ORDER BY path" : " AND path < ? ORDER BY path";
  Statement statement(database, sql.c_str());
  statement.Text(key.kind).Text(key.fingerprint).Bits(key.dim).Blob(prefix);
  if (!end.empty()) statement.Blob(end);
  std::vector<StoreEntry> entries;
  while (statement.Step()) entries.push_back(EntryAt(statement));
  if (!statement.status().ok()) return statement.status();
  return entries;
}

Status Store::ReadRows(const ColumnKey& key, const std::vector<std::uint64_t>& slots, float* rows,
                       std::vector<std::size_t>* damaged) const {
  using namespace internal;  // NOLINT(google-build-using-namespace): of this function
  if (damaged != nullptr) damaged->clear();
  if (Status checked = CheckKey(key); !checked.ok()) return checked;
  Request request = InOrder(slots);
  std::shared_ptr<const VectorFile> file;
  StoreFloat floats = StoreFloat::kFloat32;
  if (Status located = Locate(state_.get(), key, &request, &file, &floats); !located.ok()) return located;
  const std::size_t size = key.dim * SizeOf(floats);
  std::fill(rows, rows + slots.size() * key.dim, 0.0F);
  std::vector<std::size_t> missing;
  std::vector<std::size_t> known;  // places in the request
  std::vector<std::uint64_t> known_slots;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (file != nullptr && request.checksums[i]) {
      known.push_back(i);
      known_slots.push_back(request.slots[i]);
    } else {
      missing.push_back(request.order[i]);
    }
  }
  if (file != nullptr) {
    file->ForEachRow(known_slots, [&](std::size_t i, const std::uint8_t* bytes) {
      const std::size_t position = request.order[known[i]];
      if (bytes != nullptr && RowChecksum(bytes, size) == request.checksums[known[i]]) {
        FromBytes(bytes, key.dim, floats, rows + position * key.dim);
      } else {
        missing.push_back(position);
      }
      return true;
    });
  }
  std::sort(missing.begin(), missing.end());
  if (damaged != nullptr) {
    *damaged = std::move(missing);
  } else if (!missing.empty()) {
    return {StatusCode::kCorrupt, state_->place + ": " + std::to_string(missing.size()) + " of " +
                                      std::to_string(slots.size()) + " rows are missing or damaged; " + kRepairAdvice};
  }
  return {};
}

Result<StoreInfo> Store::Info() const {
  using namespace internal;  // NOLINT(google-build-using-namespace): of this function
  const std::lock_guard<std::mutex> lock(state_->reading);
  Database& database = *state_->reader;
  Transaction transaction(&database);
  if (Status begun = transaction.BeginReading(); !begun.ok()) return begun;
  StoreInfo info;
  const Result<int> format = FormatOf(&database);
  if (!format.ok()) return format.status();
  info.format = *format;
  Statement counts(
      database, "SELECT (SELECT count(DISTINCT path) FROM entries), (SELECT value FROM meta WHERE name = 'commits')");
  if (!counts.Step()) return counts.status();
  info.files = static_cast<std::size_t>(counts.IntegerAt(0));
  info.commits = counts.BitsAt(1);
  const Result<std::vector<Column>> columns = ReadColumns(database);
  if (!columns.ok()) return columns.status();
  for (const Column& column : *columns) {
    StoreColumn found;
    if (Status read = ReadColumnInfo(state_.get(), database, column, &found); !read.ok()) return read;
    info.columns.push_back(std::move(found));
  }
  Result<std::string> mode = database.Text("PRAGMA journal_mode");
  if (!mode.ok()) return mode.status();
  info.journal_mode = *std::move(mode);
  return info;
}

}  // namespace rrn
