#include "program/actions/actions.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/files.h"
#include "program/actions/files.h"
#include "program/actions/journal.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;

std::string FolderOf(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

// A name of ours in the folder of `path`; short, because names have a limit.
std::string OwnName(const char* begin, const std::string& path, std::size_t number) {
  return (fs::path(path).parent_path() / (begin + std::to_string(getpid()) + "-" + std::to_string(number))).string();
}

// For an unfinished copy, which may be removed at any time.
std::string PartName(const std::string& path, std::size_t number) { return OwnName(".rrn-part-", path, number); }

// For an original that is about to be removed: until then it is somebody's file.
std::string AsideName(const std::string& path, std::size_t number) { return OwnName(".rrn-aside-", path, number); }

// Besides errnos: the image is not the one that was compared any more.
constexpr int kChanged = -1;

// `name`, or with a number before its extension.
std::string Numbered(const std::string& path, int number) {
  if (number == 0) return path;
  const fs::path whole(path);
  return (whole.parent_path() / (whole.stem().string() + "-" + std::to_string(number) + whole.extension().string()))
      .string();
}

std::string NotARegularFile(int error) {
  if (error == ELOOP) return "a symbolic link, which is never acted on";
  if (error == ENOENT || error == ENOTDIR) return "it is no longer there";
  return error == EINVAL ? "no longer a regular file" : ErrorText(error);
}

// Copies to `to` under the name `part` first. The original stays.
int CopyUnderName(const std::string& from, const std::string& part, const std::string& to, const FileState& state) {
  int error = CopyNew(from, part, state);
  if (error != 0) return error;
  bool same = false;
  error = SameBytes(from, part, &same);
  if (error == 0 && !same) error = EIO;
  if (error == 0) error = RenameNew(part, to);
  if (error != 0) unlink(part.c_str());
  if (error == 0) SyncFolder(FolderOf(to));
  return error;
}

// A redundant image, looked at and found fit to be acted on.
struct Candidate {
  RedundantImage image;
  std::string entry;  // its absolute path
  FileState state;
  std::string kept_entry;
  FileState kept_state;             // of the file, where `kept` is a symbolic link
  std::vector<std::string> shared;  // names of kept images that are the same file
};

// Sorts the redundant images into candidates and those that are left alone.
class Plan {
 public:
  Plan(const SimilarityResult& result, const ActionOptions& options) : options_(options) {
    std::vector<RedundantImage> redundant = RedundantImages(result);
    std::set<std::string> names;
    for (const RedundantImage& image : redundant) names.insert(image.path);
    for (const std::string& path : result.paths) {
      if (names.count(path) == 0) AddKept(path);
    }
    if (result.reference) {
      for (const std::string& path : result.reference->paths) AddKept(path);
    }
    for (RedundantImage& image : redundant) {
      std::string reason = Add(image);
      if (!reason.empty()) left_alone.push_back({std::move(image.path), std::move(reason)});
    }
  }

  std::vector<Candidate> candidates;
  std::vector<SkippedFile> left_alone;

 private:
  void AddKept(const std::string& path) {
    if (const auto id = IdOf(path)) kept_[*id].push_back(path);
  }

  // Why it is left alone, or empty.
  std::string Add(const RedundantImage& image) {
    int error = 0;
    const std::optional<FileState> state = StateOf(image.path, &error);
    if (!state) return NotARegularFile(error);
    if (state->changed > options_.start) return "it changed while it was being compared";
    const std::optional<FileState> kept_state = StateBehind(image.kept);
    if (!kept_state) return "the image to keep, " + image.kept + ", is no longer there";
    if (kept_state->changed > options_.start) {
      return "the image to keep, " + image.kept + ", changed while it was being compared";
    }
    const std::string entry = EntryName(image.path);
    if (entry.empty()) return "its folder is no longer there";
    const auto same = kept_.find({state->device, state->inode});
    if (same != kept_.end()) {
      for (const std::string& path : same->second) {
        if (!StateOf(path)) return "the image to keep, " + path + ", is a symbolic link to it";
        // With a single name it is that very entry, say in a folder that is mounted twice.
        if (EntryName(path) == entry || state->links == 1) {
          return "it is the image to keep, " + path + ", by another name";
        }
      }
    }
    candidates.push_back({image, entry, *state, EntryName(image.kept), *kept_state,
                          same == kept_.end() ? std::vector<std::string>() : same->second});
    return "";
  }

  const ActionOptions& options_;
  std::map<FileId, std::vector<std::string>> kept_;
};

// Under the target, where an image goes if that name is free.
std::string RelativePath(const std::string& path, const std::string& folder) {
  if (!folder.empty()) {
    std::string rest = path.substr(folder.size());
    rest.erase(0, std::min(rest.find_first_not_of('/'), rest.size()));
    return rest;
  }
  fs::path relative;
  for (const fs::path& part : fs::path(path).lexically_normal().relative_path()) {
    if (part != "..") relative /= part;
  }
  return relative.string();
}

// Does the steps of one run.
class Worker {
 public:
  Worker(const ActionOptions& options, ActionResult* result) : options_(options), result_(*result) {}

  // Errors: the target's and the journal's. All else goes to the result.
  Status Do(const Candidate& candidate) {
    // A look just before, because the steps before it took time.
    int error = 0;
    const std::optional<FileState> now = StateOf(candidate.entry, &error);
    if (!now) return LeaveAlone(candidate, NotARegularFile(error));
    if (!now->SameFile(candidate.state) || !now->SameContent(candidate.state)) {
      return LeaveAlone(candidate, "it changed while it was being compared");
    }
    const std::optional<FileState> kept = StateBehind(candidate.image.kept);
    if (!kept) return LeaveAlone(candidate, "the image to keep, " + candidate.image.kept + ", is no longer there");
    if (!kept->SameFile(candidate.kept_state) || !kept->SameContent(candidate.kept_state)) {
      return LeaveAlone(candidate,
                        "the image to keep, " + candidate.image.kept + ", changed while it was being compared");
    }
    return options_.action == Action::kMove ? Move(candidate) : Link(candidate);
  }

 private:
  // At the first step, not earlier: a run with nothing to do leaves nothing behind.
  Status Begin() {
    if (journal_) return {};
    const bool move = options_.action == Action::kMove;
    const std::string folder = move ? options_.target : ".";
    std::error_code error;
    if (move) fs::create_directories(folder, error);
    const fs::path whole = error ? fs::path() : fs::canonical(folder, error);
    if (error) return {StatusCode::kRuntime, folder + ": cannot make this folder: " + error.message()};
    Result<Journal> journal = Journal::Create(whole.string());
    if (!journal.ok()) return journal.status();
    base_ = whole.string();
    const std::string name = fs::path(journal->path()).filename().string();
    result_.journal = move ? (fs::path(folder) / name).string() : name;
    journal_ = *std::move(journal);
    JournalLine line;
    line.numbers["rrn_journal"] = 1;
    line.texts["action"] = move ? "move" : "hardlink";
    return journal_->Write(line);
  }

  Status Write(const JournalLine& line) {
    Status status = Begin();
    return status.ok() ? journal_->Write(line) : status;
  }

  Status LeaveAlone(const Candidate& candidate, const std::string& reason) {
    result_.left_alone.push_back({candidate.image.path, reason});
    return {};
  }

  // A step that did not happen; if even that cannot be written, undoing finds out by itself.
  Status Failed(const Candidate& candidate, const std::string& reason, bool journaled) {
    result_.failed.push_back({candidate.image.path, reason});
    if (journaled) {
      JournalLine line;
      line.numbers["failed"] = static_cast<std::int64_t>(step_);
      return Write(line);
    }
    return {};
  }

  // Left alone after the step was written down.
  Status TakenBack(const Candidate& candidate, const std::string& reason) {
    Status status = LeaveAlone(candidate, reason);
    JournalLine line;
    line.numbers["failed"] = static_cast<std::int64_t>(step_);
    return status.ok() ? Write(line) : status;
  }

  // Whether what is at `path` now is what was compared, and no kept image went there with it: a name that differs may
  // still be the same entry of a folder.
  static bool AsCompared(const Candidate& candidate, const std::string& path) {
    const std::optional<FileState> now = StateOf(path);
    return now && now->SameFile(candidate.state) && now->SameContent(candidate.state) &&
           std::all_of(candidate.shared.begin(), candidate.shared.end(), [&](const std::string& kept) {
             return IdOf(kept) == FileId(candidate.state.device, candidate.state.inode);
           });
  }

  JournalLine NextStep(const Candidate& candidate) {
    JournalLine line;
    const FileState& state = candidate.state;
    line.numbers = {{"step", static_cast<std::int64_t>(++step_)},
                    {"size", state.size},
                    {"mtime_ns", state.modified},
                    {"atime_ns", state.accessed},
                    {"mode", static_cast<std::int64_t>(state.mode)},
                    {"uid", static_cast<std::int64_t>(state.user)},
                    {"gid", static_cast<std::int64_t>(state.group)},
                    {"device", static_cast<std::int64_t>(state.device)},
                    {"inode", static_cast<std::int64_t>(state.inode)}};
    line.texts = {{"path", candidate.entry}, {"kept", candidate.kept_entry}};
    return line;
  }

  // The folders above `to` that are not there yet. An errno, or the journal's error in `status`.
  int MakeFolders(const std::string& to, Status* status) {
    std::vector<std::string> missing;
    std::error_code error;
    for (fs::path folder = fs::path(to).parent_path(); !fs::exists(folder, error); folder = folder.parent_path()) {
      if (error) return error.value();
      missing.push_back(folder.string());
    }
    for (auto folder = missing.rbegin(); folder != missing.rend(); ++folder) {
      JournalLine line;
      line.texts["made"] = *folder;
      *status = Write(line);
      if (!status->ok()) return 0;
      std::error_code ignored;
      if (mkdir(folder->c_str(), 0777) == 0) continue;
      // A dangling link has the name too, and is no folder.
      if (errno != EEXIST || !fs::is_directory(*folder, ignored)) return errno == EEXIST ? ENOTDIR : errno;
    }
    return 0;
  }

  Status Move(const Candidate& candidate) {
    const std::string relative = RelativePath(candidate.image.path, options_.folder);
    Status status = Begin();
    if (!status.ok()) return status;
    // The journal's paths hold in any working directory.
    const std::string place = (fs::path(base_) / relative).string();
    const int folders = MakeFolders(place, &status);
    if (!status.ok()) return status;
    if (folders != 0) return Failed(candidate, "cannot make a folder for " + place + ": " + ErrorText(folders), false);
    struct stat folder = {};
    if (stat(FolderOf(place).c_str(), &folder) != 0) {
      return Failed(candidate, "cannot move it to " + place + ": " + ErrorText(errno), false);
    }
    for (int number = 0;; ++number) {
      const std::string to = Numbered(place, number);
      struct stat taken = {};
      if (lstat(to.c_str(), &taken) == 0) continue;
      const int error = MoveTo(candidate, to, folder.st_dev, &status);
      if (!status.ok()) return status;
      if (error == EEXIST) {
        JournalLine line;
        line.numbers["failed"] = static_cast<std::int64_t>(step_);
        status = Write(line);
        if (!status.ok()) return status;
        continue;
      }
      if (error == kChanged) return TakenBack(candidate, "it changed while it was being moved");
      if (error != 0) {
        std::string reason = "cannot move it to " + to + ": " + ErrorText(error);
        const std::string aside = AsideName(candidate.entry, step_);
        if (StateOf(aside)) reason += "; it is at " + aside + " now, and --undo brings it back";
        if (StateOf(to)) reason += "; look at " + to + ", too";
        // Undoing has to look at a step that stopped in the middle.
        return Failed(candidate, reason, !StateOf(aside) && !StateOf(to));
      }
      const std::string shown = Numbered((fs::path(options_.target) / relative).string(), number);
      result_.done.push_back({candidate.image.path, shown});
      return {};
    }
  }

  // `device`: of the folder that it goes to. Whatever it returns, the step is in the journal.
  int MoveTo(const Candidate& candidate, const std::string& to, dev_t device, Status* status) {
    JournalLine line = NextStep(candidate);
    line.texts["to"] = to;
    const bool across = device != candidate.state.device;
    if (across) AddPart(candidate, to, &line);
    *status = Write(line);
    if (!status->ok()) return 0;
    if (!across) {
      const int error = RenameNew(candidate.entry, to);
      if (error == 0 && !AsCompared(candidate, to)) {
        return RenameNew(to, candidate.entry) == 0 ? kChanged : EBUSY;
      }
      if (error != EXDEV) return error;
      // One file system for stat, and still none that files can be renamed in.
      AddPart(candidate, to, &line);
      *status = Write(line);
      if (!status->ok()) return 0;
    }
    const int error = CopyUnderName(candidate.entry, line.text("part"), to, candidate.state);
    if (error != 0) return error;
    const std::optional<FileState> copied = StateOf(to);
    if (copied && copied->modified != candidate.state.modified) {
      // A file system with coarser times.
      JournalLine coarse;
      coarse.numbers = {{"copied", static_cast<std::int64_t>(step_)}, {"mtime_ns", copied->modified}};
      *status = Write(coarse);
      if (!status->ok()) {
        unlink(to.c_str());
        return 0;
      }
    }
    const int removed = RemoveOriginal(candidate, line.text("aside"));
    if (removed != 0) unlink(to.c_str());
    return removed;
  }

  // A program that saves the image meanwhile must not lose it: it is looked at under a name that no other knows.
  static int RemoveOriginal(const Candidate& candidate, const std::string& aside) {
    int error = RenameNew(candidate.entry, aside);
    const bool stays = error == EXDEV;  // A file system that can rename in no such way.
    if (error != 0 && !stays) return error;
    const std::string& name = stays ? candidate.entry : aside;
    // A kept image that is the same file has to be there without this name.
    error = AsCompared(candidate, name) ? 0 : kChanged;
    if (error == 0 && unlink(name.c_str()) != 0) error = errno;
    if (error == 0 || stays) return error;
    return RenameNew(aside, candidate.entry) == 0 ? error : EBUSY;
  }

  void AddPart(const Candidate& candidate, const std::string& to, JournalLine* line) const {
    line->texts["part"] = PartName(to, step_);
    line->texts["aside"] = AsideName(candidate.entry, step_);
    line->numbers["copy"] = 1;
  }

  Status Link(const Candidate& candidate) {
    const std::optional<FileState> kept = StateOf(candidate.kept_entry);
    const std::string reason = WhyNoLink(candidate, kept);
    if (!reason.empty()) return LeaveAlone(candidate, reason);
    JournalLine line = NextStep(candidate);
    line.numbers["kept_inode"] = static_cast<std::int64_t>(kept->inode);
    line.numbers["kept_mtime_ns"] = kept->modified;
    const std::string part = PartName(candidate.entry, step_);
    line.texts["part"] = part;
    Status status = Write(line);
    if (!status.ok()) return status;
    const int error = PutLink(candidate, *kept, part);
    if (error == kChanged) return TakenBack(candidate, "it or the image to keep changed while it was being linked");
    if (error != 0) {
      std::string why = "cannot make it a link of " + candidate.image.kept + ": " + ErrorText(error);
      const bool left = StateOf(part).has_value();
      if (left) why += "; what is at " + part + " now was saved meanwhile";
      return Failed(candidate, why, !left);
    }
    SyncFolder(FolderOf(candidate.entry));
    result_.done.push_back({candidate.image.path, candidate.image.kept});
    return {};
  }

  // Puts a link of the kept image in the candidate's place, where nobody misses a thing that was saved meanwhile.
  static int PutLink(const Candidate& candidate, const FileState& kept, const std::string& part) {
    if (link(candidate.kept_entry.c_str(), part.c_str()) != 0) return errno;
    const auto is_kept = [&] {
      const std::optional<FileState> now = StateOf(part);
      return now && now->SameFile(kept) && now->SameContent(kept);
    };
    if (!is_kept()) {
      unlink(part.c_str());
      return kChanged;
    }
    int error = Exchange(part, candidate.entry);
    if (error == EINVAL || error == ENOSYS || error == ENOTSUP) {
      error = AsCompared(candidate, candidate.entry) ? 0 : kChanged;
      if (error == 0 && rename(part.c_str(), candidate.entry.c_str()) != 0) error = errno;
      if (error != 0) unlink(part.c_str());
      return error;
    }
    if (error == 0 && !AsCompared(candidate, part)) {
      error = Exchange(part, candidate.entry);
      // Only the link goes; what was saved in between stays where it is.
      if (error == 0) error = is_kept() ? kChanged : EBUSY;
      if (error == EBUSY) return error;
    }
    const bool ours = error == 0 || is_kept();
    if (ours && unlink(part.c_str()) != 0 && error == 0) error = errno;
    return error;
  }

  // Empty if nothing speaks against it. Reads both files, just before the step.
  static std::string WhyNoLink(const Candidate& candidate, const std::optional<FileState>& kept) {
    const std::string& name = candidate.image.kept;
    if (!kept) return "the image to keep, " + name + ", is a symbolic link";
    if (candidate.state.SameFile(*kept)) return "already a hard link of " + name;
    if (candidate.state.device != kept->device) return "on another file system than " + name;
    if (candidate.state.size != kept->size) return "other bytes than " + name;
    bool same = false;
    int error = SameBytes(candidate.entry, candidate.kept_entry, &same);
    if (error == 0 && !same) return "other bytes than " + name;
    if (error == 0) error = SameAttributes(candidate.entry, candidate.kept_entry, &same);
    if (error != 0) return "cannot be compared with " + name + ": " + ErrorText(error);
    return same ? "" : "other extended attributes (tags, access rights) than " + name;
  }

  const ActionOptions& options_;
  std::string base_;  // where images are moved to, as an absolute path
  std::optional<Journal> journal_;
  ActionResult& result_;
  std::size_t step_ = 0;
};

// Undoes the steps of one journal.
class Reverter {
 public:
  Reverter(Journal journal, UndoResult* result) : journal_(std::move(journal)), result_(*result) {}

  // Errors: the journal's. All else goes to the result.
  Status Revert(const JournalLine& step, std::optional<std::int64_t> copied_time) {
    if (!step.number("step") || !step.number("size") || !step.number("mtime_ns")) return {};
    step_ = &step;
    number_ = *step.number("step");
    const bool moved = !step.text("to").empty();
    Status status;
    const std::string problem = moved ? MoveBack(copied_time, &status) : Separate(&status);
    if (!status.ok()) return status;
    if (!problem.empty()) {
      result_.failed.push_back({step.text("path"), problem});
      return {};
    }
    JournalLine line;
    line.numbers["undone"] = number_;
    return journal_.Write(line);
  }

 private:
  // The file as it was before the step.
  FileState Before() const {
    FileState state;
    const auto number = [this](const char* name) { return step_->number(name).value_or(0); };
    state.device = static_cast<dev_t>(number("device"));
    state.inode = static_cast<ino_t>(number("inode"));
    state.size = number("size");
    state.modified = number("mtime_ns");
    state.accessed = number("atime_ns");
    state.mode = static_cast<mode_t>(number("mode"));
    state.user = static_cast<uid_t>(number("uid"));
    state.group = static_cast<gid_t>(number("gid"));
    return state;
  }

  void Done(const std::string& other) { result_.done.push_back({step_->text("path"), other}); }

  // Writes down the name of an unfinished copy before it is made.
  std::string Part(Status* status) {
    JournalLine line;
    // Not the name that the step had, which could be in use still.
    line.texts["part"] = OwnName(".rrn-part-undo-", step_->text("path"), static_cast<std::size_t>(number_));
    *status = journal_.Write(line);
    return line.texts["part"];
  }

  // What is wrong, or empty.
  std::string MoveBack(std::optional<std::int64_t> copied_time, Status* status) {
    const std::string& path = step_->texts.at("path");
    const std::string& to = step_->texts.at("to");
    const FileState before = Before();
    const std::string aside = step_->text("aside");
    if (!aside.empty() && StateOf(aside)) {
      // The run ended before it could remove the original.
      const int error = RenameNew(aside, path);
      if (error != 0) return "it is at " + aside + ", and cannot be renamed back: " + ErrorText(error);
    }
    int at_to = 0;
    int at_path = 0;
    const std::optional<FileState> moved = StateOf(to, &at_to);
    const std::optional<FileState> there = StateOf(path, &at_path);
    const bool never_left = there && there->inode == before.inode && there->SameContent(before);
    if (there && there->SameContent(before) && moved && IsSecond(*there, *moved, never_left, copied_time)) {
      // A run or an undo ended between making one of the two and removing the other one.
      if (unlink(to.c_str()) != 0) return "cannot remove the copy " + to + ": " + ErrorText(errno);
      if (!never_left) Done(to);
      return "";
    }
    if (never_left) return "";
    if (!moved) {
      if (at_to != ENOENT && at_to != ENOTDIR) return "the moved file " + to + " is no longer a regular file";
      // Undone before, by a run that ended before it could say so.
      if (there && there->SameContent(before)) return "";
      return "the moved file " + to + " is gone";
    }
    if (moved->size != before.size || moved->modified != copied_time.value_or(before.modified)) {
      return "the moved file " + to + " has another size or time than recorded; it was changed";
    }
    if (there || at_path != ENOENT) {
      return at_path == ENOTDIR ? "its folder is no longer a folder; the moved file stays at " + to
                                : "the place is taken; the moved file stays at " + to;
    }
    std::error_code error;
    fs::create_directories(FolderOf(path), error);
    if (error) return "cannot make its folder again: " + error.message();
    int failure = RenameNew(to, path);
    if (failure == EXDEV) {
      const std::string part = Part(status);
      if (!status->ok()) return "";
      failure = CopyUnderName(to, part, path, before);
      if (failure == 0) {
        const std::optional<FileState> still = StateOf(to);
        const bool same = still && still->SameFile(*moved) && still->SameContent(*moved);
        if (!same || unlink(to.c_str()) != 0) {
          failure = same ? errno : EBUSY;
          unlink(path.c_str());
        }
      }
    }
    if (failure != 0) return "cannot move it back from " + to + ": " + ErrorText(failure);
    Done(to);
    return "";
  }

  // Whether what is at `to` is the image at `path` once more, by another name or as a copy of ours, so that it may go.
  bool IsSecond(const FileState& there, const FileState& moved, bool never_left,
                std::optional<std::int64_t> copied_time) const {
    if (there.SameFile(moved)) return there.links > 1;
    // Without a copy of ours, an equal file there is somebody else's.
    if (never_left && !step_->number("copy")) return false;
    bool same = false;
    return moved.size == there.size && moved.modified == copied_time.value_or(there.modified) &&
           SameBytes(step_->text("path"), step_->text("to"), &same) == 0 && same;
  }

  std::string Separate(Status* status) {
    const std::string& path = step_->texts.at("path");
    const FileState before = Before();
    int error = 0;
    const std::optional<FileState> now = StateOf(path, &error);
    if (!now) return error == ENOENT ? "it is gone" : NotARegularFile(error);
    const auto kept_inode = static_cast<ino_t>(step_->number("kept_inode").value_or(0));
    const std::string other = step_->text("part");
    if (const std::optional<FileState> left = StateOf(other)) {
      // The run ended around the exchange: one of the two is the link, and the other one somebody's file.
      if (left->inode != kept_inode && now->inode == kept_inode) {
        const int failure = Exchange(other, path);
        if (failure != 0) return "it is at " + other + ", and cannot be renamed back: " + ErrorText(failure);
        unlink(other.c_str());
        Done(step_->text("kept"));
        return "";
      }
      if (left->inode != kept_inode) return "what is at " + other + " was saved while it was being linked; both stay";
      unlink(other.c_str());
    }
    // Not by the device, whose number may be another one after mounting it again.
    if (now->inode == before.inode) return "";  // The step never happened.
    const std::optional<FileState> kept = StateOf(step_->text("kept"));
    if (now->inode != kept_inode && !(kept && now->SameFile(*kept))) {
      // Undone before, by a run that ended before it could say so.
      return now->SameContent(before) ? "" : "it is no longer the link that was made";
    }
    if (now->size != before.size || now->modified != step_->number("kept_mtime_ns").value_or(0)) {
      return "it has another size or time than recorded; it was changed";
    }
    const std::string part = Part(status);
    if (!status->ok()) return "";
    int failure = CopyNew(path, part, before);
    bool same = false;
    if (failure == 0) failure = SameBytes(path, part, &same);
    if (failure == 0 && !same) failure = EIO;
    if (failure == 0 && rename(part.c_str(), path.c_str()) != 0) failure = errno;
    if (failure != 0) {
      unlink(part.c_str());
      return "cannot make it a file of its own: " + ErrorText(failure);
    }
    SyncFolder(FolderOf(path));
    Done(step_->text("kept"));
    return "";
  }

  Journal journal_;
  UndoResult& result_;
  const JournalLine* step_ = nullptr;
  std::int64_t number_ = 0;
};

// What a journal says, sorted out.
struct Pending {
  std::vector<const JournalLine*> steps;  // not undone yet, in the order in which they were done
  std::map<std::int64_t, std::int64_t> copied_times;
  std::vector<std::string> parts;
  std::vector<std::string> made;
};

Pending SortOut(const std::vector<JournalLine>& lines) {
  Pending pending;
  std::set<std::int64_t> settled;
  for (const JournalLine& line : lines) {
    for (const char* name : {"failed", "undone"}) {
      if (const auto number = line.number(name)) settled.insert(*number);
    }
    if (const auto number = line.number("copied")) pending.copied_times[*number] = line.number("mtime_ns").value_or(0);
    // That of a link is looked at first: it may be what was replaced.
    if (!line.text("part").empty() && !line.number("kept_inode")) pending.parts.push_back(line.text("part"));
    if (!line.text("made").empty()) pending.made.push_back(line.text("made"));
  }
  for (const JournalLine& line : lines) {
    const auto number = line.number("step");
    if (!number || settled.count(*number) != 0) continue;
    // A step that was written twice was tried a second time in another way.
    if (!pending.steps.empty() && pending.steps.back()->number("step") == number) pending.steps.pop_back();
    pending.steps.push_back(&line);
  }
  return pending;
}

}  // namespace

bool IsInside(const std::string& folder, const std::string& parent) {
  const auto above = IdOf(parent);
  std::error_code error;
  fs::path at = fs::canonical(folder, error);
  if (!above || error) return false;
  for (;; at = at.parent_path()) {
    if (IdOf(at.string()) == above) return true;
    if (at == at.root_path()) return false;
  }
}

Status CheckAction(const ActionOptions& options) {
  if (options.action == Action::kHardlink && access(".", W_OK) != 0) {
    return {StatusCode::kRuntime, "--hardlink: cannot write its journal in the current folder"};
  }
  if (options.action != Action::kMove) return {};
  if (!IdOf(options.target)) {
    // The folder that it would be made in.
    std::error_code error;
    fs::path above = fs::absolute(options.target, error).lexically_normal();
    while (!fs::exists(above, error) && above.has_relative_path()) above = above.parent_path();
    if (fs::is_directory(above, error) && access(above.c_str(), W_OK) == 0) return {};
    return {StatusCode::kRuntime, "--move-to " + options.target + ": cannot make this folder"};
  }
  std::error_code error;
  if (!fs::is_directory(options.target, error)) {
    return {StatusCode::kInvalidArgument, "--move-to " + options.target + ": not a folder"};
  }
  for (const std::string& other : {options.folder, options.reference}) {
    // One above it, too: a path under it may lead right back.
    if (!other.empty() && IsInside(other, options.target)) {
      return {StatusCode::kInvalidArgument, "--move-to " + options.target +
                                                ": images cannot be moved into a folder that is searched, or into one "
                                                "above it; name another"};
    }
  }
  if (access(options.target.c_str(), W_OK) != 0) {
    return {StatusCode::kRuntime, "--move-to " + options.target + ": cannot write here"};
  }
  return {};
}

ActionResult Act(const SimilarityResult& result, const ActionOptions& options, const GoOn& go_on) {
  ActionResult outcome;
  Plan plan(result, options);
  outcome.redundant = plan.candidates.size() + plan.left_alone.size();
  outcome.left_alone = std::move(plan.left_alone);
  Worker worker(options, &outcome);
  for (const Candidate& candidate : plan.candidates) {
    if (!outcome.stopped.ok()) break;
    if (go_on && !go_on()) {
      outcome.stopped = {StatusCode::kCancelled, "interrupted"};
      break;
    }
    outcome.stopped = worker.Do(candidate);
  }
  std::sort(outcome.left_alone.begin(), outcome.left_alone.end());
  return outcome;
}

Result<UndoResult> Undo(const std::string& journal, const GoOn& go_on) {
  const Result<std::vector<JournalLine>> lines = Journal::Read(journal);
  if (!lines.ok()) return lines.status();
  const Pending pending = SortOut(*lines);
  UndoResult result;
  // Copies that a killed run did not finish. They have names that only we make.
  for (const std::string& part : pending.parts) {
    if (StateOf(part) && fs::path(part).filename().string().rfind(".rrn-part-", 0) == 0) unlink(part.c_str());
  }
  if (pending.steps.empty()) return result;
  Result<Journal> open = Journal::Append(journal);
  if (!open.ok()) return open.status();
  Reverter reverter(*std::move(open), &result);
  for (auto step = pending.steps.rbegin(); step != pending.steps.rend(); ++step) {
    if (go_on && !go_on()) {
      result.stopped = {StatusCode::kCancelled, "interrupted"};
      return result;
    }
    const auto copied = pending.copied_times.find((*step)->number("step").value_or(0));
    result.stopped = reverter.Revert(
        **step, copied == pending.copied_times.end() ? std::nullopt : std::optional<std::int64_t>(copied->second));
    if (!result.stopped.ok()) return result;
  }
  if (result.failed.empty()) {
    // Folders that were made for the moved files; one that holds anything stays.
    for (auto folder = pending.made.rbegin(); folder != pending.made.rend(); ++folder) rmdir(folder->c_str());
  }
  return result;
}

}  // namespace rrn
