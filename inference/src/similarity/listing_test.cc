#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "rrn/similarity.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ListFolderTest, ListsEverythingOnce) {
  const TemporaryFolder folder;
  folder.Write("b.jpg", "");
  folder.Write("a/z.txt", "");
  folder.Write("a/\xff\xfe.jpg", "");
  folder.Write(std::string(200, 'n') + ".jpg", "");
  fs::create_directory_symlink(folder.path(), folder.Sub("a/loop"));
  fs::create_symlink(folder.Sub("b.jpg"), folder.Sub("link.jpg"));
  fs::create_symlink(folder.Sub("nowhere"), folder.Sub("broken"));
  ASSERT_EQ(mkfifo(folder.Sub("fifo").c_str(), 0600), 0);

  const Result<FolderListing> listing = ListFolder(folder.path(), true);
  ASSERT_TRUE(listing.ok()) << listing.status().message();
  EXPECT_THAT(listing->paths, ElementsAre(folder.Sub("a/z.txt"), folder.Sub("a/\xff\xfe.jpg"), folder.Sub("b.jpg"),
                                          folder.Sub("link.jpg"), folder.Sub(std::string(200, 'n') + ".jpg")));
  ASSERT_EQ(listing->skipped.size(), 3U);
  EXPECT_THAT(listing->skipped[0].reason, HasSubstr("links to folders"));
  EXPECT_THAT(listing->skipped[1].reason, HasSubstr("broken"));
  EXPECT_THAT(listing->skipped[2].reason, HasSubstr("not a regular file"));

  const Result<FolderListing> flat = ListFolder(folder.path() + "/", false);
  ASSERT_TRUE(flat.ok());
  EXPECT_EQ(flat->paths.size(), 3U);
  EXPECT_EQ(flat->paths[0], folder.Sub("b.jpg")) << "no doubled slash";
}

TEST(ListFolderTest, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  EXPECT_EQ(ListFolder(folder.Sub("missing"), true).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ListFolder(folder.Write("file", ""), true).status().code(), StatusCode::kInvalidArgument);
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  fs::create_directory(folder.Sub("locked"));
  fs::permissions(folder.Sub("locked"), fs::perms::none);
  EXPECT_EQ(ListFolder(folder.Sub("locked"), true).status().code(), StatusCode::kUnreadable);
  const Result<FolderListing> above = ListFolder(folder.path(), true);
  ASSERT_TRUE(above.ok());
  ASSERT_EQ(above->skipped.size(), 1U);
  EXPECT_THAT(above->skipped[0].reason, HasSubstr("cannot list"));
}

TEST(ListFolderTest, LeavesOutWhatIsSkippedUnderAnyName) {
  const TemporaryFolder folder;
  folder.Write("a.jpg", "");
  folder.Write("gone/b.jpg", "");
  folder.Write("sub/gone/c.jpg", "");
  fs::create_directory_symlink(folder.Sub("gone"), folder.Sub("link"));
  const Result<FolderListing> listing =
      ListFolder(folder.path(), true, {folder.Sub("sub/../gone/"), folder.Sub("sub/gone"), folder.Sub("missing")});
  ASSERT_TRUE(listing.ok());
  EXPECT_THAT(listing->paths, ElementsAre(folder.Sub("a.jpg")));
  EXPECT_EQ(listing->skipped.size(), 1U) << "the link, as ever";
}

TEST(ListFilesTest, ListsEachOnceAndSaysWhatIsNoFile) {
  const TemporaryFolder folder;
  const std::string b = folder.Write("b.jpg", "");
  const std::string a = folder.Write("a\n.jpg", "");
  fs::create_symlink(b, folder.Sub("link"));
  fs::create_symlink(folder.Sub("nowhere"), folder.Sub("broken"));
  ASSERT_EQ(mkfifo(folder.Sub("fifo").c_str(), 0600), 0);
  const FolderListing listing = ListFiles(
      {b, folder.Sub("fifo"), a, folder.Sub("link"), b, folder.Sub("none"), folder.path(), folder.Sub("broken")});
  EXPECT_THAT(listing.paths, ElementsAre(a, b, folder.Sub("link")));
  ASSERT_EQ(listing.skipped.size(), 4U);
  EXPECT_THAT(listing.skipped[0].reason, HasSubstr("a folder"));
  EXPECT_THAT(listing.skipped[1].reason, HasSubstr("broken"));
  EXPECT_THAT(listing.skipped[2].reason, HasSubstr("not a regular file"));
  EXPECT_THAT(listing.skipped[3].reason, HasSubstr("no such file"));
  EXPECT_THAT(ListFiles({}).paths, IsEmpty());
}

TEST(ListFilesTest, TakesTwoSpellingsForOneName) {
  const TemporaryFolder folder;
  const std::string b = folder.Write("b", "");
  folder.Write("sub/c", "");
  fs::create_directory_symlink(folder.Sub("sub"), folder.Sub("way"));
  EXPECT_THAT(ListFiles({b, folder.Sub("./b"), folder.Sub("/b")}).paths, ElementsAre(folder.Sub("./b")));
  // Not the same where a link is on the way.
  folder.Write("sub/../c", "");
  EXPECT_THAT(ListFiles({folder.Sub("c"), folder.Sub("way/../c")}).paths.size(), 2U);
}

TEST(ListFilesTest, LeavesOutWhatIsInASkippedFolder) {
  const TemporaryFolder folder;
  const std::string b = folder.Write("b", "");
  const std::string c = folder.Write("sub/deep/c", "");
  fs::create_directory_symlink(folder.Sub("sub"), folder.Sub("way"));
  for (const std::string& skip : {folder.Sub("sub"), folder.Sub("way/"), folder.Sub("sub/deep")}) {
    const FolderListing listing = ListFiles({b, c, folder.Sub("way/deep/c"), folder.Sub("sub/deep/none")}, {skip});
    EXPECT_THAT(listing.paths, ElementsAre(b)) << skip;
    EXPECT_TRUE(listing.skipped.empty()) << skip;
  }
  EXPECT_THAT(ListFiles({b, c}, {folder.Sub("none")}).paths, ElementsAre(b, c));
}

}  // namespace
}  // namespace rrn
