// Embeddings of files through a store: what is known and unchanged is not read again.
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/cache_folder.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "rrn/image.h"
#include "rrn/similarity.h"
#include "rrn/store.h"
#include "similarity/records.h"

namespace rrn {
namespace {

// Files that are embedded before what was found is stored: few at first, so that little is lost when a run is killed
// soon, then as many as take this long, so that neither the threads that wait at a portion's end nor the disk cost
// much.
constexpr std::size_t kFirstPortion = 64;
constexpr std::size_t kLargestPortion = 4096;
constexpr auto kPortionTime = std::chrono::seconds(10);

std::int64_t NowNs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

std::optional<StoredState> StateOf(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return std::nullopt;
  constexpr std::int64_t kNanoseconds = 1'000'000'000;
  StoredState state;
  state.device = info.st_dev;
  state.inode = info.st_ino;
  state.bytes = static_cast<std::uint64_t>(info.st_size);
  state.modified_ns = info.st_mtim.tv_sec * kNanoseconds + info.st_mtim.tv_nsec;
  state.changed_ns = info.st_ctim.tv_sec * kNanoseconds + info.st_ctim.tv_nsec;
  return state;
}

// Whether the open file that was read is the one whose state was taken before.
bool IsSame(const StoredState& before, const FileProperties& read) {
  return before.device == read.device && before.inode == read.inode && before.bytes == read.bytes &&
         before.modified_ns == read.modified;
}

// The names under which files are stored: symbolic links of folders are resolved, those of files are not, because a
// link that is changed is another file.
class AbsolutePaths {
 public:
  std::string Of(const std::string& path) {
    const std::filesystem::path given(path);
    const std::string folder = given.parent_path().empty() ? "." : given.parent_path().string();
    auto found = folders_.find(folder);
    if (found == folders_.end()) {
      std::error_code error;
      std::filesystem::path real = std::filesystem::canonical(folder, error);
      if (error) real = std::filesystem::absolute(folder, error).lexically_normal();
      found = folders_.emplace(folder, real.string()).first;
    }
    return found->second + (found->second == "/" ? "" : "/") + given.filename().string();
  }

 private:
  std::unordered_map<std::string, std::string> folders_;
};

// The folder that all paths are in, with a slash at its end; "/" where they have nothing else in common.
std::string CommonFolder(const std::vector<std::string>& paths) {
  if (paths.empty()) return "/";
  const auto [first, last] = std::minmax_element(paths.begin(), paths.end());
  const auto differ = std::mismatch(first->begin(), first->end(), last->begin(), last->end()).first;
  const std::string_view same(first->data(), static_cast<std::size_t>(differ - first->begin()));
  return std::string(same.substr(0, same.rfind('/') + 1));
}

// What a moved folder leaves as it is. Two file systems may have files of the same inode and times.
using Identity = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::int64_t, std::int64_t>;

Identity IdentityOf(const StoredState& state) {
  return {state.device, state.inode, state.bytes, state.modified_ns, state.changed_ns};
}

// What a store holds of files.
class Known {
 public:
  explicit Known(std::vector<StoreEntry> entries) : entries_(std::move(entries)) {
    for (const StoreEntry& entry : entries_) {
      by_path_.emplace(entry.file.path, &entry);
      by_identity_.emplace(IdentityOf(entry.file.state), &entry);
    }
  }

  // The entry of a file, under its name or another one that it had; null where it is not known, or has changed.
  const StoreEntry* Find(const std::string& path, const StoredState& now) const {
    const auto named = by_path_.find(path);
    if (named != by_path_.end()) return Unchanged(named->second->file, now) ? named->second : nullptr;
    const auto same = by_identity_.find(IdentityOf(now));
    if (same == by_identity_.end() || !Unchanged(same->second->file, now)) return nullptr;
    return same->second;
  }

 private:
  std::vector<StoreEntry> entries_;
  std::unordered_map<std::string_view, const StoreEntry*> by_path_;
  std::map<Identity, const StoreEntry*> by_identity_;
};

}  // namespace

ColumnKey EmbeddingColumn(const Embedder& embedder, bool full_size) {
  const DecodeOptions decode = embedder.decode();
  Hash hash;
  hash.AddField(embedder.info().fingerprint);
  hash.AddField(std::to_string(decode.max_pixels));
  hash.AddField(std::to_string(full_size ? 0 : decode.target));
  ColumnKey key;
  key.fingerprint = hash.Hex();
  key.dim = static_cast<std::size_t>(embedder.info().dim);
  return key;
}

Result<std::string> DefaultStoreFolder(const std::string& folder) {
  const std::string stores = MakeCacheFolder("stores");
  if (stores.empty()) {
    return Status(StatusCode::kUnreadable,
                  "nothing is kept for the next run, because there is no cache folder that can be written; --store "
                  "names another place");
  }
  if (folder.empty()) return stores + "/lists";
  std::error_code error;
  std::filesystem::path real = std::filesystem::canonical(folder, error);
  if (error) real = folder;
  Hash hash;
  hash.AddField(real.string());
  constexpr std::size_t kDigits = 16;
  return stores + "/" + hash.Hex().substr(0, kDigits);
}

namespace {

// One call of EmbedThroughStore.
class StoredRun {
 public:
  StoredRun(const Embedder& embedder, Store* store, const std::vector<std::string>& paths,
            const SimilarityOptions& options, const Progress& progress)
      : embedder_(embedder),
        store_(store),
        key_(EmbeddingColumn(embedder, internal::NeedsFullSize(options))),
        paths_(paths),
        options_(options),
        progress_(progress),
        files_(paths.size()) {
    result_.images.resize(paths.size());
  }

  Result<StoredEmbeddings> Run() {
    Status status = LookUp();
    if (status.ok()) status = EmbedUnknown();
    FillTwins();
    if (status.ok()) status = MakeThumbnails();
    if (!status.ok()) return status;
    Assemble();
    return std::move(result_);
  }

 private:
  // One of the paths.
  struct File {
    std::optional<std::size_t> twin;  // an earlier path that has the same name
    std::string name;                 // in the store
    bool known = false;               // from the store, or embedded
    SkippedFile skipped;              // with an empty reason: it has a row
    std::size_t row = 0;              // in rows_
    std::uint64_t slot = kNotStored;
  };

  // The store is of use only; a run does not fail for it.
  void GiveUp(const Status& status) {
    if (result_.use.note.empty()) result_.use.note = status.message();
    storing_ = false;
  }

  Status LookUp() {
    AbsolutePaths absolute;
    std::vector<std::string> names;
    names.reserve(paths_.size());
    for (const std::string& path : paths_) names.push_back(absolute.Of(path));
    const std::string folder = CommonFolder(names);
    std::vector<std::optional<StoredState>> states;
    states.reserve(paths_.size());
    for (const std::string& path : paths_) states.push_back(StateOf(path));
    std::unordered_map<std::string, std::size_t> first;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      files_[i].name = std::move(names[i]);
      const auto [place, is_new] = first.emplace(files_[i].name, i);
      if (!is_new) files_[i].twin = place->second;
    }

    std::size_t found = 0;
    std::vector<std::size_t> with_row;
    std::vector<std::uint64_t> slots;
    // Those that are not found in the folder may have been elsewhere.
    for (const std::string& prefix : {folder, std::string()}) {
      Result<std::vector<StoreEntry>> entries = store_->Read(key_, prefix);
      if (!entries.ok()) {
        GiveUp(entries.status());
        return {};
      }
      const Known known(*std::move(entries));
      for (std::size_t i = 0; i < files_.size(); ++i) {
        if (files_[i].known || files_[i].twin || !states[i]) continue;
        const StoreEntry* entry = known.Find(files_[i].name, *states[i]);
        if (entry == nullptr || !Complete(*entry)) continue;
        Take(*entry, *states[i], i);
        ++found;
        if (entry->file.path != files_[i].name) moved_.emplace_back(i, entry->file);
        if (!entry->slot) continue;
        files_[i].slot = *entry->slot;
        with_row.push_back(i);
        slots.push_back(*entry->slot);
      }
      if (found == files_.size()) break;
    }
    Status status = ReadKnownRows(with_row, slots);
    if (status.ok()) KeepMoved();
    return status;
  }

  // Stores what was known of files under another name under their own, so that they stay known when the old name's
  // entry is removed.
  void KeepMoved() {
    std::vector<StoredFile> files;
    std::vector<float> rows;
    std::vector<std::size_t> with_row;
    for (auto& [i, file] : moved_) {
      if (!files_[i].known) continue;
      file.path = files_[i].name;
      if (file.reason.empty()) {
        const auto row = rows_.begin() + static_cast<std::ptrdiff_t>(files_[i].row * key_.dim);
        rows.insert(rows.end(), row, row + static_cast<std::ptrdiff_t>(key_.dim));
        with_row.push_back(i);
      }
      files.push_back(std::move(file));
    }
    if (files.empty() || !storing_) return;
    std::vector<std::uint64_t> slots;
    const Status status = store_->Add(key_, files, rows.data(), &slots);
    if (!status.ok()) return GiveUp(status);
    for (std::size_t k = 0; k < with_row.size(); ++k) files_[with_row[k]].slot = slots[k];
  }

  // Whether an entry has all that the run asks for. One that was not made by a run may lack the picture's size.
  bool Complete(const StoreEntry& entry) const {
    if (!entry.file.reason.empty()) return true;
    const bool wants_size = options_.keep == RepresentativePolicy::kLargest || options_.thumbnail_edge > 0;
    return entry.slot && (!wants_size || entry.file.width > 0) &&
           (!internal::NeedsFullSize(options_) || entry.file.detail);
  }

  void Take(const StoreEntry& entry, const StoredState& state, std::size_t i) {
    files_[i].known = true;
    const StoredFile& file = entry.file;
    if (!file.reason.empty()) {
      files_[i].skipped = {paths_[i], file.reason, StatusCode::kCorrupt};
      return;
    }
    ImageRecord& record = result_.images[i];
    record.file = {state.device, state.inode, state.bytes, state.modified_ns, file.content};
    record.width = file.width;
    record.height = file.height;
    record.captured = file.captured;
    if (file.detail) record.detail = {*file.detail, file.repeated.value_or(0)};
  }

  Status ReadKnownRows(const std::vector<std::size_t>& with_row, const std::vector<std::uint64_t>& slots) {
    rows_.resize(with_row.size() * key_.dim);
    std::vector<std::size_t> damaged;
    const Status status = store_->ReadRows(key_, slots, rows_.data(), &damaged);
    if (!status.ok()) {
      GiveUp(status);
      for (const std::size_t i : with_row) {
        files_[i].known = false;
        files_[i].slot = kNotStored;
      }
      rows_.clear();
      return {};
    }
    for (std::size_t k = 0; k < with_row.size(); ++k) files_[with_row[k]].row = k;
    for (const std::size_t k : damaged) {
      files_[with_row[k]].known = false;
      files_[with_row[k]].slot = kNotStored;
    }
    result_.use.damaged = damaged.size();
    return {};
  }

  // A file that is listed twice under one name has one row.
  void FillTwins() {
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (!files_[i].twin) continue;
      const File& first = files_[*files_[i].twin];
      files_[i].known = first.known;
      files_[i].row = first.row;
      files_[i].slot = first.slot;
      files_[i].skipped = first.skipped;
      files_[i].skipped.path = paths_[i];
      result_.images[i] = result_.images[*files_[i].twin];
    }
  }

  Status EmbedUnknown() {
    std::vector<std::size_t> todo;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (!files_[i].known && !files_[i].twin) todo.push_back(i);
    }
    result_.use.computed = todo.size();
    result_.use.reused = files_.size() - todo.size();
    if (todo.empty() && progress_ && !progress_(files_.size(), files_.size())) {
      return {StatusCode::kCancelled, "cancelled"};
    }
    rows_.reserve((result_.use.reused + todo.size()) * key_.dim);
    std::size_t portion = kFirstPortion;
    for (std::size_t begin = 0; begin < todo.size();) {
      // Without a store, a portion's end would only cost time.
      const std::size_t count = storing_ ? std::min(portion, todo.size() - begin) : todo.size() - begin;
      const auto start = std::chrono::steady_clock::now();
      Status status = EmbedPortion(&todo[begin], count, files_.size() - todo.size() + begin);
      if (!status.ok()) return status;
      begin += count;
      if (std::chrono::steady_clock::now() - start < kPortionTime) portion = std::min(2 * portion, kLargestPortion);
    }
    return {};
  }

  Status EmbedPortion(const std::size_t* todo, std::size_t count, std::size_t done_before) {
    std::vector<std::string> paths;
    std::vector<StoredFile> found(count);
    std::vector<std::uint8_t> same(count, 1);  // not bool: written by several threads
    for (std::size_t k = 0; k < count; ++k) {
      paths.push_back(paths_[todo[k]]);
      found[k].path = files_[todo[k]].name;
      found[k].looked_at_ns = NowNs();
      const std::optional<StoredState> state = StateOf(paths.back());
      if (state) found[k].state = *state;
      if (!state) same[k] = 0;
    }
    Progress progress;
    if (progress_) {
      progress = [&](std::size_t done, std::size_t /*total*/) { return progress_(done_before + done, files_.size()); };
    }
    PixelUse use = internal::FillRecords(options_, [&](std::size_t k) { return &result_.images[todo[k]]; });
    use.see = [&, fill = std::move(use.see)](std::size_t k, const Image& image, const FileProperties& file) {
      fill(k, image, file);
      if (!IsSame(found[k].state, file)) same[k] = 0;
    };
    Result<FileEmbeddings> embedded = embedder_.EmbedFiles(paths, progress, use);
    if (!embedded.ok()) return embedded.status();
    for (std::size_t r = 0; r < embedded->read.size(); ++r) {
      File& file = files_[todo[embedded->read[r]]];
      file.known = true;
      file.row = rows_.size() / key_.dim + r;
    }
    rows_.insert(rows_.end(), embedded->rows.begin(), embedded->rows.end());
    result_.use.refused += embedded->skipped.size();
    std::size_t skipped = 0;
    for (std::size_t k = 0; k < count; ++k) {
      File& file = files_[todo[k]];
      if (!file.known) file.skipped = std::move(embedded->skipped[skipped++]);
    }
    KeepPortion(todo, *embedded, same, std::move(found));
    return {};
  }

  // Puts what is worth it into the store.
  void KeepPortion(const std::size_t* todo, const FileEmbeddings& embedded, const std::vector<std::uint8_t>& same,
                   std::vector<StoredFile> found) {
    if (!storing_) return;
    std::vector<StoredFile> files;
    std::vector<float> rows;
    std::vector<std::size_t> with_row;
    std::size_t r = 0;
    for (std::size_t k = 0; k < found.size(); ++k) {
      const std::size_t i = todo[k];
      const bool has_row = r < embedded.read.size() && embedded.read[r] == k;
      const float* row = embedded.rows.data() + r * key_.dim;
      if (has_row) ++r;
      if (same[k] == 0) continue;
      if (has_row) {
        Describe(result_.images[i], &found[k]);
        rows.insert(rows.end(), row, row + key_.dim);
        with_row.push_back(i);
      } else if (files_[i].skipped.code == StatusCode::kCorrupt || files_[i].skipped.code == StatusCode::kUnsupported) {
        found[k].reason = files_[i].skipped.reason;
      } else {
        continue;
      }
      files.push_back(std::move(found[k]));
    }
    std::vector<std::uint64_t> slots;
    Status status = store_->Add(key_, files, rows.data(), &slots);
    // A store may keep fewer bits, and the next run should find what this one does.
    if (status.ok()) status = store_->ReadRows(key_, slots, rows.data(), nullptr);
    if (!status.ok()) return GiveUp(status);
    for (std::size_t k = 0; k < with_row.size(); ++k) {
      files_[with_row[k]].slot = slots[k];
      std::copy_n(rows.data() + k * key_.dim, key_.dim, rows_.data() + files_[with_row[k]].row * key_.dim);
    }
  }

  void Describe(const ImageRecord& record, StoredFile* file) const {
    file->content = record.file.content;
    file->width = record.width;
    file->height = record.height;
    file->captured = record.captured;
    if (!internal::NeedsFullSize(options_)) return;
    file->detail = record.detail.detail;
    file->repeated = record.detail.repeated;
  }

  // Of files that were not decoded.
  Status MakeThumbnails() {
    if (options_.thumbnail_edge < 1) return {};
    std::vector<std::size_t> missing;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (files_[i].skipped.reason.empty() && result_.images[i].thumbnail.empty()) missing.push_back(i);
    }
    DecodeOptions decode = embedder_.decode();
    if (internal::NeedsFullSize(options_)) decode.target = 0;
    std::atomic<std::size_t> next{0};
    return RunOnThreads(
        ThreadCount(options_.threads, missing.size()),
        [&] {
          for (std::size_t k = next++; k < missing.size(); k = next++) {
            const Result<Image> image = ReadImage(paths_[missing[k]], decode);
            if (image.ok()) internal::AddThumbnail(*image, options_.thumbnail_edge, &result_.images[missing[k]]);
          }
        },
        [&] { next = missing.size(); });
  }

  // The result in the order of the paths.
  void Assemble() {
    FileEmbeddings& embeddings = result_.embeddings;
    embeddings.rows.reserve(rows_.size());
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (!files_[i].skipped.reason.empty()) {
        embeddings.skipped.push_back(std::move(files_[i].skipped));
        continue;
      }
      const float* row = rows_.data() + files_[i].row * key_.dim;
      embeddings.rows.insert(embeddings.rows.end(), row, row + key_.dim);
      embeddings.read.push_back(i);
      result_.slots.push_back(files_[i].slot);
    }
  }

  const Embedder& embedder_;
  Store* const store_;
  const ColumnKey key_;
  const std::vector<std::string>& paths_;
  const SimilarityOptions& options_;
  const Progress& progress_;
  std::vector<File> files_;
  std::vector<std::pair<std::size_t, StoredFile>> moved_;  // known under another name: their place in files_
  std::vector<float> rows_;
  bool storing_ = true;
  StoredEmbeddings result_;
};

}  // namespace

Result<StoredEmbeddings> EmbedThroughStore(const Embedder& embedder, Store* store,
                                           const std::vector<std::string>& paths, const SimilarityOptions& options,
                                           const Progress& progress) {
  return StoredRun(embedder, store, paths, options, progress).Run();
}

}  // namespace rrn
