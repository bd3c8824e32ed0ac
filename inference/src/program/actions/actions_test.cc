// Lists, journals, moving, linking and undoing, on reports made by hand: no model is needed here.
#include "program/actions/actions.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "program/actions/files.h"
#include "program/actions/journal.h"
#include "program/path_list.h"
#include "rrn/similarity.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// What a folder holds: for each regular file its bytes, size, mode and modification time.
std::map<std::string, std::string> Snapshot(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const auto state = StateOf(entry.path().string());
    if (!state) continue;
    files[entry.path().string()] =
        ReadFile(entry.path().string()) + " " + std::to_string(state->mode) + " " + std::to_string(state->modified);
  }
  return files;
}

// One group: the first path is kept.
SimilarityResult OneGroup(const std::vector<std::string>& paths) {
  SimilarityResult result;
  result.paths = paths;
  Group group;
  for (std::uint32_t i = 1; i < paths.size(); ++i) group.members.push_back({i, 0.9F});
  result.grouping.groups.push_back(group);
  return result;
}

// Everything that is there by now counts as unchanged.
ActionOptions Options(Action action, const std::string& folder, const std::string& target = "") {
  ActionOptions options;
  options.action = action;
  options.folder = folder;
  options.target = target;
  options.start = std::numeric_limits<std::int64_t>::max();
  return options;
}

UndoResult UndoAll(const std::string& journal) {
  Result<UndoResult> result = Undo(journal, {});
  EXPECT_TRUE(result.ok()) << result.status().message();
  return *std::move(result);
}

// Works in a folder of its own, where the journal of kHardlink goes.
class ActionTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::current_path(work_.path()); }
  void TearDown() override { fs::current_path(before_); }

  ActionResult DoIt(const SimilarityResult& result, const ActionOptions& options) {
    ActionResult outcome = Act(result, options, {});
    EXPECT_TRUE(outcome.stopped.ok()) << outcome.stopped.message();
    return outcome;
  }

  const fs::path before_ = fs::current_path();
  TemporaryFolder work_;
  TemporaryFolder photos_;
};

TEST(PathListTest, TakesLinesOrZeros) {
  EXPECT_THAT(SplitPathList(""), IsEmpty());
  EXPECT_THAT(SplitPathList("\n\r\n\n"), IsEmpty());
  EXPECT_THAT(SplitPathList("a\nb c \n\n d\r\ne"), ElementsAre("a", "b c ", " d", "e"));
  using std::string_literals::operator""s;
  EXPECT_THAT(SplitPathList("a\nb\0c\r\0\0d"s), ElementsAre("a\nb", "c\r", "d"));
}

TEST(PathListTest, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  EXPECT_EQ(ReadPathList(folder.Sub("none")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadPathList(folder.path()).status().code(), StatusCode::kInvalidArgument);
}

TEST(JournalTest, KeepsAnyBytes) {
  JournalLine line;
  std::string all;
  for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
  line.texts = {{"path", all + "図🙂"}, {"empty", ""}};
  line.numbers = {{"step", 1}, {"low", std::numeric_limits<std::int64_t>::min()}, {"zero", 0}};
  const std::string text = FormatLine(line);
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const auto read = ParseLine(text.substr(0, text.size() - 1));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->texts, line.texts);
  EXPECT_EQ(read->numbers, line.numbers);
  EXPECT_EQ(read->text("none"), "");
  EXPECT_FALSE(read->number("none"));
}

TEST(JournalTest, RefusesEverythingElse) {
  EXPECT_TRUE(ParseLine("{}"));
  for (const char* text : {"", "{", "{}x", "[]", R"({"a"})", R"({"a":})", R"({"a":1,})", R"({"a":1.5})", R"({"a":"b})",
                           R"({"a":"\u12"})", R"({"a":"\ud83d"})", R"({"a":"\n"})", R"({"a":99999999999999999999})"}) {
    EXPECT_FALSE(ParseLine(text)) << text;
  }
}

TEST(JournalTest, LeavesOutWhatWasNotFinishedAndRefusesDamage) {
  const TemporaryFolder folder;
  Result<Journal> journal = Journal::Create(folder.path());
  ASSERT_TRUE(journal.ok());
  JournalLine line;
  line.numbers["rrn_journal"] = 1;
  ASSERT_TRUE(journal->Write(line).ok());
  const Result<Journal> second = Journal::Create(folder.path());
  ASSERT_TRUE(second.ok());
  EXPECT_NE(journal->path(), second->path()) << "never overwriting";
  ASSERT_TRUE(Journal::Read(second->path()).ok()) << "killed before its first line";
  EXPECT_THAT(*Journal::Read(second->path()), IsEmpty());
  std::ofstream(second->path()) << FormatLine(line).substr(0, 20);
  EXPECT_TRUE(Journal::Read(second->path()).ok()) << "killed in its first line";
  EXPECT_THAT(UndoAll(second->path()).failed, IsEmpty());
  std::ofstream(second->path()) << "{\"other\":";
  EXPECT_EQ(Journal::Read(second->path()).status().code(), StatusCode::kCorrupt);
  std::ofstream(journal->path(), std::ios::app) << R"({"step":1,"pa)";
  EXPECT_THAT(*Journal::Read(journal->path()), SizeIs(1));
  Result<Journal> again = Journal::Append(journal->path());
  ASSERT_TRUE(again.ok());
  line.numbers = {{"undone", 1}};
  ASSERT_TRUE(again->Write(line).ok());
  ASSERT_TRUE(Journal::Read(journal->path()).ok());
  EXPECT_EQ(Journal::Read(journal->path())->back().number("undone"), 1);
  std::ofstream(journal->path(), std::ios::app) << "damage\n";
  EXPECT_THAT(Journal::Read(journal->path()).status().message(), HasSubstr("line 4 is damaged"));
  EXPECT_EQ(Journal::Read(folder.Write("text", "text\n")).status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(Journal::Read(folder.Write("other", "{\"a\":1}\n")).status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(Journal::Read(folder.Sub("none")).status().code(), StatusCode::kNotFound);
}

TEST(FilesTest, NeverReplace) {
  const TemporaryFolder folder;
  const std::string a = folder.Write("a", "a");
  const std::string b = folder.Write("b", "b");
  EXPECT_EQ(RenameNew(a, b), EEXIST);
  EXPECT_EQ(CopyNew(a, b, *StateOf(a)), EEXIST);
  EXPECT_EQ(ReadFile(b), "b");
  EXPECT_EQ(RenameNew(folder.Sub("none"), folder.Sub("c")), ENOENT);
  bool same = true;
  EXPECT_EQ(SameBytes(a, b, &same), 0);
  EXPECT_FALSE(same);
  fs::permissions(a, static_cast<fs::perms>(0640));
  ASSERT_EQ(CopyNew(a, folder.Sub("c"), *StateOf(a)), 0);
  EXPECT_EQ(StateOf(folder.Sub("c"))->mode, 0640U);
  EXPECT_TRUE(StateOf(folder.Sub("c"))->SameContent(*StateOf(a)));
  EXPECT_EQ(SameBytes(a, folder.Sub("c"), &same), 0);
  EXPECT_TRUE(same);
  int error = 0;
  fs::create_symlink(a, folder.Sub("link"));
  EXPECT_FALSE(StateOf(folder.Sub("link"), &error));
  EXPECT_EQ(error, ELOOP);
  // Errors while writing leave nothing behind.
  EXPECT_NE(CopyNew(folder.path(), folder.Sub("d"), {}), 0);
  EXPECT_FALSE(fs::exists(folder.Sub("d")));
}

TEST_F(ActionTest, MovesAndPutsBackByteForByte) {
  std::vector<std::string> paths;
  for (const char* name : {"a.jpg", "b.jpg", "naïve 図\n.jpg", "sub/deep/b.jpg", "sub/x\xff.jpg"}) {
    paths.push_back(photos_.Write(name, std::string("content of ") + name));
  }
  fs::permissions(paths[1], static_cast<fs::perms>(0600));
  fs::last_write_time(paths[3], fs::file_time_type::clock::now() - std::chrono::hours(1000));
  const auto before = Snapshot(photos_.path());
  const std::string target = work_.Sub("made/target");
  const ActionResult result = DoIt(OneGroup(paths), Options(Action::kMove, photos_.path(), target));
  EXPECT_THAT(result.done, SizeIs(4));
  EXPECT_THAT(result.left_alone, IsEmpty());
  EXPECT_THAT(Snapshot(photos_.path()), SizeIs(1)) << "the kept one";
  for (const DoneAction& done : result.done) {
    EXPECT_EQ(done.to, target + done.path.substr(photos_.path().size()));
    const std::string& was = before.at(done.path);
    EXPECT_EQ(Snapshot(target).at(done.to), was);
  }
  const UndoResult undone = UndoAll(result.journal);
  EXPECT_THAT(undone.done, SizeIs(4));
  EXPECT_THAT(undone.failed, IsEmpty());
  EXPECT_EQ(Snapshot(photos_.path()), before);
  EXPECT_THAT(Snapshot(target), SizeIs(1)) << "the journal";
  EXPECT_FALSE(fs::exists(target + "/sub")) << "folders that were made go again";
  const UndoResult twice = UndoAll(result.journal);
  EXPECT_THAT(twice.done, IsEmpty());
  EXPECT_THAT(twice.failed, IsEmpty());
}

TEST_F(ActionTest, ATakenNameGetsANumber) {
  const std::string kept = photos_.Write("a", "a");
  const std::string moved = photos_.Write("b.tar.gz", "moved");
  const std::string target = work_.Sub("target");
  work_.Write("target/b.tar.gz", "old");
  work_.Write("target/b.tar-1.gz", "old too");
  const ActionResult result = DoIt(OneGroup({kept, moved}), Options(Action::kMove, photos_.path(), target));
  ASSERT_THAT(result.done, SizeIs(1));
  EXPECT_EQ(result.done[0].to, target + "/b.tar-2.gz");
  EXPECT_EQ(ReadFile(target + "/b.tar.gz"), "old");
  EXPECT_EQ(ReadFile(target + "/b.tar-1.gz"), "old too");
  EXPECT_EQ(ReadFile(target + "/b.tar-2.gz"), "moved");
  EXPECT_THAT(UndoAll(result.journal).done, SizeIs(1));
  EXPECT_EQ(ReadFile(moved), "moved");
}

TEST_F(ActionTest, WithoutAFolderPathsStayInsideTheTarget) {
  const std::string kept = photos_.Write("a", "a");
  work_.Write("sub/b", "b");
  fs::create_directory(work_.Sub("cwd"));
  fs::current_path(work_.Sub("cwd"));
  const std::string absolute = photos_.Write("c", "c");
  const ActionResult result = DoIt(OneGroup({kept, "../sub/./b", absolute}), Options(Action::kMove, "", "t"));
  ASSERT_THAT(result.done, SizeIs(2));
  EXPECT_EQ(result.done[0].to, "t/sub/b");
  EXPECT_EQ(result.done[1].to, "t" + absolute);
  EXPECT_EQ(ReadFile("t/sub/b"), "b");
  fs::current_path("/");
  EXPECT_THAT(UndoAll(work_.Sub("cwd/" + result.journal)).done, SizeIs(2)) << "from another folder";
  EXPECT_EQ(ReadFile(work_.Sub("sub/b")), "b");
}

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

TEST_F(ActionTest, LinksOnlyWhatIsEqualAndSeparatesItAgain) {
  const std::string kept = photos_.Write("a", "the same");
  const std::string equal = photos_.Write("b", "the same");
  const std::string other = photos_.Write("c", "not same");
  const std::string longer = photos_.Write("d", "the same, longer");
  const std::string linked = photos_.Sub("e");
  fs::create_hard_link(kept, linked);
  fs::permissions(equal, static_cast<fs::perms>(0604));
  fs::last_write_time(equal, fs::last_write_time(kept) - std::chrono::hours(5));
  const auto before = Snapshot(photos_.path());
  const ActionResult result =
      DoIt(OneGroup({kept, equal, other, longer, linked}), Options(Action::kHardlink, photos_.path()));
  ASSERT_THAT(result.done, SizeIs(1));
  EXPECT_EQ(result.done[0].path, equal);
  ASSERT_THAT(result.left_alone, SizeIs(3));
  EXPECT_THAT(result.left_alone[0].reason, HasSubstr("other bytes"));
  EXPECT_THAT(result.left_alone[1].reason, HasSubstr("other bytes"));
  EXPECT_THAT(result.left_alone[2].reason, HasSubstr("already a hard link"));
  EXPECT_TRUE(StateOf(equal)->SameFile(*StateOf(kept)));
  const UndoResult undone = UndoAll(result.journal);
  EXPECT_THAT(undone.done, SizeIs(1));
  EXPECT_FALSE(StateOf(equal)->SameFile(*StateOf(kept)));
  EXPECT_TRUE(StateOf(linked)->SameFile(*StateOf(kept)));
  EXPECT_EQ(Snapshot(photos_.path()), before);
  EXPECT_THAT(UndoAll(result.journal).done, IsEmpty());
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

TEST_F(ActionTest, LeavesAloneWhatWouldLoseTheKeptImage) {
  const std::string real = photos_.Write("real", "x");
  const std::string link = photos_.Sub("link");
  fs::create_symlink(real, link);
  const std::string target = work_.Sub("t");
  // The kept one is a link to the redundant one.
  ActionResult result = DoIt(OneGroup({link, real}), Options(Action::kMove, photos_.path(), target));
  EXPECT_EQ(result.redundant, 0U);
  EXPECT_THAT(result.done, IsEmpty());
  // A link is redundant.
  result = DoIt(OneGroup({real, link}), Options(Action::kMove, photos_.path(), target));
  ASSERT_THAT(result.left_alone, SizeIs(1));
  EXPECT_THAT(result.left_alone[0].reason, HasSubstr("a symbolic link, which"));
  // One file by two names.
  fs::create_directory_symlink(photos_.path(), work_.Sub("way"));
  for (const std::string& other : {photos_.Sub("./real"), work_.Sub("way/real")}) {
    for (const Action action : {Action::kMove, Action::kHardlink}) {
      result = DoIt(OneGroup({real, other}), Options(action, "", target));
      EXPECT_EQ(result.redundant, 0U);
      EXPECT_THAT(result.done, IsEmpty());
    }
  }
  EXPECT_FALSE(fs::exists(target)) << "nothing to do, nothing made";
  EXPECT_EQ(ReadFile(real), "x");
  // A hard link of the kept one may go: the bytes stay.
  fs::create_hard_link(real, photos_.Sub("hard"));
  result = DoIt(OneGroup({real, photos_.Sub("hard")}), Options(Action::kMove, photos_.path(), target));
  EXPECT_THAT(result.done, SizeIs(1));
  EXPECT_EQ(ReadFile(real), "x");
}

TEST_F(ActionTest, LeavesAloneWhatChangedMeanwhile) {
  const std::string kept = photos_.Write("a", "a");
  const std::string changed = photos_.Write("b", "b");
  const std::string gone = photos_.Sub("c");
  ActionOptions options = Options(Action::kMove, photos_.path(), work_.Sub("t"));
  options.start = StateOf(changed)->changed - 1;
  ActionResult result = DoIt(OneGroup({kept, changed, gone}), options);
  ASSERT_THAT(result.left_alone, SizeIs(2));
  EXPECT_THAT(result.left_alone[0].reason, HasSubstr("changed while"));
  EXPECT_THAT(result.left_alone[1].reason, HasSubstr("no longer there"));
  options = Options(Action::kMove, photos_.path(), work_.Sub("t"));
  fs::remove(kept);
  result = DoIt(OneGroup({kept, changed}), options);
  ASSERT_THAT(result.left_alone, SizeIs(1));
  EXPECT_THAT(result.left_alone[0].reason, HasSubstr("the image to keep"));
}

TEST_F(ActionTest, AStepThatFailsIsListedAndTheRestIsDone) {
  std::vector<std::string> paths;
  for (const char* name : {"a", "b/c", "d"}) paths.push_back(photos_.Write(name, name));
  const std::string target = work_.Sub("t");
  work_.Write("t/b", "a file where a folder is wanted");
  const ActionResult result = DoIt(OneGroup(paths), Options(Action::kMove, photos_.path(), target));
  ASSERT_THAT(result.failed, SizeIs(1));
  EXPECT_EQ(result.failed[0].path, paths[1]);
  ASSERT_THAT(result.done, SizeIs(1));
  EXPECT_EQ(ReadFile(paths[1]), "b/c");
  EXPECT_THAT(UndoAll(result.journal).done, SizeIs(1));
}

TEST_F(ActionTest, AFolderThatCannotBeMadeTakesNoOtherStepAway) {
  std::vector<std::string> paths;
  for (const char* name : {"a", "b", "sub/c"}) paths.push_back(photos_.Write(name, name));
  const auto before = Snapshot(photos_.path());
  fs::create_directory(work_.Sub("t"));
  fs::create_symlink("/nowhere/at/all", work_.Sub("t/sub"));
  const ActionResult result = DoIt(OneGroup(paths), Options(Action::kMove, photos_.path(), work_.Sub("t")));
  EXPECT_THAT(result.done, SizeIs(1));
  ASSERT_THAT(result.failed, SizeIs(1));
  EXPECT_THAT(result.failed[0].reason, HasSubstr("cannot make a folder"));
  EXPECT_THAT(UndoAll(result.journal).done, SizeIs(1));
  EXPECT_EQ(Snapshot(photos_.path()), before);
}

TEST_F(ActionTest, CanBeStoppedBetweenSteps) {
  std::vector<std::string> paths;
  for (const char* name : {"a", "b", "c", "d"}) paths.push_back(photos_.Write(name, name));
  const auto before = Snapshot(photos_.path());
  int steps = 0;
  const ActionResult result =
      Act(OneGroup(paths), Options(Action::kMove, photos_.path(), work_.Sub("t")), [&steps] { return ++steps < 3; });
  EXPECT_EQ(result.stopped.code(), StatusCode::kCancelled);
  EXPECT_THAT(result.done, SizeIs(2));
  const Result<UndoResult> half = Undo(result.journal, [] { return false; });
  ASSERT_TRUE(half.ok());
  EXPECT_EQ(half->stopped.code(), StatusCode::kCancelled);
  EXPECT_THAT(UndoAll(result.journal).done, SizeIs(2));
  EXPECT_EQ(Snapshot(photos_.path()), before);
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
  ASSERT_EQ(CopyNew(original, work_.Sub("t/b"), state), 0);
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

// Somebody saves the image in the middle of a step. Whenever that is, what was saved stays.
class Saver {
 public:
  // Replaces `path` as soon as `folder` holds a name that begins with `begin`.
  Saver(const std::string& folder, const std::string& begin, const std::string& path)
      : thread_([this, folder, begin, path] {
          std::ofstream(path + ".new") << "SAVED";
          ready_ = true;
          std::error_code error;
          while (!done_) {
            for (const auto& entry : fs::directory_iterator(folder, error)) {
              if (entry.path().filename().string().rfind(begin, 0) != 0) continue;
              fs::rename(path + ".new", path, error);
              return;
            }
          }
          fs::rename(path + ".new", path, error);
        }) {
    while (!ready_) std::this_thread::yield();
  }
  void Join() {
    done_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> done_{false};
  std::atomic<bool> ready_{false};
  std::thread thread_;
};

TEST_F(ActionTest, WhatIsSavedDuringALinkStays) {
  for (int i = 0; i < 50; ++i) {
    const std::string kept = photos_.Write("a", std::string(100'000, 'x'));
    const std::string equal = photos_.Write("b", std::string(100'000, 'x'));
    Saver saver(photos_.path(), ".rrn-", equal);
    const ActionResult result = Act(OneGroup({kept, equal}), Options(Action::kHardlink, photos_.path()), {});
    saver.Join();
    ASSERT_EQ(ReadFile(equal), "SAVED");
    ASSERT_EQ(ReadFile(kept).size(), 100'000U);
    ASSERT_THAT(Snapshot(photos_.path()), SizeIs(2)) << "nothing of ours is left";
    if (!result.journal.empty()) UndoAll(result.journal);
    ASSERT_EQ(ReadFile(equal), "SAVED");
  }
}

TEST_F(ActionTest, WhatIsSavedDuringACopyStays) {
  struct stat here = {};
  struct stat there = {};
  if (stat("/dev/shm", &there) != 0 || access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "no second file system";
  ASSERT_EQ(stat(photos_.path().c_str(), &here), 0);
  if (here.st_dev == there.st_dev) GTEST_SKIP() << "no second file system";
  for (int i = 0; i < 20; ++i) {
    const TemporaryFolder other("/dev/shm");
    const std::string kept = photos_.Write("a", "a");
    const std::string moved = photos_.Write("b", std::string(100'000, 'b'));
    Saver saver(i % 2 == 0 ? other.path() : photos_.path(), i % 2 == 0 ? "b" : ".rrn-", moved);
    const ActionResult result = Act(OneGroup({kept, moved}), Options(Action::kMove, photos_.path(), other.path()), {});
    saver.Join();
    if (!result.journal.empty()) UndoAll(result.journal);
    ASSERT_EQ(ReadFile(moved), "SAVED");
  }
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
  ASSERT_EQ(CopyNew(equal, work_.Sub("to"), state), 0);
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
  ASSERT_EQ(CopyNew(work_.Sub("t/b"), moved, state), 0);
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

std::string Tag(const std::string& path) {
  std::string value(100, '\0');
  const ssize_t size = getxattr(path.c_str(), "user.tag", value.data(), value.size());
  return size < 0 ? "none" : value.substr(0, static_cast<std::size_t>(size));
}

TEST_F(ActionTest, ExtendedAttributesStay) {
  const std::string kept = photos_.Write("a", "x");
  const std::string equal = photos_.Write("b", "x");
  const auto tag = [](const std::string& path) { return setxattr(path.c_str(), "user.tag", "holiday", 7, 0); };
  if (tag(equal) != 0) GTEST_SKIP() << "no extended attributes on this file system";
  ASSERT_EQ(CopyNew(equal, photos_.Sub("copy"), *StateOf(equal)), 0);
  EXPECT_EQ(Tag(photos_.Sub("copy")), "holiday");
  EXPECT_TRUE(StateOf(photos_.Sub("copy"))->SameContent(*StateOf(equal)));
  ActionResult result = DoIt(OneGroup({kept, equal}), Options(Action::kHardlink, photos_.path()));
  ASSERT_THAT(result.left_alone, SizeIs(1));
  EXPECT_THAT(result.left_alone[0].reason, HasSubstr("extended attributes"));
  ASSERT_EQ(tag(kept), 0);
  result = DoIt(OneGroup({kept, equal}), Options(Action::kHardlink, photos_.path()));
  ASSERT_THAT(result.done, SizeIs(1));
  ASSERT_THAT(UndoAll(result.journal).done, SizeIs(1));
  EXPECT_EQ(Tag(equal), "holiday");
}

TEST_F(ActionTest, LeavesAloneWhoseKeptImageChangedBehindALink) {
  const std::string kept = photos_.Write("real", "x");
  const std::string equal = photos_.Write("b", "x");
  fs::create_symlink(kept, photos_.Sub("a"));
  ActionOptions options = Options(Action::kMove, photos_.path(), work_.Sub("t"));
  SimilarityResult result = OneGroup({photos_.Sub("a"), equal});
  // Between the plan and the step.
  const ActionResult outcome = Act(result, options, [&] { return !photos_.Write("real", "changed").empty(); });
  ASSERT_THAT(outcome.left_alone, SizeIs(1));
  EXPECT_THAT(outcome.left_alone[0].reason, HasSubstr("changed"));
  EXPECT_TRUE(fs::exists(equal));
  options.start = StateOf(kept)->changed - 1;
  fs::remove(equal);
  photos_.Write("b", "x");
  EXPECT_THAT(DoIt(result, options).done, IsEmpty());
}

TEST_F(ActionTest, AcrossFileSystems) {
  struct stat here = {};
  struct stat there = {};
  if (stat("/dev/shm", &there) != 0 || access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "no second file system";
  ASSERT_EQ(stat(photos_.path().c_str(), &here), 0);
  if (here.st_dev == there.st_dev) GTEST_SKIP() << "no second file system";
  const TemporaryFolder other("/dev/shm");
  const std::string kept = photos_.Write("a", "a");
  const std::string moved = photos_.Write("sub/b", std::string(3'000'000, 'b'));
  fs::permissions(moved, static_cast<fs::perms>(0604));
  fs::last_write_time(moved, fs::last_write_time(kept) - std::chrono::hours(5));
  const auto before = Snapshot(photos_.path());
  const ActionResult result = DoIt(OneGroup({kept, moved}), Options(Action::kMove, photos_.path(), other.Sub("t")));
  ASSERT_THAT(result.done, SizeIs(1));
  EXPECT_FALSE(fs::exists(moved));
  EXPECT_EQ(Snapshot(other.path()).at(other.Sub("t/sub/b")), before.at(moved));
  EXPECT_THAT(Snapshot(other.path()), SizeIs(2)) << "no unfinished copy is left";
  EXPECT_THAT(UndoAll(result.journal).done, SizeIs(1));
  EXPECT_EQ(Snapshot(photos_.path()), before);
  EXPECT_THAT(Snapshot(other.path()), SizeIs(1)) << "the journal";

  const std::string far = other.Write("far", "a");
  const ActionResult linked = DoIt(OneGroup({kept, far}), Options(Action::kHardlink, ""));
  ASSERT_THAT(linked.left_alone, SizeIs(1));
  EXPECT_THAT(linked.left_alone[0].reason, HasSubstr("another file system"));
}

TEST_F(ActionTest, ChecksBeforeTheWork) {
  const std::string file = work_.Write("file", "");
  EXPECT_TRUE(CheckAction(Options(Action::kNone, photos_.path())).ok());
  EXPECT_TRUE(CheckAction(Options(Action::kHardlink, photos_.path())).ok());
  EXPECT_TRUE(CheckAction(Options(Action::kMove, photos_.path(), work_.Sub("new/deep"))).ok());
  EXPECT_TRUE(CheckAction(Options(Action::kMove, photos_.path(), "relative")).ok());
  EXPECT_FALSE(fs::exists("relative"));
  EXPECT_EQ(CheckAction(Options(Action::kMove, photos_.path(), file)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckAction(Options(Action::kMove, photos_.path(), file + "/x")).code(), StatusCode::kRuntime);
  EXPECT_EQ(CheckAction(Options(Action::kMove, photos_.path(), photos_.path() + "/.")).code(),
            StatusCode::kInvalidArgument);
  ActionOptions options = Options(Action::kMove, photos_.path(), work_.path());
  options.reference = work_.path() + "/";
  EXPECT_EQ(CheckAction(options).code(), StatusCode::kInvalidArgument);
  options = Options(Action::kMove, photos_.path(), work_.path());
  EXPECT_TRUE(CheckAction(options).ok());
  for (std::string* inside : {&options.folder, &options.reference}) {
    const std::string was = std::exchange(*inside, work_.Sub("in/deep"));
    fs::create_directories(*inside);
    EXPECT_EQ(CheckAction(options).code(), StatusCode::kInvalidArgument) << "a folder above";
    *inside = was;
  }
  fs::create_directory(photos_.Sub("in"));
  EXPECT_TRUE(IsInside(photos_.Sub("in"), photos_.path()));
  EXPECT_TRUE(IsInside(photos_.path(), photos_.path()));
  EXPECT_FALSE(IsInside(photos_.path(), photos_.Sub("in")));
  EXPECT_FALSE(IsInside(photos_.Sub("none"), photos_.path()));
}

}  // namespace
}  // namespace rrn
