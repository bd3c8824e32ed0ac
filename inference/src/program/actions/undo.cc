// Undoing what a journal says.
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "program/actions/actions.h"
#include "program/actions/files.h"
#include "program/actions/journal.h"
#include "program/actions/names.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;

Status Problem(std::string message) { return {StatusCode::kRuntime, std::move(message)}; }

// Undoes the steps of one journal.
class Reverter {
 public:
  Reverter(Journal journal, UndoResult* result) : journal_(std::move(journal)), result_(*result) {}

  // Errors: the journal's. All else goes to the result.
  //   copied_time: of a copy whose file system has coarser times than that of the original.
  Status Revert(const JournalLine& step, std::optional<std::int64_t> copied_time) {
    if (!step.number("step") || !step.number("size") || !step.number("mtime_ns")) return {};
    step_ = &step;
    number_ = *step.number("step");
    copied_time_ = copied_time;
    before_ = Before();
    const bool moved = !step.text("to").empty();
    const Status problem = moved ? MoveBack() : Separate();
    if (!journal_error_.ok()) return journal_error_;
    if (!problem.ok()) {
      result_.failed.push_back({step.text("path"), problem.message()});
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

  // The name of an unfinished copy, written down before it is made; empty after an error of the journal.
  std::string Part() {
    JournalLine line;
    line.texts["part"] = UndoPartName(step_->text("path"), static_cast<std::size_t>(number_));
    journal_error_ = journal_.Write(line);
    return journal_error_.ok() ? line.text("part") : "";
  }

  Status MoveBack() {
    const std::string& path = step_->texts.at("path");
    const std::string& to = step_->texts.at("to");
    const std::string aside = step_->text("aside");
    if (!aside.empty() && StateOf(aside).ok()) {
      // The run ended before it could remove the original.
      const Status renamed = ErrorUnlessMade(RenameNew(aside, path));
      if (!renamed.ok()) return Problem("it is at " + aside + ", and cannot be renamed back: " + renamed.message());
    }
    const Result<FileState> moved = StateOf(to);
    const Result<FileState> there = StateOf(path);
    const bool as_before = there.ok() && there->SameContent(before_);
    const bool never_left = as_before && there->inode == before_.inode;
    if (as_before && moved.ok() && IsSecond(*there, *moved, never_left)) {
      // A run or an undo ended between making one of the two and removing the other one.
      const Status removed = Remove(to);
      if (!removed.ok()) return Problem("cannot remove the copy " + to + ": " + removed.message());
      if (!never_left) Done(to);
      return {};
    }
    if (never_left) return {};
    if (!moved.ok()) {
      if (moved.status().code() != StatusCode::kNotFound) {
        return Problem("the moved file " + to + " is no longer a regular file");
      }
      // Undone before, by a run that ended before it could say so.
      return as_before ? Status() : Problem("the moved file " + to + " is gone");
    }
    if (moved->size != before_.size || moved->modified != copied_time_.value_or(before_.modified)) {
      return Problem("the moved file " + to + " has another size or time than recorded; it was changed");
    }
    if (there.ok() || there.status().code() != StatusCode::kNotFound) {
      return Problem("the place is taken; the moved file stays at " + to);
    }
    return BringBack(*moved);
  }

  // Moves a file back to its place, where there is nothing.
  Status BringBack(const FileState& moved) {
    const std::string& path = step_->texts.at("path");
    const std::string& to = step_->texts.at("to");
    std::error_code error;
    fs::create_directories(FolderOf(path), error);
    if (error == std::errc::not_a_directory) {
      return Problem("its folder is no longer a folder; the moved file stays at " + to);
    }
    if (error) return Problem("cannot make its folder again: " + error.message());
    const Result<NewName> renamed = RenameNew(to, path);
    Status status = ErrorUnlessMade(renamed);
    if (renamed.ok() && *renamed == NewName::kOtherFileSystem) {
      const std::string part = Part();
      if (!journal_error_.ok()) return {};
      status = ErrorUnlessMade(CopyUnderName(to, part, path, before_));
      if (status.ok()) {
        const Result<FileState> still = StateOf(to);
        const bool same = still.ok() && still->SameFile(moved) && still->SameContent(moved);
        status = same ? Remove(to) : SystemError(EBUSY);
        if (!status.ok()) static_cast<void>(Remove(path));
      }
    }
    if (!status.ok()) return Problem("cannot move it back from " + to + ": " + status.message());
    Done(to);
    return {};
  }

  // Whether what is at `to` is the image at `path` once more, by another name or as a copy of ours, so that it may go.
  bool IsSecond(const FileState& there, const FileState& moved, bool never_left) const {
    if (there.SameFile(moved)) return there.links > 1;
    // Without a copy of ours, an equal file there is somebody else's.
    if (never_left && !step_->number("copy")) return false;
    if (moved.size != there.size || moved.modified != copied_time_.value_or(there.modified)) return false;
    const Result<bool> same = SameBytes(step_->text("path"), step_->text("to"));
    return same.ok() && *same;
  }

  // Makes a hard link a file of its own again.
  Status Separate() {
    const std::string& path = step_->texts.at("path");
    const Result<FileState> now = StateOf(path);
    if (!now.ok()) {
      return now.status().code() == StatusCode::kNotFound ? Problem("it is gone") : Problem(now.status().message());
    }
    const auto kept_inode = static_cast<ino_t>(step_->number("kept_inode").value_or(0));
    const std::string other = step_->text("part");
    if (const Result<FileState> left = StateOf(other); left.ok()) {
      // The run ended around the exchange: one of the two is the link, and the other one somebody's file.
      if (left->inode != kept_inode && now->inode == kept_inode) {
        const Status exchanged = ErrorUnlessDone(Exchange(other, path));
        if (!exchanged.ok()) {
          return Problem("it is at " + other + ", and cannot be renamed back: " + exchanged.message());
        }
        static_cast<void>(Remove(other));
        Done(step_->text("kept"));
        return {};
      }
      if (left->inode != kept_inode) {
        return Problem("what is at " + other + " was saved while it was being linked; both stay");
      }
      static_cast<void>(Remove(other));
    }
    // Not by the device, whose number may be another one after mounting it again.
    // The content tells the original from a new file that got the inode of the one that was replaced.
    if (now->inode == before_.inode && now->SameContent(before_)) return {};  // The step never happened.
    const Result<FileState> kept = StateOf(step_->text("kept"));
    if (now->inode != kept_inode && !(kept.ok() && now->SameFile(*kept))) {
      // Undone before, by a run that ended before it could say so.
      return now->SameContent(before_) ? Status() : Problem("it is no longer the link that was made");
    }
    if (now->size != before_.size || now->modified != step_->number("kept_mtime_ns").value_or(0)) {
      return Problem("it has another size or time than recorded; it was changed");
    }
    return CopyInPlace();
  }

  // Puts a copy of the file, as it was before the step, in the place of the link.
  Status CopyInPlace() {
    const std::string& path = step_->texts.at("path");
    const std::string part = Part();
    if (!journal_error_.ok()) return {};
    Status status = ErrorUnlessMade(CopyNew(path, part, before_));
    if (status.ok()) {
      status = Rename(part, path);
      if (!status.ok()) static_cast<void>(Remove(part));
    }
    if (!status.ok()) return Problem("cannot make it a file of its own: " + status.message());
    SyncFolder(FolderOf(path));
    Done(step_->text("kept"));
    return {};
  }

  Journal journal_;
  UndoResult& result_;
  Status journal_error_;
  // Of the step that is being undone.
  const JournalLine* step_ = nullptr;
  std::int64_t number_ = 0;
  std::optional<std::int64_t> copied_time_;
  FileState before_;
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

Result<UndoResult> Undo(const std::string& journal, const GoOn& go_on) {
  const Result<std::vector<JournalLine>> lines = Journal::Read(journal);
  if (!lines.ok()) return lines.status();
  const Pending pending = SortOut(*lines);
  UndoResult result;
  // Copies that a killed run did not finish. They have names that only we make.
  for (const std::string& part : pending.parts) {
    const bool ours = fs::path(part).filename().string().rfind(kPartPrefix, 0) == 0;
    if (ours && StateOf(part).ok()) static_cast<void>(Remove(part));
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
