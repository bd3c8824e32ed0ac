#include "base/hash.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstddef>
#include <string>

#include "testing/temporary_folder.h"

namespace rrn {
namespace {

using test_support::TemporaryFolder;

std::string OfBytes(const std::string& bytes) {
  Hash hash;
  hash.Add(bytes.data(), bytes.size());
  return hash.Hex();
}

// The values of xxhsum 0.8 (xxh128sum).
TEST(HashTest, IsXxh3) {
  EXPECT_EQ(Hash().Hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(OfBytes("abc"), "06b05ab6733a618578af5f94892f3950");
}

// The values of xxhsum 0.8 (xxh3sum).
TEST(HashTest, ShortHashIsXxh3) {
  EXPECT_EQ(ShortHash("", 0), 0x2d06800538d394c2U);
  EXPECT_EQ(ShortHash("abc", 3), 0x78af5f94892f3950U);
}

TEST(HashTest, PortionsDoNotMatter) {
  std::string bytes;
  for (int i = 0; i < 100'000; ++i) bytes += static_cast<char>(i * i);
  Hash pieces;
  for (std::size_t at = 0; at < bytes.size(); at += 777) {
    pieces.Add(bytes.data() + at, std::min<std::size_t>(777, bytes.size() - at));
  }
  EXPECT_EQ(pieces.Hex(), OfBytes(bytes));
}

TEST(HashTest, FieldsDoNotRunTogether) {
  Hash one;
  one.AddField("ab");
  one.AddField("c");
  Hash two;
  two.AddField("a");
  two.AddField("bc");
  EXPECT_NE(one.Hex(), two.Hex());
}

TEST(HashTest, FilesAreTheirBytes) {
  const TemporaryFolder folder;
  const std::string bytes(1'000'003, 'x');
  Hash field;
  field.AddField(bytes);
  Hash file;
  ASSERT_TRUE(file.AddFile(folder.Write("file", bytes)));
  EXPECT_EQ(file.Hex(), field.Hex());
  EXPECT_TRUE(Hash().AddFile(folder.Write("empty", "")));
  EXPECT_FALSE(Hash().AddFile(folder.Sub("missing")));
  EXPECT_FALSE(Hash().AddFile(folder.path()));
  ASSERT_EQ(mkfifo(folder.Sub("pipe").c_str(), 0600), 0);
  EXPECT_FALSE(Hash().AddFile(folder.Sub("pipe"))) << "and does not wait for a writer";
  EXPECT_FALSE(Hash().AddFile("/dev/zero"));
}

}  // namespace
}  // namespace rrn
