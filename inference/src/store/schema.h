// The tables of index.db, and how a database of an earlier format becomes one of this format.
#ifndef RRN_STORE_SCHEMA_H_
#define RRN_STORE_SCHEMA_H_

#include <string>
#include <vector>

#include "rrn/status.h"
#include "store/database.h"

namespace rrn::internal {

inline constexpr int kFormat = 1;

// From format `from` to the next one.
struct Migration {
  int from;
  const char* sql;
};

// Which formats a program knows. The tests have another one.
struct Formats {
  int newest = kFormat;
  std::vector<Migration> migrations;
};

// Makes the tables in an empty database.
//   fresh: whether it was empty. Errors: kUnreadable (another process writes), kRuntime, kCorrupt.
Status MakeTables(Database* database, bool* fresh);

// Is it a store's, of a format that this program can use? An older one is brought to `formats.newest` in one
// transaction. Errors: kCorrupt (something else), kUnsupported (a newer format; an older one that cannot be changed),
// those of SQLite.
Status CheckFormat(Database* database, const Formats& formats, bool read_only);

// The format that a database says it has; kCorrupt if it is no store's.
Result<int> FormatOf(Database* database);

}  // namespace rrn::internal

#endif  // RRN_STORE_SCHEMA_H_
