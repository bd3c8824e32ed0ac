// Looking at all that is in a store, and removing what is damaged.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
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

constexpr std::size_t kBatch = 4096;

// Lines of a report: of each kind the first few, then a count.
class Findings {
 public:
  void Note(const std::string& kind, const std::string& what, std::vector<std::string>* lines) {
    if (++counts_[kind] <= kMost) lines->push_back(what + ": " + kind);
  }
  void Finish(std::vector<std::string>* lines) const {
    for (const auto& [kind, count] : counts_) {
      if (count > kMost) lines->push_back("and " + Digits(count - kMost) + " more: " + kind);
    }
  }

 private:
  static constexpr std::size_t kMost = 20;
  std::map<std::string, std::size_t> counts_;
};

// An entry with a row.
struct Candidate {
  std::string path;
  std::uint64_t slot = 0;
  std::optional<std::uint32_t> checksum;
  const char* problem = nullptr;
};

struct BadEntry {
  std::int64_t column = 0;
  std::string path;
};

// Looks at a store in one transaction of `database`, which is open.
class Checker {
 public:
  Checker(const std::string& folder, Database* database, const Progress& progress)
      : folder_(folder), database_(database), progress_(progress) {}

  Status Run() {
    if (Status done = CheckDatabase(); !done.ok()) return done;
    Result<std::vector<Column>> columns = ReadColumns(*database_);
    if (!columns.ok()) return columns.status();
    Statement count(*database_, "SELECT count(slot) FROM entries");
    if (!count.Step()) return count.status();
    total_ = static_cast<std::size_t>(count.IntegerAt(0));
    for (const Column& column : *columns) {
      if (Status done = CheckColumn(column); !done.ok()) return done;
    }
    if (Status done = CheckRowsWithoutEntries(); !done.ok()) return done;
    findings_.Finish(&report.findings);
    report.damaged = bad.size();
    return {};
  }

  StoreReport report;
  std::vector<BadEntry> bad;
  bool database_is_sound = true;

 private:
  Status CheckDatabase() {
    Statement check(*database_, "PRAGMA integrity_check");
    while (check.Step()) {
      const std::string line = check.BytesAt(0);
      if (line == "ok") continue;
      database_is_sound = false;
      findings_.Note("the database's own check", OneLine(line), &report.findings);
    }
    return check.status();
  }

  Status CheckColumn(const Column& column) {
    const auto file = VectorFile::Open(folder_, column, VectorFile::Access::kRead);
    if (file == nullptr && column.next_slot > column.first_slot) {
      findings_.Note("the vector file is missing", column.FileName(), &report.findings);
    }
    Statement entries(*database_,
                      "SELECT e.path, e.slot, r.checksum FROM entries e LEFT JOIN rows r"
                      " ON r.column_id = e.column_id AND r.slot = e.slot"
                      " WHERE e.column_id = ? AND e.slot IS NOT NULL ORDER BY e.slot, e.path");
    entries.Integer(column.id);
    std::vector<Candidate> batch;
    bool more = true;
    while (more) {
      more = entries.Step();
      if (more) {
        Candidate next{entries.BytesAt(0), entries.BitsAt(1), {}, nullptr};
        if (!entries.IsNull(2)) next.checksum = static_cast<std::uint32_t>(entries.BitsAt(2));
        batch.push_back(std::move(next));
      }
      // The last one stays, so that one with the same slot finds it.
      if (batch.size() < kBatch + 1 && more) continue;
      Candidate last;
      if (more) {
        last = std::move(batch.back());
        batch.pop_back();
        if (!batch.empty() && batch.back().slot == last.slot) last.problem = batch.back().problem = kShared;
      }
      if (Status done = CheckBatch(column, file.get(), &batch); !done.ok()) return done;
      batch.clear();
      if (more) batch.push_back(std::move(last));
    }
    return entries.status();
  }

  Status CheckBatch(const Column& column, const VectorFile* file, std::vector<Candidate>* batch) {
    std::vector<std::uint64_t> slots;
    std::vector<Candidate*> readable;
    for (std::size_t i = 0; i < batch->size(); ++i) {
      Candidate& entry = (*batch)[i];
      if (i > 0 && (*batch)[i - 1].slot == entry.slot) entry.problem = (*batch)[i - 1].problem = kShared;
      if (entry.slot < column.first_slot || entry.slot >= column.next_slot) {
        entry.problem = "its slot is not one of the vector file";
      } else if (!entry.checksum) {
        entry.problem = "the checksum of its row is missing";
      } else if (file == nullptr) {
        entry.problem = "its vector file is missing";
      } else {
        slots.push_back(entry.slot);
        readable.push_back(&entry);
      }
    }
    if (file != nullptr) {
      file->ForEachRow(slots, [&](std::size_t i, const std::uint8_t* bytes) {
        Candidate& entry = *readable[i];
        if (bytes == nullptr) {
          entry.problem = "the vector file ends before its row";
        } else if (RowChecksum(bytes, column.RowBytes()) != entry.checksum) {
          entry.problem = "its row has another checksum";
        }
        return true;
      });
    }
    for (const Candidate& entry : *batch) {
      ++report.rows;
      if (entry.problem == nullptr) continue;
      bad.push_back({column.id, entry.path});
      findings_.Note(entry.problem, column.FileName() + ": " + OneLine(entry.path), &report.findings);
    }
    if (progress_ && !progress_(report.rows, total_)) return {StatusCode::kCancelled, "cancelled"};
    return {};
  }

  Status CheckRowsWithoutEntries() {
    Statement rows(*database_,
                   "SELECT column_id, slot FROM rows WHERE (column_id, slot) NOT IN"
                   " (SELECT column_id, slot FROM entries WHERE slot IS NOT NULL)");
    while (rows.Step()) {
      findings_.Note("a row without a file", "column " + Digits(rows.BitsAt(0)) + ", slot " + Digits(rows.BitsAt(1)),
                     &report.findings);
    }
    if (!rows.status().ok()) return rows.status();
    Statement lost(*database_, "SELECT count(*) FROM entries WHERE column_id NOT IN (SELECT id FROM columns)");
    if (lost.Step() && lost.IntegerAt(0) > 0) {
      findings_.Note("entries of no column", Digits(lost.BitsAt(0)), &report.findings);
    }
    return lost.status();
  }

  static constexpr const char* kShared = "its slot is that of another file too";

  const std::string& folder_;
  Database* database_;
  const Progress& progress_;
  Findings findings_;
  std::size_t total_ = 0;
};

// Removes entries and all that nothing refers to any more.
Status RemoveBad(StoreState* state, const std::vector<BadEntry>& bad) {
  Statement entry(*state->writer, "DELETE FROM entries WHERE column_id = ? AND path = ?");
  for (const BadEntry& each : bad) {
    if (Status done = entry.Integer(each.column).Blob(each.path).Finish(); !done.ok()) return done;
  }
  return state->writer->Run(
      "DELETE FROM entries WHERE column_id NOT IN (SELECT id FROM columns);"
      "DELETE FROM rows WHERE (column_id, slot) NOT IN"
      " (SELECT column_id, slot FROM entries WHERE slot IS NOT NULL)");
}

// Makes missing vector files, without rows, so that rows can be added.
Status MakeMissingFiles(StoreState* state) {
  const Result<std::vector<Column>> columns = ReadColumns(*state->writer);
  if (!columns.ok()) return columns.status();
  for (const Column& column : *columns) {
    if (VectorFile::Open(state->folder, column, VectorFile::Access::kMake) == nullptr) {
      return FileError(*state, "make " + column.FileName(), errno);
    }
  }
  const int error = SyncFolder(state->folder);
  return error == 0 ? Status() : FileError(*state, "write the folder", error);
}

// Makes indexes of the database again where its own check fails.
Status RepairDatabase(StoreState* state) {
  if (Status done = state->writer->Run("REINDEX"); !done.ok()) return done;
  const Result<std::string> line = state->writer->Text("PRAGMA integrity_check(1)");
  if (!line.ok()) return line.status();
  if (*line == "ok") return {};
  return {StatusCode::kCorrupt, state->place + ": " + kIndexFile + " is damaged beyond repair (" + OneLine(*line) +
                                    "); delete the folder, all that is in a store can be computed again"};
}

}  // namespace
}  // namespace internal

Result<StoreReport> Store::Verify(const Progress& progress) const {
  using namespace internal;  // NOLINT(google-build-using-namespace): of this function
  // A connection of its own, so that other calls go on.
  Result<Database> database = OpenReader(state_->folder, state_->place, state_->options);
  if (!database.ok()) return database.status();
  Transaction transaction(&*database);
  if (Status begun = transaction.BeginReading(); !begun.ok()) return begun;
  Checker checker(state_->folder, &*database, progress);
  if (Status done = checker.Run(); !done.ok()) return done;
  return std::move(checker.report);
}

Result<StoreReport> Store::Repair(const Progress& progress) {
  using namespace internal;  // NOLINT(google-build-using-namespace): of this function
  Writing writing(state_.get());
  if (Status begun = writing.Begin(); !begun.ok()) return begun;
  Checker checker(state_->folder, &*state_->writer, progress);
  if (Status done = checker.Run(); !done.ok()) return done;
  if (!checker.database_is_sound) {
    if (Status done = RepairDatabase(state_.get()); !done.ok()) return done;
  }
  if (!checker.report.findings.empty()) {
    if (Status done = RemoveBad(state_.get(), checker.bad); !done.ok()) return done;
    if (Status done = MakeMissingFiles(state_.get()); !done.ok()) return done;
    if (Status done = writing.Commit(); !done.ok()) return done;
  }
  RemoveDerived(state_->folder, [](const std::string&) { return false; });
  checker.report.removed = checker.bad.size();
  return std::move(checker.report);
}

}  // namespace rrn
