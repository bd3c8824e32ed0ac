#include "base/cache_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "testing/environment.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

using test_support::ScopedVariable;
using test_support::TemporaryFolder;

TEST(CacheFolderTest, FollowsTheVariables) {
  const ScopedVariable home("HOME", "/home/me");
  {
    const ScopedVariable cache("XDG_CACHE_HOME", "/elsewhere");
    EXPECT_EQ(CacheFolder(), "/elsewhere/rrn");
  }
  const ScopedVariable cache("XDG_CACHE_HOME", "not/absolute");
  EXPECT_EQ(CacheFolder(), "/home/me/.cache/rrn");
  const ScopedVariable nobody("HOME", nullptr);
  EXPECT_EQ(CacheFolder(), "");
  EXPECT_EQ(MakeCacheFolder("compiled"), "");
}

TEST(CacheFolderTest, IsMadeForThisUserAlone) {
  const TemporaryFolder folder;
  const ScopedVariable cache("XDG_CACHE_HOME", folder.path().c_str());
  EXPECT_EQ(MakeCacheFolder("compiled"), folder.Sub("rrn/compiled"));
  EXPECT_EQ(MakeCacheFolder("compiled"), folder.Sub("rrn/compiled")) << "again";
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(folder.Sub("rrn")).permissions(), perms::owner_all);
  const std::string file = folder.Write("file", "");
  const ScopedVariable no_folder("XDG_CACHE_HOME", file.c_str());
  EXPECT_EQ(MakeCacheFolder("compiled"), "");
}

}  // namespace
}  // namespace rrn
