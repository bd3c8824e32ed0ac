// Disks that are full, and folders that are only for reading.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "rrn/store.h"
#include "store/test_store.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::AddTestFiles;
using test_support::Findings;
using test_support::MustOpen;
using test_support::ReadAll;
using test_support::TemporaryFolder;
using test_support::TestKey;
using test_support::TestRow;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// No file grows beyond this size as long as the object lives.
class FileLimit {
 public:
  explicit FileLimit(std::uint64_t bytes) {
    old_handler_ = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit = {bytes, old_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    signal(SIGXFSZ, old_handler_);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit old_ = {};
  void (*old_handler_)(int) = nullptr;
};

// A disk in memory of its own; only root can make one.
class Disk {
 public:
  explicit Disk(const char* size) { mounted_ = mount("rrn_test", path().c_str(), "tmpfs", 0, size) == 0; }
  ~Disk() {
    if (mounted_) umount2(path().c_str(), MNT_DETACH);
  }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  bool mounted() const { return mounted_; }
  const std::string& path() const { return folder_.path(); }
  bool MakeReadOnly() const { return mount(nullptr, path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0; }

 private:
  TemporaryFolder folder_;
  bool mounted_ = false;
};

// All of the first `count` test files are there, and nothing else.
void ExpectFiles(const Store& store, const ColumnKey& key, std::size_t count) {
  EXPECT_EQ(Findings(store), "");
  const auto all = ReadAll(store, key);
  ASSERT_EQ(all.size(), count);
  for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(all[i].second, TestRow(i, key.dim)) << i;
}

void ExpectFull(const Status& status) {
  EXPECT_EQ(status.code(), StatusCode::kRuntime);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("/store: cannot "), Not(HasSubstr("\n"))));
}

TEST(StoreDiskTest, AVectorFileThatCannotGrow) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("store"));
  const ColumnKey key = TestKey("model", 1000);
  ASSERT_TRUE(AddTestFiles(&store, key, 0, 50).ok());
  {
    const FileLimit limit(250'000);
    const Status status = AddTestFiles(&store, key, 50, 50);
    ExpectFull(status);
    EXPECT_THAT(status.message(), HasSubstr("File too large; nothing of this change was stored; free some space"));
    ExpectFiles(store, key, 50);
  }
  ASSERT_TRUE(AddTestFiles(&store, key, 50, 10).ok());
  ExpectFiles(store, key, 60);
}

TEST(StoreDiskTest, ADatabaseThatCannotGrow) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("store"));
  const ColumnKey key = TestKey("model", 1);
  ASSERT_TRUE(AddTestFiles(&store, key, 0, 50).ok());
  {
    const FileLimit limit(300'000);
    ExpectFull(AddTestFiles(&store, key, 50, 5000));
    ExpectFiles(store, key, 50);
    static_cast<void>(store.Compact());
    ExpectFiles(store, key, 50);
  }
  ASSERT_TRUE(AddTestFiles(&store, key, 50, 500).ok());
  ExpectFiles(store, key, 550);
}

TEST(StoreDiskTest, ADiskThatIsFull) {
  const Disk disk("size=1500k");
  if (!disk.mounted()) GTEST_SKIP() << "only root can make a small disk";
  const std::string ballast = disk.path() + "/ballast";
  std::ofstream(ballast) << std::string(500'000, 'b');
  Store store = MustOpen(disk.path() + "/store");
  const ColumnKey key = TestKey("model", 200);
  std::size_t count = 0;
  Status status;
  for (; status.ok() && count < 10'000; count += status.ok() ? 20 : 0) status = AddTestFiles(&store, key, count, 20);
  ExpectFull(status);
  EXPECT_THAT(status.message(), HasSubstr("free some space and run it again"));
  EXPECT_GT(count, 20U);
  ExpectFiles(store, key, count);
  ExpectFiles(MustOpen(disk.path() + "/store", {true, true}), key, count);
  const std::vector<std::uint8_t> derived(2'000'000);
  ExpectFull(store.WriteDerived(key, "graph", derived.data(), derived.size()));
  EXPECT_TRUE(fs::is_empty(disk.path() + "/store/derived"));
  fs::remove(ballast);
  ASSERT_TRUE(AddTestFiles(&store, key, count, 20).ok());
  ExpectFiles(store, key, count + 20);
}

// A store where nothing can be written.
void ExpectReadable(const std::string& place, std::size_t count) {
  ExpectFiles(MustOpen(place, {true, true}), TestKey(), count);
  const Result<Store> store = Store::Open(place);
  EXPECT_EQ(store.status().code(), StatusCode::kUnreadable);
  EXPECT_THAT(store.status().message(), AllOf(HasSubstr(place), HasSubstr("reading only"), Not(HasSubstr("\n"))));
}

TEST(StoreDiskTest, ADiskThatIsOnlyForReading) {
  const Disk disk("size=1500k");
  if (!disk.mounted()) GTEST_SKIP() << "only root can make a disk";
  {
    Store store = MustOpen(disk.path() + "/store");
    ASSERT_TRUE(AddTestFiles(&store, TestKey(), 0, 10).ok());
  }
  ASSERT_TRUE(disk.MakeReadOnly());
  ExpectReadable(disk.path() + "/store", 10);
  EXPECT_EQ(Store::Open(disk.path() + "/other").status().code(), StatusCode::kUnreadable);
}

TEST(StoreDiskTest, AFolderThatIsOnlyForReading) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  const TemporaryFolder folder;
  const std::string place = folder.Sub("store");
  {
    Store store = MustOpen(place);
    ASSERT_TRUE(AddTestFiles(&store, TestKey(), 0, 10).ok());
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(place)) {
    fs::permissions(entry.path(), fs::perms::owner_read);
  }
  fs::permissions(place, fs::perms::owner_read | fs::perms::owner_exec);
  ExpectReadable(place, 10);
  fs::permissions(place, fs::perms::owner_all);
}

}  // namespace
}  // namespace rrn
