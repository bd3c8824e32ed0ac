// What an open store consists of, and what its parts share.
#ifndef RRN_STORE_STATE_H_
#define RRN_STORE_STATE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "rrn/status.h"
#include "rrn/store.h"
#include "store/database.h"
#include "store/schema.h"
#include "store/vectors.h"

namespace rrn::internal {

// Takes the place of FileSystemType in tests.
using FileSystemProbe = std::function<std::optional<std::uint64_t>(const std::string& folder)>;

struct StoreState {
  std::string folder;
  std::string place;  // the folder as messages name it
  StoreOptions options;
  std::string note;

  // A connection each for reading and for writing, so that reading goes on while another process is waited for.
  std::mutex reading;
  std::optional<Database> reader;
  std::mutex writing;
  std::optional<Database> writer;  // none with read_only

  std::mutex opened;
  std::vector<std::shared_ptr<const VectorFile>> files;  // the last one of each column
};

// Opens stores, and knows what is in one.
class StoreAccess {
 public:
  // Store::Open with formats and file systems of a test.
  static Result<Store> Open(const std::string& folder, const StoreOptions& options, const Formats& formats,
                            const FileSystemProbe& file_system);
};

// kInvalidArgument for a key that is out of range.
Status CheckKey(const ColumnKey& key);

// An error of a file or the disk, as a Status.
Status FileError(const StoreState& state, const std::string& doing, int error);

// What the messages of missing and damaged rows advise.
inline constexpr const char* kRepairAdvice = "rrn index verify --repair, or Store::Repair, removes what is damaged";

// Another connection, for calls that hold a transaction for long.
Result<Database> OpenReader(const std::string& folder, const std::string& place, const StoreOptions& options);

// The columns of a store; one of them, if it is there. To be called in a transaction where more is read.
Result<std::vector<Column>> ReadColumns(const Database& database);
Result<std::optional<Column>> FindColumn(const Database& database, const ColumnKey& key);

// The vector file of a column, from the open ones or newly opened. Null if it cannot be opened; errno says why.
std::shared_ptr<const VectorFile> FileOf(StoreState* state, const Column& column);

// A transaction that writes. It holds the Store's writing lock; the store's own lock is taken by Begin.
class Writing {
 public:
  explicit Writing(StoreState* state);

  // kInvalidArgument if the store was opened read_only, kUnreadable naming the process that writes, those of SQLite.
  Status Begin();

  // Counts the change and makes it permanent.
  Status Commit();

 private:
  StoreState* state_;
  std::unique_lock<std::mutex> lock_;
  std::optional<Transaction> transaction_;
};

// Removes vector files and derived files that no column refers to. The caller has the store's lock, and no transaction
// that changes columns is still open.
Status RemoveOrphans(const StoreState& state, const std::vector<Column>& columns);

}  // namespace rrn::internal

#endif  // RRN_STORE_STATE_H_
