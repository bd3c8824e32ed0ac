#include "store/database.h"

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/files.h"
#include "base/text.h"

namespace rrn::internal {
namespace {

struct Kind {
  StatusCode code;
  const char* advice;
};

Kind KindOf(int code) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return {StatusCode::kUnreadable, "another process writes; try again when it is done"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
      return {StatusCode::kCorrupt,
              "index.db is damaged; delete the folder, all that is in a store can be computed again"};
    case SQLITE_CONSTRAINT:
      return {StatusCode::kCorrupt, "rrn index verify --repair, or Store::Repair, removes what is damaged"};
    case SQLITE_FULL:
      return {StatusCode::kRuntime, "nothing of this change was stored; free some space and run it again"};
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {StatusCode::kUnreadable, "check the permissions of the folder and its files"};
    case SQLITE_READONLY:
      return {StatusCode::kUnreadable,
              "nothing can be written there; open it for reading only, or take another folder"};
    case SQLITE_INTERRUPT:
      return {StatusCode::kCancelled, "cancelled"};
    case SQLITE_NOMEM:
      return {StatusCode::kRuntime, "not enough memory"};
    default:
      return {StatusCode::kRuntime, "check the disk, then run it again"};
  }
}

}  // namespace

void Database::Close::operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }

Result<Database> Database::Open(const std::string& path, const std::string& place, Access access, int wait_ms) {
  Database database(place);
  sqlite3* handle = nullptr;
  std::string uri = "file:";
  for (const char c : path) {  // all that means something in a URI
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' ||
                       c == '.' || c == '-' || c == '_';
    constexpr char kDigits[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    if (plain) {
      uri += c;
    } else {
      uri += {'%', kDigits[byte >> 4U], kDigits[byte & 15U]};
    }
  }
  if (access == Access::kFixed) uri += "?immutable=1";
  const int mode = access == Access::kWrite ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
  const int code = sqlite3_open_v2(uri.c_str(), &handle, mode | SQLITE_OPEN_URI | SQLITE_OPEN_FULLMUTEX, nullptr);
  database.handle_.reset(handle);
  if (handle == nullptr) return Status(StatusCode::kRuntime, place + ": not enough memory to open the store");
  if (code != SQLITE_OK) return database.Error("cannot open index.db");
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, wait_ms);
  // EXTRA syncs the folder too where a rollback journal is removed; with a log it is the same as FULL.
  const Status set = database.Run(
      "PRAGMA synchronous=EXTRA; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
      "PRAGMA mmap_size=0; PRAGMA cache_size=-16000;");
  if (!set.ok()) return set;
  return database;
}

Status Database::Run(const char* sql) {
  return sqlite3_exec(handle(), sql, nullptr, nullptr, nullptr) == SQLITE_OK ? Status() : Error("cannot use index.db");
}

Result<std::string> Database::Text(const char* sql) {
  Statement statement(*this, sql);
  std::string text;
  if (statement.Step()) text = statement.BytesAt(0);
  if (!statement.status().ok()) return statement.status();
  return text;
}

Status Database::Error(const std::string& doing) const {
  const int code = sqlite3_extended_errcode(handle());
  const int error = sqlite3_system_errno(handle());
  const Kind kind = KindOf(code);
  std::string why = OneLine(sqlite3_errmsg(handle()));
  const bool system = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN || (code & 0xff) == SQLITE_FULL;
  if (system && error != 0) why += " (" + ErrorText(error) + ")";
  return {kind.code, place_ + ": " + doing + ": " + why + "; " + kind.advice};
}

bool Database::IsBusy() const {
  const int code = sqlite3_errcode(handle()) & 0xff;
  return code == SQLITE_BUSY || code == SQLITE_LOCKED;
}

void Database::SetWait(int wait_ms) { sqlite3_busy_timeout(handle(), wait_ms); }

bool Database::IsIdle() const { return sqlite3_get_autocommit(handle()) != 0; }

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Statement::Statement(const Database& database, const char* sql) : database_(&database) {
  sqlite3_stmt* statement = nullptr;
  Check(sqlite3_prepare_v2(database.handle(), sql, -1, &statement, nullptr));
  statement_.reset(statement);
}

void Statement::Check(int code) {
  if (code != SQLITE_OK && status_.ok()) status_ = database_->Error("cannot use index.db");
}

Statement& Statement::Integer(std::int64_t value) {
  if (status_.ok()) Check(sqlite3_bind_int64(statement_.get(), ++bound_, value));
  return *this;
}

Statement& Statement::Bits(std::uint64_t value) { return Integer(static_cast<std::int64_t>(value)); }

Statement& Statement::Real(const std::optional<double>& value) {
  if (!value) return Null();
  if (status_.ok()) Check(sqlite3_bind_double(statement_.get(), ++bound_, *value));
  return *this;
}

// The values are copied (SQLITE_TRANSIENT is a cast to a pointer; a null destructor would promise that they stay).
Statement& Statement::Text(const std::string& value) {
  if (status_.ok()) {
    Check(sqlite3_bind_text64(statement_.get(), ++bound_, value.data(), value.size(),
                              SQLITE_TRANSIENT,  // NOLINT(performance-no-int-to-ptr): SQLite's
                              SQLITE_UTF8));
  }
  return *this;
}

Statement& Statement::Blob(const std::string& value) {
  if (status_.ok()) {
    Check(sqlite3_bind_blob64(statement_.get(), ++bound_, value.data(), value.size(),
                              SQLITE_TRANSIENT));  // NOLINT(performance-no-int-to-ptr): SQLite's
  }
  return *this;
}

Statement& Statement::Null() {
  if (status_.ok()) Check(sqlite3_bind_null(statement_.get(), ++bound_));
  return *this;
}

bool Statement::Step() {
  if (!status_.ok()) return false;
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) Check(code);
  return false;
}

Status Statement::Finish() {
  while (Step()) continue;
  if (status_.ok()) Check(sqlite3_reset(statement_.get()));
  bound_ = 0;
  return status_;
}

bool Statement::IsNull(int column) const { return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL; }

std::int64_t Statement::IntegerAt(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::uint64_t Statement::BitsAt(int column) const { return static_cast<std::uint64_t>(IntegerAt(column)); }

std::optional<double> Statement::RealAt(int column) const {
  if (IsNull(column)) return {};
  return sqlite3_column_double(statement_.get(), column);
}

std::string Statement::BytesAt(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return bytes == nullptr ? std::string()
                          : std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

Transaction::~Transaction() {
  // SQLite has undone it already after some errors. What cannot be undone now is undone when the database is opened.
  if (begun_ && !database_->IsIdle()) static_cast<void>(database_->Run("ROLLBACK"));
}

Status Transaction::BeginReading() {
  Status begun = database_->Run("BEGIN");
  begun_ = begun.ok();
  return begun;
}

Status Transaction::BeginWriting() {
  Status begun = database_->Run("BEGIN IMMEDIATE");
  begun_ = begun.ok();
  return begun;
}

Status Transaction::Commit() {
  Status done = database_->Run("COMMIT");
  if (done.ok()) begun_ = false;
  return done;
}

}  // namespace rrn::internal
