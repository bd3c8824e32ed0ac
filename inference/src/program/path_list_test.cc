// Reading the names of files for --list.
#include "program/path_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "testing/temporary_folder.h"

namespace rrn {
namespace {

using test_support::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

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

}  // namespace
}  // namespace rrn
