// SQLite's C interface with owned handles and with errors as values.
#ifndef RRN_STORE_DATABASE_H_
#define RRN_STORE_DATABASE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "rrn/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace rrn::internal {

// How a database is opened. kFixed: nobody changes it while it is open, so it needs no files beside it.
enum class Access { kWrite, kRead, kFixed };

// One connection. SQLite serialises its calls, but a statement, a transaction and its errors belong together: use one
// on one thread at a time.
class Database {
 public:
  // place: what messages call it: one line, the store's folder. Errors: kUnreadable, kCorrupt, kRuntime.
  static Result<Database> Open(const std::string& path, const std::string& place, Access access, int wait_ms);

  // Runs statements without values and results.
  Status Run(const char* sql);

  // The first value of the first row as text; empty without a row.
  Result<std::string> Text(const char* sql);

  // The error of the call that just failed, as a Status: what failed, why, what to do.
  Status Error(const std::string& doing) const;

  // Whether it failed because another connection has the lock.
  bool IsBusy() const;

  // How long to wait for another connection's lock from now on.
  void SetWait(int wait_ms);

  // Is no transaction open?
  bool IsIdle() const;

  const std::string& place() const { return place_; }
  sqlite3* handle() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* handle) const;
  };

  explicit Database(std::string place) : place_(std::move(place)) {}

  std::string place_;
  std::unique_ptr<sqlite3, Close> handle_;
};

// A prepared statement, whose parameters are given in their order. After an error, Step returns false and status() has
// it, so the calls before need no checks. Must not outlive its Database.
class Statement {
 public:
  Statement(const Database& database, const char* sql);

  Statement& Integer(std::int64_t value);
  Statement& Bits(std::uint64_t value);  // as the signed integer with the same bits
  Statement& Real(const std::optional<double>& value);
  Statement& Text(const std::string& value);
  Statement& Blob(const std::string& value);
  Statement& Null();

  // Goes to the next row. False after the last one, or after an error.
  bool Step();

  // Runs it to its end and makes it ready for the next values.
  Status Finish();

  const Status& status() const { return status_; }

  // Values of the current row.
  bool IsNull(int column) const;
  std::int64_t IntegerAt(int column) const;
  std::uint64_t BitsAt(int column) const;
  std::optional<double> RealAt(int column) const;
  std::string BytesAt(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };

  void Check(int code);

  const Database* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  Status status_;
  int bound_ = 0;
};

// A transaction that ends with its object: without Commit, as if it had not been.
class Transaction {
 public:
  explicit Transaction(Database* database) : database_(database) {}
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  Status BeginReading();
  Status BeginWriting();
  Status Commit();

 private:
  Database* database_;
  bool begun_ = false;
};

}  // namespace rrn::internal

#endif  // RRN_STORE_DATABASE_H_
