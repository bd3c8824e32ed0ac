#include "program/actions/worker.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "program/actions/files.h"
#include "program/actions/names.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;

// Empty if nothing speaks against a link. Reads both files, just before the step.
std::string WhyNoLink(const Candidate& candidate, const Result<FileState>& kept) {
  const std::string& name = candidate.image.kept;
  if (!kept.ok()) return "the image to keep, " + name + ", is a symbolic link";
  if (candidate.state.SameFile(*kept)) return "already a hard link of " + name;
  if (candidate.state.device != kept->device) return "on another file system than " + name;
  if (candidate.state.size != kept->size) return "other bytes than " + name;
  const Result<bool> bytes = SameBytes(candidate.entry, candidate.kept_entry);
  if (bytes.ok() && !*bytes) return "other bytes than " + name;
  const Result<bool> same = bytes.ok() ? SameAttributes(candidate.entry, candidate.kept_entry) : bytes;
  if (!same.ok()) return "cannot be compared with " + name + ": " + same.status().message();
  return *same ? "" : "other extended attributes (tags, access rights) than " + name;
}

}  // namespace

Status Worker::Do(const Candidate& candidate) {
  // A look just before, because the steps before it took time.
  const Result<FileState> now = StateOf(candidate.entry);
  if (!now.ok()) return LeaveAlone(candidate, now.status().message());
  if (!now->SameFile(candidate.state) || !now->SameContent(candidate.state)) {
    return LeaveAlone(candidate, "it changed while it was being compared");
  }
  const std::string& name = candidate.image.kept;
  const Result<FileState> kept = StateBehind(name);
  if (!kept.ok()) return LeaveAlone(candidate, "the image to keep, " + name + ", is no longer there");
  if (!kept->SameFile(candidate.kept_state) || !kept->SameContent(candidate.kept_state)) {
    return LeaveAlone(candidate, "the image to keep, " + name + ", changed while it was being compared");
  }
  return options_.action == Action::kMove ? Move(candidate) : Link(candidate);
}

Status Worker::Begin() {
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

Status Worker::Write(const JournalLine& line) {
  Status status = Begin();
  return status.ok() ? journal_->Write(line) : status;
}

JournalLine Worker::NextStep(const Candidate& candidate) {
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

Status Worker::TakeBackStep() {
  JournalLine line;
  line.numbers["failed"] = static_cast<std::int64_t>(step_);
  return Write(line);
}

Status Worker::LeaveAlone(const Candidate& candidate, const std::string& reason) {
  result_.left_alone.push_back({candidate.image.path, reason});
  return {};
}

void Worker::Fail(const Candidate& candidate, const std::string& reason) {
  result_.failed.push_back({candidate.image.path, reason});
}

Status Worker::MakeFolders(const std::string& to, Status* made) {
  std::vector<std::string> missing;
  std::error_code error;
  for (fs::path folder = fs::path(to).parent_path(); !fs::exists(folder, error); folder = folder.parent_path()) {
    if (error) {
      *made = SystemError(error.value());
      return {};
    }
    missing.push_back(folder.string());
  }
  for (auto folder = missing.rbegin(); folder != missing.rend(); ++folder) {
    JournalLine line;
    line.texts["made"] = *folder;
    Status status = Write(line);
    if (!status.ok()) return status;
    if (mkdir(folder->c_str(), 0777) == 0) continue;
    const int problem = errno;
    // A dangling link has the name too, and is no folder.
    if (problem == EEXIST && fs::is_directory(*folder, error)) continue;
    *made = SystemError(problem == EEXIST ? ENOTDIR : problem);
    return {};
  }
  return {};
}

Status Worker::Move(const Candidate& candidate) {
  const std::string relative = RelativePath(candidate.image.path, options_.folder);
  Status status = Begin();
  if (!status.ok()) return status;
  // The journal's paths hold in any working directory.
  const std::string place = (fs::path(base_) / relative).string();
  Status made;
  status = MakeFolders(place, &made);
  if (!status.ok()) return status;
  struct stat folder = {};
  if (!made.ok()) {
    Fail(candidate, "cannot make a folder for " + place + ": " + made.message());
    return {};
  }
  if (stat(FolderOf(place).c_str(), &folder) != 0) {
    Fail(candidate, "cannot move it to " + place + ": " + SystemError(errno).message());
    return {};
  }
  for (int number = 0;; ++number) {
    const std::string to = Numbered(place, number);
    struct stat taken = {};
    if (lstat(to.c_str(), &taken) == 0) continue;
    Result<Outcome> outcome = Outcome::kDone;
    status = MoveTo(candidate, to, folder.st_dev, &outcome);
    if (!status.ok()) return status;
    if (!outcome.ok()) return FailToMove(candidate, to, outcome.status());
    if (*outcome == Outcome::kDone) {
      result_.done.push_back({candidate.image.path, Numbered((fs::path(options_.target) / relative).string(), number)});
      return {};
    }
    if (*outcome == Outcome::kChanged) static_cast<void>(LeaveAlone(candidate, "it changed while it was being moved"));
    status = TakeBackStep();
    if (!status.ok() || *outcome == Outcome::kChanged) return status;
  }
}

Status Worker::FailToMove(const Candidate& candidate, const std::string& to, const Status& error) {
  std::string reason = "cannot move it to " + to + ": " + error.message();
  const std::string aside = AsideName(candidate.entry, step_);
  const bool is_aside = StateOf(aside).ok();
  const bool is_there = StateOf(to).ok();
  if (is_aside) reason += "; it is at " + aside + " now, and --undo brings it back";
  if (is_there) reason += "; look at " + to + ", too";
  Fail(candidate, reason);
  // Undoing has to look at a step that stopped in the middle.
  return is_aside || is_there ? Status() : TakeBackStep();
}

// `device`: of the folder that it goes to. In the end the step is in the journal.
Status Worker::MoveTo(const Candidate& candidate, const std::string& to, dev_t device, Result<Outcome>* outcome) {
  JournalLine line = NextStep(candidate);
  line.texts["to"] = to;
  const bool across = device != candidate.state.device;
  if (across) AddPart(candidate, to, &line);
  Status status = Write(line);
  if (!status.ok() || across) return status.ok() ? CopyTo(candidate, to, line, outcome) : status;
  const Result<NewName> renamed = RenameNew(candidate.entry, to);
  if (!renamed.ok()) {
    *outcome = renamed.status();
  } else if (*renamed == NewName::kTaken) {
    *outcome = Outcome::kTaken;
  } else if (*renamed == NewName::kOtherFileSystem) {
    // One file system for stat, and still none that files can be renamed in.
    AddPart(candidate, to, &line);
    status = Write(line);
    return status.ok() ? CopyTo(candidate, to, line, outcome) : status;
  } else if (!AsCompared(candidate, to)) {
    const bool back = ErrorUnlessMade(RenameNew(to, candidate.entry)).ok();
    *outcome = back ? Result<Outcome>(Outcome::kChanged) : SystemError(EBUSY);
  }
  return {};
}

// `line`: of the step, with the names that AddPart gave.
Status Worker::CopyTo(const Candidate& candidate, const std::string& to, const JournalLine& line,
                      Result<Outcome>* outcome) {
  const Result<NewName> copy = CopyUnderName(candidate.entry, line.text("part"), to, candidate.state);
  if (copy.ok() && *copy == NewName::kTaken) {
    *outcome = Outcome::kTaken;
    return {};
  }
  const Status failure = ErrorUnlessMade(copy);
  if (!failure.ok()) {
    *outcome = failure;
    return {};
  }
  const Result<FileState> copied = StateOf(to);
  if (copied.ok() && copied->modified != candidate.state.modified) {
    // A file system with coarser times.
    JournalLine coarse;
    coarse.numbers = {{"copied", static_cast<std::int64_t>(step_)}, {"mtime_ns", copied->modified}};
    Status status = Write(coarse);
    if (!status.ok()) {
      static_cast<void>(Remove(to));
      return status;
    }
  }
  *outcome = RemoveOriginal(candidate, line.text("aside"));
  if (!outcome->ok() || **outcome != Outcome::kDone) static_cast<void>(Remove(to));
  return {};
}

// A program that saves the image meanwhile must not lose it: it is looked at under a name that no other knows.
Result<Worker::Outcome> Worker::RemoveOriginal(const Candidate& candidate, const std::string& aside) {
  const Result<NewName> renamed = RenameNew(candidate.entry, aside);
  if (!renamed.ok()) return renamed.status();
  if (*renamed == NewName::kTaken) return Outcome::kTaken;
  // A file system that can rename in no such way.
  const bool stays = *renamed == NewName::kOtherFileSystem;
  const std::string& name = stays ? candidate.entry : aside;
  // A kept image that is the same file has to be there without this name.
  Result<Outcome> outcome = Outcome::kChanged;
  if (AsCompared(candidate, name)) {
    const Status removed = Remove(name);
    if (removed.ok()) return Outcome::kDone;
    outcome = removed;
  }
  if (stays || ErrorUnlessMade(RenameNew(aside, candidate.entry)).ok()) return outcome;
  return SystemError(EBUSY);
}

void Worker::AddPart(const Candidate& candidate, const std::string& to, JournalLine* line) const {
  line->texts["part"] = PartName(to, step_);
  line->texts["aside"] = AsideName(candidate.entry, step_);
  line->numbers["copy"] = 1;
}

Status Worker::Link(const Candidate& candidate) {
  const Result<FileState> kept = StateOf(candidate.kept_entry);
  const std::string reason = WhyNoLink(candidate, kept);
  if (!reason.empty()) return LeaveAlone(candidate, reason);
  JournalLine line = NextStep(candidate);
  line.numbers["kept_inode"] = static_cast<std::int64_t>(kept->inode);
  line.numbers["kept_mtime_ns"] = kept->modified;
  const std::string part = PartName(candidate.entry, step_);
  line.texts["part"] = part;
  Status status = Write(line);
  if (!status.ok()) return status;
  const Result<Outcome> outcome = PutLink(candidate, *kept, part);
  if (!outcome.ok()) {
    std::string why = "cannot make it a link of " + candidate.image.kept + ": " + outcome.status().message();
    const bool left = StateOf(part).ok();
    if (left) why += "; what is at " + part + " now was saved meanwhile";
    Fail(candidate, why);
    return left ? Status() : TakeBackStep();
  }
  if (*outcome == Outcome::kChanged) {
    static_cast<void>(LeaveAlone(candidate, "it or the image to keep changed while it was being linked"));
    return TakeBackStep();
  }
  SyncFolder(FolderOf(candidate.entry));
  result_.done.push_back({candidate.image.path, candidate.image.kept});
  return {};
}

// Puts a link of the kept image in the candidate's place, so that nothing that is saved meanwhile gets lost.
Result<Worker::Outcome> Worker::PutLink(const Candidate& candidate, const FileState& kept, const std::string& part) {
  Status status = MakeLink(candidate.kept_entry, part);
  if (!status.ok()) return status;
  const auto is_kept = [&] {
    const Result<FileState> now = StateOf(part);
    return now.ok() && now->SameFile(kept) && now->SameContent(kept);
  };
  if (!is_kept()) {
    static_cast<void>(Remove(part));
    return Outcome::kChanged;
  }
  const Result<bool> exchanged = Exchange(part, candidate.entry);
  if (exchanged.ok() && !*exchanged) return PutLinkInTwoSteps(candidate, part);
  Result<Outcome> outcome = Outcome::kDone;
  if (!exchanged.ok()) {
    outcome = exchanged.status();
  } else if (!AsCompared(candidate, part)) {
    const Status back = ErrorUnlessDone(Exchange(part, candidate.entry));
    // Only the link goes; what was saved in between stays where it is.
    if (back.ok() && !is_kept()) return SystemError(EBUSY);
    outcome = back.ok() ? Result<Outcome>(Outcome::kChanged) : back;
  }
  if ((outcome.ok() && *outcome == Outcome::kDone) || is_kept()) {
    status = Remove(part);
    if (!status.ok() && outcome.ok() && *outcome == Outcome::kDone) return status;
  }
  return outcome;
}

// Where the file system cannot exchange two names.
Result<Worker::Outcome> Worker::PutLinkInTwoSteps(const Candidate& candidate, const std::string& part) {
  Result<Outcome> outcome = Outcome::kChanged;
  if (AsCompared(candidate, candidate.entry)) {
    const Status renamed = Rename(part, candidate.entry);
    if (renamed.ok()) return Outcome::kDone;
    outcome = renamed;
  }
  static_cast<void>(Remove(part));
  return outcome;
}

}  // namespace rrn
