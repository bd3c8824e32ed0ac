// What a store keeps and gives back.
#include "rrn/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "store/test_store.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

using test_support::AddTestFiles;
using test_support::Findings;
using test_support::kDim;
using test_support::MustOpen;
using test_support::ReadAll;
using test_support::TemporaryFolder;
using test_support::TestFile;
using test_support::TestKey;
using test_support::TestPath;
using test_support::TestRow;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// All that an entry has, for comparing.
auto Fields(const StoredFile& file) {
  const StoredState& state = file.state;
  return std::make_tuple(file.path, state.device, state.inode, state.bytes, state.modified_ns, state.changed_ns,
                         file.looked_at_ns, file.content, file.width, file.height, file.captured, file.detail,
                         file.repeated, file.reason);
}

std::vector<std::string> Paths(const Store& store, const ColumnKey& key, const std::string& prefix = "") {
  std::vector<std::string> paths;
  for (const auto& [entry, row] : ReadAll(store, key, prefix)) paths.push_back(entry.file.path);
  return paths;
}

TEST(StoreTest, GivesBackWhatItKeeps) {
  const TemporaryFolder folder;
  StoredFile full = TestFile(1);
  full.state = {std::numeric_limits<std::uint64_t>::max(), 1ULL << 63U, 5, -1,
                std::numeric_limits<std::int64_t>::min()};
  for (std::size_t i = 0; i < full.content.size(); ++i) full.content[i] = static_cast<std::uint8_t>(250 + i);
  full.captured = -86'400;
  full.detail = 1e300;
  full.repeated = 0.0;
  StoredFile skipped = TestFile(2);
  skipped.reason = "JPEG: Premature end\xff of JPEG file";
  StoredFile bare;
  bare.path = "/b";
  std::vector<float> rows = TestRow(1);
  const std::vector<float> second = TestRow(2);
  rows.insert(rows.end(), second.begin(), second.end());
  std::vector<std::uint64_t> slots;
  {
    Store store = MustOpen(folder.Sub("deep/er/store"));
    const Status added = store.Add(TestKey(), {full, skipped, bare}, rows.data(), &slots);
    ASSERT_TRUE(added.ok()) << added.message();
    EXPECT_THAT(slots, SizeIs(2));
    EXPECT_EQ(store.note(), "");
  }
  const Store store = MustOpen(folder.Sub("deep/er/store"), {false});
  const auto all = ReadAll(store, TestKey());
  ASSERT_THAT(all, SizeIs(3));
  EXPECT_EQ(Fields(all[0].first.file), Fields(bare));
  EXPECT_EQ(Fields(all[1].first.file), Fields(full));
  EXPECT_EQ(Fields(all[2].first.file), Fields(skipped));
  EXPECT_EQ(all[0].second, second);
  EXPECT_EQ(all[1].second, TestRow(1));
  EXPECT_FALSE(all[2].first.slot);
  EXPECT_EQ(Findings(store), "");
}

TEST(StoreTest, KeepsEveryBitOfFloat32) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("s"));
  std::vector<std::uint32_t> bits = {0,           0x80000000U, 1,           0x7f800000U,
                                     0xff800000U, 0x7fc00001U, 0x7f800001U, 0x3f800001U};
  bits.resize(kDim, 0xdeadbeefU);
  std::vector<float> row(kDim);
  std::memcpy(row.data(), bits.data(), kDim * sizeof(float));
  ASSERT_TRUE(store.Add(TestKey(), {TestFile(1)}, row.data()).ok());
  const auto all = ReadAll(store, TestKey());
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_EQ(std::memcmp(all[0].second.data(), bits.data(), kDim * sizeof(float)), 0);
}

TEST(StoreTest, ReplacesAndRemovesEntries) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("s"));
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 0, 10).ok());
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 3, 4, 100).ok());
  StoredFile now_bad = TestFile(9);
  now_bad.reason = "not an image";
  ASSERT_TRUE(store.Add(TestKey(), {now_bad, TestFile(1)}, TestRow(200).data()).ok());
  ASSERT_TRUE(store.Remove({TestPath(0), "/not/there", TestPath(8)}).ok());
  const auto all = ReadAll(store, TestKey());
  ASSERT_THAT(all, SizeIs(8));
  EXPECT_EQ(all[0].second, TestRow(200));
  EXPECT_EQ(all[1].second, TestRow(2));
  EXPECT_EQ(all[2].second, TestRow(100));
  EXPECT_EQ(all[5].second, TestRow(103));
  EXPECT_EQ(all[7].first.file.reason, "not an image");
  EXPECT_THAT(all[7].second, IsEmpty());
  EXPECT_EQ(Findings(store), "");
  const Result<StoreInfo> info = store.Info();
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->format, 1);
  EXPECT_EQ(info->files, 8U);
  EXPECT_EQ(info->commits, 4U);
  EXPECT_EQ(info->journal_mode, "wal");
  ASSERT_THAT(info->columns, SizeIs(1));
  EXPECT_EQ(info->columns[0].rows, 7U);
  EXPECT_EQ(info->columns[0].skipped, 1U);
  EXPECT_EQ(info->columns[0].dead, 8U);
  EXPECT_EQ(info->columns[0].bytes, 15 * kDim * sizeof(float));
  EXPECT_EQ(info->columns[0].key.fingerprint, TestKey().fingerprint);
}

TEST(StoreTest, TheLastOfTwoFilesWithOnePathStays) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("s"));
  std::vector<float> rows = TestRow(1);
  const std::vector<float> second = TestRow(2);
  rows.insert(rows.end(), second.begin(), second.end());
  ASSERT_TRUE(store.Add(TestKey(), {TestFile(5), TestFile(5)}, rows.data()).ok());
  const auto all = ReadAll(store, TestKey());
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_EQ(all[0].second, second);
  EXPECT_EQ(Findings(store), "");
}

TEST(StoreTest, TwoColumnsNeverMeet) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("s"));
  ColumnKey points = TestKey();
  points.kind = "keypoints";
  const std::vector<ColumnKey> keys = {TestKey(), TestKey("model B"), TestKey("model A", kDim + 1), points};
  for (std::size_t i = 0; i < keys.size(); ++i) {
    ASSERT_TRUE(AddTestFiles(&store, keys[i], 0, 5 + i, 1000 * i).ok());
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto all = ReadAll(store, keys[i]);
    ASSERT_THAT(all, SizeIs(5 + i));
    EXPECT_EQ(all[4].second, TestRow(1000 * i + 4, keys[i].dim));
  }
  EXPECT_THAT(Paths(store, TestKey("model C")), IsEmpty());
  std::vector<std::size_t> damaged;
  std::vector<float> rows(2 * kDim, 1.0F);
  ASSERT_TRUE(store.ReadRows(TestKey("model C"), {0, 1}, rows.data(), &damaged).ok());
  EXPECT_THAT(damaged, ElementsAre(0, 1));
  EXPECT_EQ(rows, std::vector<float>(2 * kDim, 0.0F));
  // A state belongs to its column: another model's look at the file says nothing of the first one's row.
  StoredFile changed = TestFile(0);
  changed.state.bytes = 99;
  ASSERT_TRUE(store.Add(keys[1], {changed}, TestRow(7).data()).ok());
  EXPECT_EQ(ReadAll(store, keys[0])[0].first.file.state.bytes, TestFile(0).state.bytes);
  ASSERT_TRUE(store.Remove({TestPath(0)}).ok());
  for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_THAT(Paths(store, keys[i]), SizeIs(4 + i));
}

TEST(StoreTest, PathsAreBytes) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("s"));
  const std::vector<std::string> paths = {"/a",      "/a\x01",     "/a/b",       "/a/b\n\"'",      "/a/\xc3\xa4",
                                          "/a\x7f!", "/a\x80\xff", "/a\xff\xff", "/a\xff\xff\xff", "/b",
                                          "/\xff",   "/\xff\xff"};
  std::vector<StoredFile> files;
  std::vector<float> rows;
  for (const std::string& path : paths) {
    files.emplace_back().path = path;
    rows.resize(rows.size() + kDim, static_cast<float>(rows.size()));
  }
  ASSERT_TRUE(store.Add(TestKey(), files, rows.data()).ok());
  for (const std::string prefix : {"", "/", "/a", "/a/", "/a\xff", "/a\xff\xff", "/\xff", "/c", "/a\x80", "/b"}) {
    std::vector<std::string> expected;
    for (const std::string& path : paths) {
      if (path.compare(0, prefix.size(), prefix) == 0) expected.push_back(path);
    }
    EXPECT_EQ(Paths(store, TestKey(), prefix), expected) << "prefix " << ::testing::PrintToString(prefix);
  }
}

TEST(StoreTest, ReadsRowsInAnyOrder) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("s"));
  // Gaps of every kind, and more than is read at once.
  const std::size_t dim = 3000;
  const ColumnKey key = TestKey("long rows", dim);
  ASSERT_TRUE(AddTestFiles(&store, key, 0, 300).ok());
  std::vector<std::uint64_t> slots = {299, 0, 0, 7, 8, 100, 9, 5'000'000'000ULL, 100};
  for (std::uint64_t slot = 150; slot < 290; ++slot) slots.push_back(slot);
  std::vector<float> rows(slots.size() * dim, 1.0F);
  std::vector<std::size_t> damaged = {1, 2, 3};
  ASSERT_TRUE(store.ReadRows(key, slots, rows.data(), &damaged).ok());
  EXPECT_THAT(damaged, ElementsAre(7));
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const std::vector<float> row(&rows[i * dim], &rows[i * dim] + dim);
    EXPECT_EQ(row, i == 7 ? std::vector<float>(dim, 0.0F) : TestRow(slots[i], dim)) << "slot " << slots[i];
  }
  const Status strict = store.ReadRows(key, slots, rows.data(), nullptr);
  EXPECT_EQ(strict.code(), StatusCode::kCorrupt);
  EXPECT_THAT(strict.message(), HasSubstr("1 of 149 rows"));
}

TEST(StoreTest, AColumnKeepsItsFloats) {
  const TemporaryFolder folder;
  StoreOptions half;
  half.floats = StoreFloat::kFloat16;
  {
    Store store = MustOpen(folder.Sub("s"), half);
    ASSERT_TRUE(AddTestFiles(&store, TestKey(), 0, 4).ok());
  }
  Store store = MustOpen(folder.Sub("s"));
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 4, 4).ok());
  ASSERT_TRUE(AddTestFiles(&store, TestKey("model B"), 0, 1).ok());
  const Result<StoreInfo> info = store.Info();
  ASSERT_TRUE(info.ok());
  ASSERT_THAT(info->columns, SizeIs(2));
  EXPECT_EQ(info->columns[0].floats, StoreFloat::kFloat16);
  EXPECT_EQ(info->columns[0].bytes, 8 * kDim * 2);
  EXPECT_EQ(info->columns[1].floats, StoreFloat::kFloat32);
  const auto all = ReadAll(store, TestKey());
  ASSERT_THAT(all, SizeIs(8));
  for (std::size_t i = 0; i < 8; ++i) {
    for (std::size_t j = 0; j < kDim; ++j) EXPECT_NEAR(all[i].second[j], TestRow(i)[j], 0x1p-12);
  }
  std::vector<float> large = TestRow(1);
  large[3] = -65'520;
  const Status refused = store.Add(TestKey(), {TestFile(20)}, large.data());
  EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.message(), HasSubstr("-65520, and float16 ends at 65504"));
  large[3] = -65'519;
  large[4] = std::numeric_limits<float>::infinity();
  ASSERT_TRUE(store.Add(TestKey(), {TestFile(20)}, large.data()).ok());
  const auto last = ReadAll(store, TestKey()).back();
  EXPECT_EQ(last.second[3], -65'504);
  EXPECT_EQ(last.second[4], std::numeric_limits<float>::infinity());
}

TEST(StoreTest, RefusesWhatIsOutOfRange) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("s"));
  const std::vector<float> row = TestRow(1);
  const auto code = [&](const ColumnKey& key, const std::string& path) {
    StoredFile file = TestFile(1);
    file.path = path;
    return store.Add(key, {file}, row.data()).code();
  };
  for (const std::string kind : {"", "a b", "../x", "UPPER", "abcdefghijklmnopqrstuvwxyz0123456"}) {
    ColumnKey key = TestKey();
    key.kind = kind;
    EXPECT_EQ(code(key, "/a"), StatusCode::kInvalidArgument) << kind;
    EXPECT_EQ(store.Read(key).status().code(), StatusCode::kInvalidArgument) << kind;
  }
  for (const std::string& fingerprint :
       {std::string(), std::string("a\nb"), std::string("\xc3\xa4"), std::string(257, 'a')}) {
    EXPECT_EQ(code(TestKey(fingerprint), "/a"), StatusCode::kInvalidArgument) << fingerprint;
  }
  EXPECT_EQ(code(TestKey("a", 0), "/a"), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(TestKey("a", 1'000'001), "/a"), StatusCode::kInvalidArgument);
  for (const std::string& path : {std::string(), std::string("a"), std::string("/a\0b", 4)}) {
    EXPECT_EQ(code(TestKey(), path), StatusCode::kInvalidArgument) << path;
  }
  StoredFile file = TestFile(1);
  file.width = -1;
  EXPECT_EQ(store.Add(TestKey(), {file}, row.data()).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store.Info()->commits, 0U);
}

TEST(StoreTest, CompactGivesSpaceBackAndKeepsTheRest) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("s"));
  const Store other = MustOpen(folder.Sub("s"), {false, true});
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 0, 100).ok());
  ASSERT_TRUE(AddTestFiles(&store, TestKey("model B"), 0, 10).ok());
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 20, 50, 1000).ok());
  const std::uint64_t old_slot = *ReadAll(other, TestKey())[90].first.slot;
  const Result<StoreReport> report = store.Compact();
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->removed, 50U);
  EXPECT_EQ(report->rows, 110U);
  EXPECT_EQ(report->freed, 50 * kDim * sizeof(float));
  EXPECT_EQ(Findings(store), "");
  // The one that was open all the time sees the new file, and takes no old slot for another row.
  const auto all = ReadAll(other, TestKey());
  ASSERT_THAT(all, SizeIs(100));
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(all[i].second, TestRow(i < 20 || i >= 70 ? i : 980 + i)) << i;
  std::vector<float> row(kDim);
  std::vector<std::size_t> damaged;
  ASSERT_TRUE(other.ReadRows(TestKey(), {old_slot}, row.data(), &damaged).ok());
  EXPECT_THAT(damaged, ElementsAre(0));
  const Result<StoreInfo> info = other.Info();
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->columns[0].generation, 2U);
  EXPECT_EQ(info->columns[0].dead, 0U);
  EXPECT_EQ(info->columns[1].generation, 1U) << "nothing to do there";
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 100, 3).ok());
  EXPECT_EQ(ReadAll(other, TestKey()).back().second, TestRow(102));
  ASSERT_TRUE(store.Compact().ok());
  EXPECT_EQ(store.Info()->columns[0].generation, 2U);
}

TEST(StoreTest, DerivedDataGoesWithItsRows) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("s"));
  const std::vector<std::uint8_t> data = {1, 2, 3, 0, 255};
  EXPECT_EQ(store.WriteDerived(TestKey(), "hnsw", data.data(), data.size()).code(), StatusCode::kNotFound);
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 0, 10).ok());
  EXPECT_FALSE(store.ReadDerived(TestKey(), "hnsw"));
  ASSERT_TRUE(store.WriteDerived(TestKey(), "hnsw", data.data(), data.size()).ok());
  ASSERT_TRUE(store.WriteDerived(TestKey(), "empty", nullptr, 0).ok());
  EXPECT_EQ(store.ReadDerived(TestKey(), "hnsw"), data);
  EXPECT_EQ(store.ReadDerived(TestKey(), "empty"), std::vector<std::uint8_t>());
  EXPECT_FALSE(store.ReadDerived(TestKey("model B"), "hnsw"));
  EXPECT_FALSE(store.ReadDerived(TestKey(), "../hnsw"));
  EXPECT_EQ(store.WriteDerived(TestKey(), "../hnsw", data.data(), 1).code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(store.WriteDerived(TestKey(), "hnsw", data.data(), 2).ok());
  EXPECT_EQ(store.ReadDerived(TestKey(), "hnsw"), std::vector<std::uint8_t>({1, 2}));
  ASSERT_TRUE(store.Remove({TestPath(3)}).ok());
  EXPECT_TRUE(store.ReadDerived(TestKey(), "hnsw")) << "the slots are still what they were";
  ASSERT_TRUE(store.Compact().ok());
  EXPECT_FALSE(store.ReadDerived(TestKey(), "hnsw"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.Sub("s/derived")));
}

TEST(StoreTest, FilesAreForThoseWhoMayUseTheFolder) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.Sub("s"));
  std::filesystem::permissions(folder.Sub("s"), std::filesystem::perms(0750));
  Store store = MustOpen(folder.Sub("s"));
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 0, 1).ok());
  ASSERT_TRUE(store.WriteDerived(TestKey(), "graph", nullptr, 0).ok());
  for (const std::string& file :
       {folder.Sub("s/rrn-store.txt"), std::filesystem::directory_iterator(folder.Sub("s/derived"))->path().string()}) {
    EXPECT_EQ(std::filesystem::status(file).permissions() & std::filesystem::perms(0070), std::filesystem::perms(0040))
        << file;
  }
}

TEST(StoreTest, LongCallsReportProgressAndStop) {
  const TemporaryFolder folder;
  Store store = MustOpen(folder.Sub("s"));
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 0, 20).ok());
  ASSERT_TRUE(store.Remove({TestPath(3)}).ok());
  std::pair<std::size_t, std::size_t> last;
  const Progress keep = [&](std::size_t done, std::size_t total) {
    last = {done, total};
    return true;
  };
  const Progress stop = [](std::size_t, std::size_t) { return false; };
  ASSERT_TRUE(store.Verify(keep).ok());
  EXPECT_EQ(last, std::make_pair(std::size_t{19}, std::size_t{19}));
  EXPECT_EQ(store.Verify(stop).status().code(), StatusCode::kCancelled);
  EXPECT_EQ(store.Repair(stop).status().code(), StatusCode::kCancelled);
  EXPECT_EQ(store.Compact(stop).status().code(), StatusCode::kCancelled);
  EXPECT_EQ(store.Info()->columns[0].generation, 1U);
  EXPECT_EQ(Findings(store), "");
  ASSERT_TRUE(store.Compact(keep).ok());
  EXPECT_EQ(last, std::make_pair(std::size_t{19}, std::size_t{19}));
  EXPECT_THAT(ReadAll(store, TestKey()), SizeIs(19));
}

}  // namespace
}  // namespace rrn
