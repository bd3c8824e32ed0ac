// Undoing, also what a run that was killed left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "program/actions/action_test.h"
#include "program/actions/actions.h"
#include "program/actions/files.h"
#include "program/actions/journal.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(ActionTest, UndoRefusesWhatChangedAndDoesTheRest) {
  std::vector<std::string> paths;
  for (const char* name : {"a", "changed", "fine", "gone", "taken"}) paths.push_back(photos_.Write(name, name));
  const std::string target = work_.Sub("t");
  const ActionResult result = DoIt(OneGroup(paths), Options(Action::kMove, photos_.path(), target));
  ASSERT_THAT(result.done, SizeIs(4));
  std::ofstream(target + "/changed") << "something else";
  fs::rename(target + "/gone", work_.Sub("elsewhere"));
  photos_.Write("taken", "new");
  UndoResult undone = UndoAll(result.journal);
  ASSERT_THAT(undone.failed, SizeIs(3));
  EXPECT_THAT(undone.failed[0].reason, HasSubstr("the place is taken"));
  EXPECT_THAT(undone.failed[1].reason, HasSubstr("is gone"));
  EXPECT_THAT(undone.failed[2].reason, HasSubstr("another size or time"));
  ASSERT_THAT(undone.done, SizeIs(1));
  EXPECT_EQ(ReadFile(photos_.Sub("fine")), "fine");
  EXPECT_EQ(ReadFile(photos_.Sub("taken")), "new");
  EXPECT_EQ(ReadFile(target + "/taken"), "taken");
  // What was in the way is gone: the rest can still be undone.
  fs::remove(photos_.Sub("taken"));
  fs::rename(work_.Sub("elsewhere"), target + "/gone");
  undone = UndoAll(result.journal);
  EXPECT_THAT(undone.done, SizeIs(2));
  EXPECT_THAT(undone.failed, SizeIs(1));
}

TEST_F(ActionTest, UndoOfALinkThatWasChangedIsRefused) {
  const std::string kept = photos_.Write("a", "the same");
  const std::string equal = photos_.Write("b", "the same");
  const std::string replaced = photos_.Write("c", "the same");
  const ActionResult result = DoIt(OneGroup({kept, equal, replaced}), Options(Action::kHardlink, photos_.path()));
  ASSERT_THAT(result.done, SizeIs(2));
  fs::remove(replaced);
  photos_.Write("c", "mine");
  std::ofstream(kept, std::ios::app) << " no more";
  const UndoResult undone = UndoAll(result.journal);
  EXPECT_THAT(undone.done, IsEmpty());
  ASSERT_THAT(undone.failed, SizeIs(2));
  EXPECT_THAT(undone.failed[0].reason, HasSubstr("no longer the link"));
  EXPECT_THAT(undone.failed[1].reason, HasSubstr("another size or time"));
  EXPECT_EQ(ReadFile(replaced), "mine");
}

// A new file can get the inode of the image that the link replaced, and is not that image.
TEST_F(ActionTest, UndoTellsANewFileWithTheInodeOfTheOriginal) {
  const std::string kept = photos_.Write("a", "the same");
  const std::string replaced = photos_.Write("b", "the same");
  const std::string inode = "\"inode\":" + std::to_string(StateOf(replaced)->inode);
  const ActionResult result = DoIt(OneGroup({kept, replaced}), Options(Action::kHardlink, photos_.path()));
  ASSERT_THAT(result.done, SizeIs(1));
  fs::remove(replaced);
  photos_.Write("b", "mine");
  std::string text = ReadFile(result.journal);
  const std::size_t at = text.find(inode);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, inode.size(), "\"inode\":" + std::to_string(StateOf(replaced)->inode));
  const UndoResult undone = UndoAll(work_.Write("j.jsonl", text));
  EXPECT_THAT(undone.done, IsEmpty());
  ASSERT_THAT(undone.failed, SizeIs(1));
  EXPECT_THAT(undone.failed[0].reason, HasSubstr("no longer the link"));
  EXPECT_EQ(ReadFile(replaced), "mine");
}

// A journal as a killed run leaves it, in every place where it can have been killed.
TEST_F(ActionTest, UndoesTheJournalOfAKilledRun) {
  const std::string kept = photos_.Write("a", "a");
  const std::string moved = photos_.Write("b", "b");
  const auto before = Snapshot(photos_.path());
  const ActionResult result = DoIt(OneGroup({kept, moved}), Options(Action::kMove, photos_.path(), work_.Sub("t")));
  ASSERT_THAT(result.done, SizeIs(1));
  ASSERT_TRUE(UndoAll(result.journal).failed.empty());
  const std::string text = ReadFile(result.journal);
  const std::string written = text.substr(0, text.find("{\"undone\""));
  ASSERT_LT(written.size(), text.size());
  const auto journal = [&](const std::string& content) { return work_.Write("t/killed.jsonl", content); };
  // Before the step: the file is where it was. In the middle of the line, and right after it.
  for (const std::size_t cut : {std::size_t{20}, std::size_t{1}, std::size_t{0}}) {
    const UndoResult undone = UndoAll(journal(written.substr(0, written.size() - cut)));
    EXPECT_THAT(undone.done, IsEmpty());
    EXPECT_THAT(undone.failed, IsEmpty());
    EXPECT_EQ(Snapshot(photos_.path()), before);
  }
  // After the step.
  fs::rename(moved, work_.Sub("t/b"));
  EXPECT_THAT(UndoAll(journal(written)).done, SizeIs(1));
  EXPECT_EQ(Snapshot(photos_.path()), before);
  // An undo that was killed before it could say what it did.
  EXPECT_THAT(UndoAll(journal(written)).failed, IsEmpty());
  EXPECT_EQ(Snapshot(photos_.path()), before);
}

TEST_F(ActionTest, AnUnfinishedCopyGoesAndTheOriginalStays) {
  const std::string original = photos_.Write("b", "bytes");
  const FileState state = *StateOf(original);
  JournalLine line;
  line.numbers["rrn_journal"] = 1;
  std::string text = FormatLine(line);
  const std::string part = work_.Write("t/.rrn-part-1-1", "byt");
  line.numbers = {{"step", 1},
                  {"size", state.size},
                  {"mtime_ns", state.modified},
                  {"device", static_cast<std::int64_t>(state.device)},
                  {"inode", static_cast<std::int64_t>(state.inode)},
                  {"copy", 1}};
  line.texts = {{"path", original}, {"to", work_.Sub("t/b")}, {"part", part}};
  text += FormatLine(line);
  const std::string journal = work_.Write("t/j.jsonl", text);
  EXPECT_THAT(UndoAll(journal).failed, IsEmpty());
  EXPECT_FALSE(fs::exists(part));
  EXPECT_EQ(ReadFile(original), "bytes");
  // Killed between the copy and the removal of the original: the copy goes. Someone else's file would not.
  work_.Write("t/j.jsonl", text);
  ASSERT_TRUE(ErrorUnlessMade(CopyNew(original, work_.Sub("t/b"), state)).ok());
  EXPECT_THAT(UndoAll(journal).failed, IsEmpty());
  EXPECT_FALSE(fs::exists(work_.Sub("t/b")));
  work_.Write("t/j.jsonl", text);
  work_.Write("t/b", "other");
  EXPECT_THAT(UndoAll(journal).failed, IsEmpty());
  EXPECT_EQ(ReadFile(work_.Sub("t/b")), "other");
  EXPECT_EQ(ReadFile(original), "bytes");
}

// An unfinished link has the kept image's bytes under a name of ours.
TEST_F(ActionTest, UndoesAKilledLink) {
  const std::string kept = photos_.Write("a", "x");
  const std::string equal = photos_.Write("b", "x");
  const auto before = Snapshot(photos_.path());
  const ActionResult result = DoIt(OneGroup({kept, equal}), Options(Action::kHardlink, photos_.path()));
  ASSERT_THAT(result.done, SizeIs(1));
  const std::string written = ReadFile(result.journal);
  ASSERT_THAT(UndoAll(result.journal).done, SizeIs(1));
  const auto lines = Journal::Read(result.journal);
  ASSERT_TRUE(lines.ok());
  const std::string part = (*lines)[1].text("part");
  ASSERT_FALSE(part.empty());
  fs::create_hard_link(kept, part);
  const std::string journal = work_.Write("killed.jsonl", written);
  const UndoResult undone = UndoAll(journal);
  EXPECT_THAT(undone.failed, IsEmpty());
  EXPECT_EQ(Snapshot(photos_.path()), before) << "and no part is left";
}

// As a kill in the middle of removing or replacing the original leaves it.
TEST_F(ActionTest, AnOriginalUnderANameOfOursComesBack) {
  const std::string kept = photos_.Write("a", "x");
  const std::string equal = photos_.Write("b", "x");
  fs::permissions(equal, static_cast<fs::perms>(0604));
  const auto before = Snapshot(photos_.path());
  const ActionResult result = DoIt(OneGroup({kept, equal}), Options(Action::kHardlink, photos_.path()));
  const std::string written = ReadFile(result.journal);
  ASSERT_THAT(UndoAll(result.journal).done, SizeIs(1));
  const auto lines = Journal::Read(result.journal);
  ASSERT_TRUE(lines.ok());
  // A link: exchanged, and the original not removed yet.
  const std::string part = (*lines)[1].text("part");
  fs::rename(equal, part);
  fs::create_hard_link(kept, equal);
  EXPECT_THAT(UndoAll(work_.Write("killed.jsonl", written)).done, SizeIs(1));
  EXPECT_EQ(Snapshot(photos_.path()), before);
  EXPECT_FALSE(StateOf(equal)->SameFile(*StateOf(kept)));
  // A move: the original aside, the copy in its place.
  const FileState state = *StateOf(equal);
  const std::string aside = photos_.Sub(".rrn-aside-1-1");
  JournalLine line;
  line.numbers["rrn_journal"] = 1;
  std::string text = FormatLine(line);
  line.numbers = {{"step", 1},
                  {"size", state.size},
                  {"mtime_ns", state.modified},
                  {"device", static_cast<std::int64_t>(state.device) + 1},
                  {"inode", static_cast<std::int64_t>(state.inode)},
                  {"copy", 1}};
  line.texts = {{"path", equal}, {"to", work_.Sub("to")}, {"aside", aside}};
  text += FormatLine(line);
  ASSERT_TRUE(ErrorUnlessMade(CopyNew(equal, work_.Sub("to"), state)).ok());
  fs::rename(equal, aside);
  EXPECT_THAT(UndoAll(work_.Write("j.jsonl", text)).failed, IsEmpty());
  EXPECT_EQ(Snapshot(photos_.path()), before);
  EXPECT_FALSE(fs::exists(work_.Sub("to")));
  // The place was taken meanwhile: both stay.
  fs::rename(equal, aside);
  photos_.Write("b", "mine");
  EXPECT_THAT(UndoAll(work_.Write("j.jsonl", text)).failed, SizeIs(1));
  EXPECT_EQ(ReadFile(aside), "x");
  EXPECT_EQ(ReadFile(equal), "mine");
}

// An undo that was killed between giving the image its old name and taking away the new one.
TEST_F(ActionTest, AnUndoThatWasKilledIsFinished) {
  const std::string kept = photos_.Write("a", "a");
  const std::string moved = photos_.Write("b", "b");
  const auto before = Snapshot(photos_.path());
  const ActionResult result = DoIt(OneGroup({kept, moved}), Options(Action::kMove, photos_.path(), work_.Sub("t")));
  const std::string written = ReadFile(result.journal);
  const FileState state = *StateOf(work_.Sub("t/b"));
  ASSERT_TRUE(ErrorUnlessMade(CopyNew(work_.Sub("t/b"), moved, state)).ok());
  EXPECT_THAT(UndoAll(result.journal).failed, IsEmpty());
  EXPECT_FALSE(fs::exists(work_.Sub("t/b")));
  EXPECT_EQ(Snapshot(photos_.path()), before);
  // Where renaming is a link and a removal.
  fs::create_hard_link(moved, work_.Sub("t/b"));
  EXPECT_THAT(UndoAll(work_.Write("t/again.jsonl", written)).failed, IsEmpty());
  EXPECT_FALSE(fs::exists(work_.Sub("t/b")));
  EXPECT_EQ(Snapshot(photos_.path()), before);
  // Other bytes of the same size and time are not the image.
  work_.Write("t/b", "c");
  fs::last_write_time(work_.Sub("t/b"), fs::last_write_time(moved));
  fs::copy_file(moved, photos_.Sub("other"));
  if (StateOf(photos_.Sub("other"))->inode == state.inode) {
    // A new file can get the number of one that is gone, and would be taken for it.
    fs::rename(photos_.Sub("other"), work_.Sub("taken"));
    fs::copy_file(moved, photos_.Sub("other"));
  }
  fs::last_write_time(photos_.Sub("other"), fs::last_write_time(moved));
  fs::rename(photos_.Sub("other"), moved);
  EXPECT_THAT(UndoAll(work_.Write("t/third.jsonl", written)).failed, SizeIs(1));
  EXPECT_EQ(ReadFile(work_.Sub("t/b")), "c");
}

TEST_F(ActionTest, UndoesLinksUnderAnotherDeviceNumber) {
  const std::string kept = photos_.Write("a", "x");
  const std::string equal = photos_.Write("b", "x");
  // Equal times, so that the contents do not tell them apart.
  fs::last_write_time(equal, fs::last_write_time(kept));
  const ActionResult result = DoIt(OneGroup({kept, equal}), Options(Action::kHardlink, photos_.path()));
  ASSERT_THAT(result.done, SizeIs(1));
  std::string text = ReadFile(result.journal);
  const std::string device = "\"device\":" + std::to_string(StateOf(kept)->device);
  ASSERT_NE(text.find(device), std::string::npos);
  text.replace(text.find(device), device.size(), device + "7");
  EXPECT_THAT(UndoAll(work_.Write("j.jsonl", text)).done, SizeIs(1));
  EXPECT_FALSE(StateOf(equal)->SameFile(*StateOf(kept)));
}

TEST_F(ActionTest, UndoSaysThatAFolderBecameAFile) {
  const std::string kept = photos_.Write("kept", "same");
  const std::string moved = photos_.Write("sub/moved", "same");
  const ActionResult result = DoIt(OneGroup({kept, moved}), Options(Action::kMove, photos_.path(), work_.Sub("t")));
  ASSERT_THAT(result.done, SizeIs(1));
  std::filesystem::remove(photos_.Sub("sub"));
  photos_.Write("sub", "now a file");
  const UndoResult undone = UndoAll(result.journal);
  ASSERT_THAT(undone.failed, SizeIs(1));
  EXPECT_THAT(undone.failed[0].reason, HasSubstr("its folder is no longer a folder"));
  EXPECT_EQ(ReadFile(work_.Sub("t/sub/moved")), "same");
}

}  // namespace
}  // namespace rrn
