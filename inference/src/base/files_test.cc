#include "base/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::TemporaryFolder;

bool IsOpen(int descriptor) { return fcntl(descriptor, F_GETFD) != -1; }

std::string Read(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

TEST(DescriptorTest, ClosesOnce) {
  int value = -1;
  {
    Descriptor first(open("/dev/null", O_RDONLY | O_CLOEXEC));
    value = first.value();
    ASSERT_TRUE(IsOpen(value));
    const Descriptor second = std::move(first);
    EXPECT_EQ(second.value(), value);
    EXPECT_EQ(first.value(), -1);  // NOLINT(bugprone-use-after-move,clang-analyzer-cplusplus.Move): the promise
  }
  EXPECT_FALSE(IsOpen(value));
  Descriptor closed(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(closed.Close(), 0);
  EXPECT_EQ(closed.Close(), 0) << "nothing is left to close";
  EXPECT_EQ(Descriptor(1'000'000).Close(), EBADF);
}

TEST(FileIdTest, IsTheFileUnderAnyName) {
  const TemporaryFolder folder;
  const std::string file = folder.Write("a", "text");
  const std::string other = folder.Write("b", "text");
  fs::create_hard_link(file, folder.Sub("hard"));
  fs::create_symlink("a", folder.Sub("soft"));
  ASSERT_TRUE(IdOf(file));
  EXPECT_EQ(IdOf(file), IdOf(folder.Sub("hard")));
  EXPECT_EQ(IdOf(file), IdOf(folder.Sub("soft")));
  EXPECT_NE(IdOf(file), IdOf(other));
  EXPECT_FALSE(IdOf(folder.Sub("missing")));
}

TEST(TemporaryTest, AppearsInItsPlaceOrNotAtAll) {
  const TemporaryFolder folder;
  const std::string place = folder.Write("file", "old");
  {
    const Temporary lost(place, Temporary::Kind::kFile);
    ASSERT_EQ(lost.path().rfind(place + ".", 0), 0U);
    std::ofstream(lost.path()) << "new";
  }
  EXPECT_EQ(Read(place), "old");
  {
    Temporary kept(place, Temporary::Kind::kFile);
    std::ofstream(kept.path()) << "new";
    EXPECT_EQ(kept.Move(), 0);
    EXPECT_EQ(kept.path(), "");
    EXPECT_EQ(kept.Move(), ENOENT);
  }
  EXPECT_EQ(Read(place), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1) << "nothing else is left";
}

TEST(TemporaryTest, FolderDoesNotReplaceAFullOne) {
  const TemporaryFolder folder;
  const std::string place = folder.Sub("entry");
  Temporary first(place, Temporary::Kind::kFolder);
  Temporary second(place, Temporary::Kind::kFolder);
  std::ofstream(first.path() + "/x") << "1";
  std::ofstream(second.path() + "/x") << "2";
  EXPECT_EQ(first.Move(), 0);
  EXPECT_TRUE(second.Move() == ENOTEMPTY || second.Move() == EEXIST) << "POSIX allows both";
  EXPECT_TRUE(fs::exists(second.path()));
  EXPECT_EQ(Read(place + "/x"), "1");
  EXPECT_EQ(Temporary(folder.Sub("no/such/folder"), Temporary::Kind::kFolder).path(), "");
}

}  // namespace
}  // namespace rrn
