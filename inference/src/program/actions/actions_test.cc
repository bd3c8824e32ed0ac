// Moving and linking, on results made by hand: no model is needed here.
#include "program/actions/actions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "program/actions/action_test.h"
#include "program/actions/files.h"
#include "program/actions/journal.h"
#include "rrn/similarity.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

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
  ASSERT_TRUE(ErrorUnlessMade(CopyNew(equal, photos_.Sub("copy"), *StateOf(equal))).ok());
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
