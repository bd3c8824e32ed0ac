// Opening and making stores.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/text.h"
#include "rrn/store.h"
#include "store/database.h"
#include "store/folder.h"
#include "store/schema.h"
#include "store/state.h"

namespace rrn {
namespace internal {
namespace {

bool IsThere(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0;
}

Status NoIndex(const std::string& place) {
  return {StatusCode::kCorrupt,
          place + ": " + kIndexFile +
              " is missing or empty, but vector files are there; put it back, or delete the folder, " +
              "all that is in a store can be computed again"};
}

// The journal mode that a store has, after asking for one. Another connection may be in the way: one that is just being
// opened, for a moment; one that reads, for longer: then the mode stays.
Result<std::string> SetJournalMode(Database* database, bool network, int wait_ms) {
  const std::string wanted = network ? "delete" : "wal";
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(std::min(wait_ms, 2000));
  database->SetWait(0);
  for (;;) {
    Result<std::string> mode = database->Text("PRAGMA journal_mode");
    if (mode.ok() && *mode != wanted) mode = database->Text(("PRAGMA journal_mode=" + wanted).c_str());
    const bool blocked = mode.ok() ? *mode != wanted : database->IsBusy();
    if (!blocked || std::chrono::steady_clock::now() >= until) {
      database->SetWait(wait_ms);
      return mode.ok() || !blocked ? mode : database->Text("PRAGMA journal_mode");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

std::string NetworkNote(const std::string& place, const std::string& mode) {
  if (mode == "wal") {
    return place +
           ": on a network file system, but opened by others with a log (WAL), which one machine only may use at a "
           "time";
  }
  return place +
         ": on a network file system, so journal mode DELETE instead of WAL; readers and writers wait for each other";
}

// Removes what a killed Compact left. Not now, if somebody writes.
Status CleanUp(StoreState* state) {
  const Result<std::vector<Column>> before = ReadColumns(*state->reader);
  if (!before.ok()) return before.status();
  bool orphans = false;
  for (const std::string& name : ListVectorFiles(state->folder)) {
    bool known = false;
    for (const Column& column : *before) known = known || column.FileName() == name;
    orphans = orphans || !known;
  }
  if (!orphans) return {};
  Transaction lock(&*state->writer);
  state->writer->SetWait(0);
  const Status begun = lock.BeginWriting();
  const bool busy = !begun.ok() && state->writer->IsBusy();
  state->writer->SetWait(state->options.wait_ms);
  if (!begun.ok()) return busy ? Status() : begun;
  const Result<std::vector<Column>> columns = ReadColumns(*state->writer);
  return columns.ok() ? RemoveOrphans(*state, *columns) : columns.status();
}

// Opens the connections; makes the tables in a new store.
Status Connect(StoreState* state, const Formats& formats, bool network) {
  const std::string index = state->folder + "/" + kIndexFile;
  const bool read_only = state->options.read_only;
  if (!IsThere(index)) {
    if (!ListVectorFiles(state->folder).empty()) return NoIndex(state->place);
    if (read_only || !state->options.create) {
      return {StatusCode::kNotFound, state->place + ": the store was never filled; it has no " + kIndexFile};
    }
  }
  if (!read_only) {
    if (access(state->folder.c_str(), W_OK) != 0) {
      return {StatusCode::kUnreadable, state->place + ": cannot be written to: " + ErrorText(errno) +
                                           "; open it for reading only, or take another folder"};
    }
    Result<Database> writer = Database::Open(index, state->place, Access::kWrite, state->options.wait_ms);
    if (!writer.ok()) return writer.status();
    state->writer.emplace(*std::move(writer));
    Database* database = &*state->writer;
    const Result<std::string> tables = database->Text("SELECT count(*) FROM sqlite_master");
    if (!tables.ok()) return tables.status();
    if (*tables == "0" && !ListVectorFiles(state->folder).empty()) return NoIndex(state->place);
    const Result<std::string> mode = SetJournalMode(database, network, state->options.wait_ms);
    if (!mode.ok()) return mode.status();
    bool fresh = false;
    if (Status made = MakeTables(database, &fresh); !made.ok()) return made;
    if (fresh) {
      if (const int error = SyncFolder(state->folder); error != 0) {
        return FileError(*state, "write the folder to the disk", error);
      }
    }
    if (Status known = CheckFormat(database, formats, false); !known.ok()) return known;
  }
  Result<Database> reader = OpenReader(state->folder, state->place, state->options);
  if (!reader.ok()) return reader.status();
  state->reader.emplace(*std::move(reader));
  return CheckFormat(&*state->reader, formats, true);
}

}  // namespace

Result<Store> StoreAccess::Open(const std::string& folder, const StoreOptions& options, const Formats& formats,
                                const FileSystemProbe& file_system) {
  if (folder.empty() || folder.find('\0') != std::string::npos || options.wait_ms < 0) {
    return Status(StatusCode::kInvalidArgument,
                  "opening a store: expected the name of a folder and a time to wait of 0 or more milliseconds");
  }
  if (Status prepared = PrepareFolder(folder, options); !prepared.ok()) return prepared;
  auto state = std::make_unique<StoreState>();
  state->folder = folder;
  state->place = OneLine(folder);
  state->options = options;
  const std::optional<std::uint64_t> type = file_system(folder);
  const bool network = type && IsNetworkFileSystem(*type);
  if (Status connected = Connect(state.get(), formats, network); !connected.ok()) return connected;
  if (network) {
    const Result<std::string> mode = state->reader->Text("PRAGMA journal_mode");
    if (!mode.ok()) return mode.status();
    state->note = NetworkNote(state->place, *mode);
  }
  if (!options.read_only) {
    if (Status cleaned = CleanUp(state.get()); !cleaned.ok()) return cleaned;
  }
  return Store(std::move(state));
}

}  // namespace internal

Result<Store> Store::Open(const std::string& folder, const StoreOptions& options) {
  return internal::StoreAccess::Open(folder, options, {}, internal::FileSystemType);
}

Store::Store(std::unique_ptr<internal::StoreState> state) : state_(std::move(state)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

const std::string& Store::note() const { return state_->note; }

}  // namespace rrn
