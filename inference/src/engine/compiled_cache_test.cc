#include "engine/compiled_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>

#include "testing/environment.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::ScopedVariable;
using test_support::TemporaryFolder;

TEST(CacheEntryTest, KeepsWhatIsCompleteAndIntact) {
  const TemporaryFolder folder;
  const ScopedVariable variable("XDG_CACHE_HOME", folder.path().c_str());
  const auto write = [](const std::string& path, const std::string& text) { std::ofstream(path) << text; };
  std::string place;
  {
    internal::CacheEntry unfinished("a");
    ASSERT_FALSE(unfinished.folder().empty());
    write(unfinished.folder() + "/blob", "compiled");
  }
  {
    internal::CacheEntry first("a");
    internal::CacheEntry second("a");
    EXPECT_FALSE(first.found());
    EXPECT_FALSE(second.found());
    EXPECT_NE(first.folder(), second.folder()) << "two processes at once";
    for (internal::CacheEntry* entry : {&first, &second}) {
      write(entry->folder() + "/blob", "compiled");
      entry->Keep();
    }
    place = first.folder();
  }
  EXPECT_TRUE(internal::CacheEntry("a").found());
  EXPECT_EQ(internal::CacheEntry("a").folder(), place);
  EXPECT_FALSE(internal::CacheEntry("b").found());

  write(place + "/blob", "compilee");
  internal::CacheEntry damaged("a");
  EXPECT_FALSE(damaged.found());
  write(damaged.folder() + "/blob", "compiled");
  damaged.Keep();
  EXPECT_TRUE(internal::CacheEntry("a").found()) << "the damaged one is replaced";
  std::size_t entries = 0;
  for (const auto& entry : fs::directory_iterator(folder.Sub("rrn/compiled"))) entries += entry.is_directory() ? 1 : 0;
  EXPECT_EQ(entries, 1U) << "no unfinished folders are left";
}

TEST(CacheEntryTest, DoesWithoutAFolder) {
  const TemporaryFolder folder;
  const std::string file = folder.Write("file", "");
  const ScopedVariable variable("XDG_CACHE_HOME", file.c_str());
  internal::CacheEntry entry("a");
  EXPECT_FALSE(entry.found());
  EXPECT_EQ(entry.folder(), "");
  entry.Keep();
}

}  // namespace
}  // namespace rrn
