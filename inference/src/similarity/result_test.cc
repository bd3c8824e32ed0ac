#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "rrn/similarity.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::TemporaryFolder;
using ::testing::HasSubstr;

TEST(RedundantTest, NeverNamesTheOnlyRealFile) {
  const TemporaryFolder folder;
  const std::string real = folder.Write("real", "x");
  const std::string link = folder.Sub("link");
  fs::create_symlink(real, link);
  fs::create_directory_symlink(folder.path(), folder.Sub("way"));
  const auto redundant = [](const std::string& kept, const std::string& other) {
    SimilarityResult result;
    result.paths = {kept, other};
    Group group;
    group.members.push_back({1, 1.0F});
    result.grouping.groups.push_back(group);
    return RedundantImages(result).size();
  };
  EXPECT_EQ(redundant(link, real), 0U);
  EXPECT_EQ(redundant(real, folder.Sub("./real")), 0U);
  EXPECT_EQ(redundant(real, link), 1U) << "a link can go";
  EXPECT_EQ(redundant(real, folder.Write("other", "x")), 1U);
  fs::create_hard_link(real, folder.Sub("hard"));
  EXPECT_EQ(redundant(real, folder.Sub("hard")), 1U) << "the bytes stay";
  EXPECT_EQ(redundant(link, real), 0U);
  EXPECT_EQ(redundant(real, folder.Sub("way/real")), 0U) << "one name of two";
}

SimilarityResult ResultOf(const std::vector<std::string>& paths) {
  SimilarityResult result;
  result.model.dim = 2;
  result.paths = paths;
  result.grouping.similar.assign(paths.size(), 0);
  result.grouping.unique = paths.size();
  return result;
}

TEST(WriteJsonTest, EscapesEveryPath) {
  std::ostringstream json;
  WriteJson(ResultOf({"quote\"back\\slash", "line\nbreak\x01", "caf\xc3\xa9", "bad\xff\xc3", "\xed\xa0\x80",
                      "\xf0\x9f\x98\x80"}),
            json);
  EXPECT_THAT(json.str(), HasSubstr(R"("quote\"back\\slash")"));
  EXPECT_THAT(json.str(), HasSubstr(R"("line\u000abreak\u0001")"));
  EXPECT_THAT(json.str(), HasSubstr("\"caf\xc3\xa9\""));
  EXPECT_THAT(json.str(), HasSubstr(R"("bad\udcff\udcc3")"));
  EXPECT_THAT(json.str(), HasSubstr(R"("\udced\udca0\udc80")"));
  EXPECT_THAT(json.str(), HasSubstr("\"\xf0\x9f\x98\x80\""));
}

TEST(WriteTextTest, KeepsOneLineForOnePath) {
  std::ostringstream text;
  WriteText(ResultOf({"a\nb"}), text);
  EXPECT_THAT(text.str(), HasSubstr("a?b"));
}

TEST(WriteCsvTest, QuotesWhereNeeded) {
  std::ostringstream csv;
  WritePairCsv("plain.jpg", "a,\"b\".jpg", 0.5F, csv);
  EXPECT_EQ(csv.str(), "plain.jpg,\"a,\"\"b\"\".jpg\",0.500000\n");
}

TEST(WriteNpyTest, HasAnAlignedHeader) {
  const std::vector<float> rows = {1, 2, 3, 4, 5, 6};
  std::ostringstream npy;
  WriteNpy(rows.data(), 3, 2, npy);
  const std::string bytes = npy.str();
  EXPECT_EQ(bytes.substr(0, 6), "\x93NUMPY");
  const std::size_t header = 10 + static_cast<unsigned char>(bytes[8]) + 256U * static_cast<unsigned char>(bytes[9]);
  EXPECT_EQ(header % 64, 0U);
  EXPECT_EQ(bytes[header - 1], '\n');
  EXPECT_THAT(bytes, HasSubstr("'shape': (3, 2)"));
  ASSERT_EQ(bytes.size(), header + rows.size() * sizeof(float));
  EXPECT_EQ(std::memcmp(bytes.data() + header, rows.data(), rows.size() * sizeof(float)), 0);
}

}  // namespace
}  // namespace rrn
