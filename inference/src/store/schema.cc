#include "store/schema.h"

#include <algorithm>
#include <string>

#include "base/text.h"

namespace rrn::internal {
namespace {

// The documentation's page "The format of a store" says what each column means.
constexpr const char* kTables = R"sql(
PRAGMA application_id = 1381125715;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('format', 1), ('commits', 0);
CREATE TABLE columns (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  dim INTEGER NOT NULL,
  floats TEXT NOT NULL CHECK (floats IN ('f32', 'f16')),
  name TEXT NOT NULL UNIQUE,
  generation INTEGER NOT NULL,
  first_slot INTEGER NOT NULL,
  next_slot INTEGER NOT NULL,
  UNIQUE (kind, fingerprint, dim)
);
CREATE TABLE rows (
  column_id INTEGER NOT NULL,
  slot INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (column_id, slot)
) WITHOUT ROWID;
CREATE TABLE entries (
  column_id INTEGER NOT NULL,
  path BLOB NOT NULL,
  device INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  modified_ns INTEGER NOT NULL,
  changed_ns INTEGER NOT NULL,
  looked_at_ns INTEGER NOT NULL,
  content BLOB,
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  captured INTEGER,
  detail REAL,
  repeated REAL,
  slot INTEGER,
  reason BLOB,
  PRIMARY KEY (column_id, path),
  CHECK ((slot IS NULL) <> (reason IS NULL))
) WITHOUT ROWID;
)sql";

constexpr const char* kCountTables = "SELECT count(*) FROM sqlite_master";

Status NoStore(const Database& database) {
  return {StatusCode::kCorrupt, database.place() +
                                    "/index.db: not the index of a store; delete the folder, all that is " +
                                    "in a store can be computed again"};
}

}  // namespace

Status MakeTables(Database* database, bool* fresh) {
  *fresh = false;
  Result<std::string> count = database->Text(kCountTables);
  if (!count.ok() || *count != "0") return count.status();
  Transaction transaction(database);
  if (Status begun = transaction.BeginWriting(); !begun.ok()) return begun;
  count = database->Text(kCountTables);  // another process may have been faster
  if (!count.ok() || *count != "0") return count.status();
  if (Status made = database->Run(kTables); !made.ok()) return made;
  *fresh = true;
  return transaction.Commit();
}

Result<int> FormatOf(Database* database) {
  const Result<std::string> tables =
      database->Text("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'");
  if (!tables.ok()) return tables.status();
  if (*tables == "0") return NoStore(*database);
  Statement format(*database, "SELECT value FROM meta WHERE name = 'format'");
  if (!format.Step()) return format.status().ok() ? NoStore(*database) : format.status();
  return static_cast<int>(format.IntegerAt(0));
}

Status CheckFormat(Database* database, const Formats& formats, bool read_only) {
  Result<int> format = FormatOf(database);
  if (!format.ok() || *format == formats.newest) return format.status();
  const std::string found = database->place() + ": the store has format " + std::to_string(*format);
  if (*format > formats.newest) {
    return {StatusCode::kUnsupported, found + " of a newer rrn, this one knows " + std::to_string(formats.newest) +
                                          "; use the newer rrn, or another folder"};
  }
  if (read_only)
    return {StatusCode::kUnsupported, found + " of an older rrn; open it once for writing, which updates it"};
  Transaction transaction(database);
  if (Status begun = transaction.BeginWriting(); !begun.ok()) return begun;
  format = FormatOf(database);  // another process may have been faster
  if (!format.ok()) return format.status();
  for (int at = *format; at < formats.newest; ++at) {
    const auto step = std::find_if(formats.migrations.begin(), formats.migrations.end(),
                                   [&](const Migration& migration) { return migration.from == at; });
    if (step == formats.migrations.end()) {
      return {
          StatusCode::kUnsupported,
          found + ", which cannot be updated; delete the folder, all that is in a store can " + "be computed again"};
    }
    if (Status changed = database->Run(step->sql); !changed.ok()) return changed;
  }
  Statement note(*database, "UPDATE meta SET value = ? WHERE name = 'format'");
  if (Status noted = note.Integer(formats.newest).Finish(); !noted.ok()) return noted;
  return transaction.Commit();
}

}  // namespace rrn::internal
