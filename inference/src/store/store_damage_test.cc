// Damaged, foreign, old and unfinished stores: each is reported in one line, and none gives a wrong row.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "store/database.h"
#include "store/folder.h"
#include "store/schema.h"
#include "store/state.h"
#include "store/test_store.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using internal::Access;
using internal::Database;
using test_support::AddTestFiles;
using test_support::Findings;
using test_support::kDim;
using test_support::MustOpen;
using test_support::ReadAll;
using test_support::TemporaryFolder;
using test_support::TestKey;
using test_support::TestPath;
using test_support::TestRow;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr std::size_t kRowBytes = kDim * sizeof(float);

std::string ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void WriteFile(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

void FlipByte(const std::string& path, std::size_t at) {
  std::string content = ReadFile(path);
  ASSERT_LT(at, content.size());
  content[at] = static_cast<char>(content[at] ^ 0x10);
  WriteFile(path, content);
}

void RunSql(const std::string& folder, const char* sql) {
  Result<Database> database = Database::Open(folder + "/index.db", folder, Access::kWrite, 1000);
  ASSERT_TRUE(database.ok());
  const Status done = database->Run(sql);
  ASSERT_TRUE(done.ok()) << done.message();
}

std::string VectorPath(const std::string& folder) {
  const std::vector<std::string> names = internal::ListVectorFiles(folder);
  return names.empty() ? "" : folder + "/" + names.front();
}

// A store of 50 files, closed.
class StoreDamageTest : public ::testing::Test {
 protected:
  StoreDamageTest() {
    Store store = MustOpen(place());
    EXPECT_TRUE(AddTestFiles(&store, TestKey(), 0, 50).ok());
  }

  std::string place() const { return folder_.Sub("store"); }

  // Opening fails with this, in one line that names the folder.
  void ExpectRefused(const StoreOptions& options, StatusCode code, const std::string& words) const {
    const Result<Store> store = Store::Open(place(), options);
    EXPECT_EQ(store.status().code(), code) << store.status().message();
    EXPECT_THAT(store.status().message(), AllOf(HasSubstr(words), HasSubstr(place()), Not(HasSubstr("\n"))));
  }

  // Verify complains, rows are wrong at these files only, Repair drops them, and they can be stored again.
  void ExpectRepairable(const std::vector<std::size_t>& damaged, const std::string& words) const {
    Store store = MustOpen(place());
    const Result<StoreReport> found = store.Verify();
    ASSERT_TRUE(found.ok()) << found.status().message();
    EXPECT_THAT(found->findings, Each(HasSubstr(words)));
    EXPECT_EQ(found->damaged, damaged.size());
    const Result<std::vector<StoreEntry>> entries = store.Read(TestKey());
    ASSERT_TRUE(entries.ok());
    std::vector<std::uint64_t> slots;
    for (const StoreEntry& entry : *entries) slots.push_back(*entry.slot);
    std::vector<float> rows(slots.size() * kDim);
    std::vector<std::size_t> missing;
    ASSERT_TRUE(store.ReadRows(TestKey(), slots, rows.data(), &missing).ok());
    EXPECT_EQ(missing, damaged);
    const Result<StoreReport> repaired = store.Repair();
    ASSERT_TRUE(repaired.ok()) << repaired.status().message();
    EXPECT_EQ(repaired->removed, damaged.size());
    EXPECT_EQ(Findings(store), "");
    EXPECT_THAT(ReadAll(store, TestKey()), SizeIs(50 - damaged.size()));
    for (const std::size_t file : damaged) ASSERT_TRUE(AddTestFiles(&store, TestKey(), file, 1).ok());
    ASSERT_TRUE(store.Compact().ok());
    EXPECT_EQ(Findings(store), "");
    const auto all = ReadAll(store, TestKey());
    ASSERT_THAT(all, SizeIs(50));
    for (std::size_t i = 0; i < 50; ++i) EXPECT_EQ(all[i].second, TestRow(i));
  }

  TemporaryFolder folder_;
};

std::vector<std::size_t> From(std::size_t first) {
  std::vector<std::size_t> numbers;
  for (; first < 50; ++first) numbers.push_back(first);
  return numbers;
}

TEST_F(StoreDamageTest, FlippedBytesAreFound) {
  for (const std::size_t row : {3U, 17U, 49U}) FlipByte(VectorPath(place()), row * kRowBytes + row);
  ExpectRepairable({3, 17, 49}, "its row has another checksum");
}

TEST_F(StoreDamageTest, ATruncatedVectorFileLosesItsEndOnly) {
  fs::resize_file(VectorPath(place()), 40 * kRowBytes + 5);
  ExpectRepairable(From(40), "the vector file ends before its row");
}

TEST_F(StoreDamageTest, AVectorFileMayBeMissing) {
  fs::remove(VectorPath(place()));
  Store store = MustOpen(place());
  const Status added = AddTestFiles(&store, TestKey(), 60, 1);
  EXPECT_EQ(added.code(), StatusCode::kCorrupt);
  EXPECT_THAT(added.message(), HasSubstr("is missing; rrn index verify --repair"));
  EXPECT_EQ(store.Compact().status().code(), StatusCode::kOk) << "nothing is to be moved";
  const Result<StoreReport> repaired = store.Repair();
  ASSERT_TRUE(repaired.ok()) << repaired.status().message();
  EXPECT_EQ(repaired->removed, 50U);
  EXPECT_THAT(repaired->findings, SizeIs(22)) << "the file, 20 entries and a count";
  EXPECT_EQ(repaired->findings.back(), "and 30 more: its vector file is missing");
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 0, 50).ok());
  EXPECT_EQ(Findings(store), "");
  EXPECT_THAT(ReadAll(store, TestKey()), SizeIs(50));
}

TEST_F(StoreDamageTest, CompactDoesNotMoveDamagedRows) {
  FlipByte(VectorPath(place()), 7);
  Store store = MustOpen(place());
  ASSERT_TRUE(store.Remove({TestPath(20)}).ok());
  const Result<StoreReport> report = store.Compact();
  EXPECT_EQ(report.status().code(), StatusCode::kCorrupt);
  EXPECT_THAT(report.status().message(), HasSubstr("damaged rows; rrn index verify --repair"));
  EXPECT_THAT(internal::ListVectorFiles(place()), SizeIs(1));
  EXPECT_THAT(ReadAll(store, TestKey(), TestPath(1)), SizeIs(1));
}

TEST_F(StoreDamageTest, EntriesAndRowsThatDoNotFit) {
  // The bytes of "/photos/000000001" and "/photos/000000002".
  RunSql(place(),
         "UPDATE entries SET slot = 5"
         " WHERE path BETWEEN x'2f70686f746f732f303030303030303031' AND x'2f70686f746f732f303030303030303032';"
         "DELETE FROM rows WHERE slot = 9;"
         "UPDATE entries SET slot = 400 WHERE slot = 11");
  Store store = MustOpen(place());
  const Result<StoreReport> report = store.Repair();
  ASSERT_TRUE(report.ok()) << report.status().message();
  const std::string file = fs::path(VectorPath(place())).filename().string() + ": /photos/0000000";
  EXPECT_THAT(report->findings,
              ElementsAre(file + "01.jpg: its slot is that of another file too",
                          file + "05.jpg: its slot is that of another file too",
                          file + "09.jpg: the checksum of its row is missing",
                          file + "11.jpg: its slot is not one of the vector file",
                          "column 1, slot 1: a row without a file", "column 1, slot 11: a row without a file"));
  EXPECT_EQ(report->removed, 4U);
  EXPECT_EQ(Findings(store), "");
  EXPECT_THAT(ReadAll(store, TestKey()), SizeIs(46));
}

TEST_F(StoreDamageTest, AnIndexOfAnythingElseIsRefused) {
  const std::string index = place() + "/index.db";
  const std::string good = ReadFile(index);
  WriteFile(index, "this is no database, however long the text that stands here is");
  ExpectRefused({}, StatusCode::kCorrupt, "delete the folder");
  WriteFile(index, std::string(good.size(), '\0'));
  ExpectRefused({}, StatusCode::kCorrupt, "delete the folder");
  WriteFile(index, "");
  ExpectRefused({}, StatusCode::kCorrupt, "missing or empty, but vector files are there");
  fs::remove(index);
  ExpectRefused({}, StatusCode::kCorrupt, "missing or empty, but vector files are there");
  ExpectRefused({false}, StatusCode::kCorrupt, "missing or empty, but vector files are there");
  RunSql(place(), "CREATE TABLE songs (title TEXT)");
  ExpectRefused({}, StatusCode::kCorrupt, "not the index of a store");
  ExpectRefused({true, true}, StatusCode::kCorrupt, "not the index of a store");
  WriteFile(index, good);
  EXPECT_EQ(Findings(MustOpen(place())), "");
}

TEST_F(StoreDamageTest, ColumnsOfNonsenseAreRefused) {
  for (const char* change :
       {"dim = 4000000000000", "first_slot = 9000", "generation = 0", "name = '../../etc/passwd'"}) {
    const std::string good = ReadFile(place() + "/index.db");
    RunSql(place(), (std::string("UPDATE columns SET ") + change).c_str());
    ExpectRefused({}, StatusCode::kCorrupt, "the columns in index.db are damaged; delete the folder");
    const Result<Store> store = Store::Open(place(), {true, true});
    ASSERT_TRUE(store.ok());
    EXPECT_EQ(store->Verify().status().code(), StatusCode::kCorrupt) << change;
    WriteFile(place() + "/index.db", good);
  }
}

// Wherever the database is damaged, either nothing is noticed and all rows are right, or there is an error in one line.
TEST_F(StoreDamageTest, AnIndexMayBeDamagedAnywhere) {
  const std::string index = place() + "/index.db";
  const std::string good = ReadFile(index);
  std::size_t noticed = 0;
  for (std::size_t at = 0; at < good.size(); at += 487) {
    std::string bad = good;
    for (std::size_t i = at; i < std::min(at + 40, bad.size()); ++i) bad[i] = static_cast<char>(bad[i] ^ 0x55);
    WriteFile(index, bad);
    const Result<Store> store = Store::Open(place(), {false, true});
    const Status& opened = store.status();
    Status status = opened;
    if (opened.ok()) {
      const Result<StoreReport> report = store->Verify();
      status = report.status();
      noticed += report.ok() && !report->findings.empty() ? 1 : 0;
      const Result<std::vector<StoreEntry>> entries = store->Read(TestKey());
      for (std::size_t i = 0; entries.ok() && i < entries->size(); ++i) {
        const StoreEntry& entry = (*entries)[i];
        std::vector<float> row(kDim);
        std::vector<std::size_t> damaged;
        if (!entry.slot || !store->ReadRows(TestKey(), {*entry.slot}, row.data(), &damaged).ok()) continue;
        EXPECT_TRUE(!damaged.empty() || row == TestRow(*entry.slot));
      }
    }
    noticed += status.ok() ? 0 : 1;
    EXPECT_THAT(status.message(), Not(HasSubstr("\n")));
  }
  EXPECT_GT(noticed, 10U);
}

TEST_F(StoreDamageTest, AnotherFolderIsLeftAlone) {
  const TemporaryFolder other;
  other.Write("letter.txt", "Dear reader");
  for (const StoreOptions& options : {StoreOptions{}, StoreOptions{false}, StoreOptions{true, true}}) {
    const Result<Store> store = Store::Open(other.path(), options);
    EXPECT_EQ(store.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(store.status().message(), HasSubstr("holds files but no rrn-store.txt"));
    EXPECT_EQ(Store::Open(other.Sub("letter.txt"), options).status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(other.path()), fs::directory_iterator()), 1);
  WriteFile(place() + "/rrn-store.txt", "something else\n");
  ExpectRefused({}, StatusCode::kInvalidArgument, "this is no store");
}

TEST(StoreOpenTest, MakesNothingUnlessAsked) {
  const TemporaryFolder folder;
  fs::create_directory(folder.Sub("empty"));
  for (const StoreOptions& options : {StoreOptions{false}, StoreOptions{true, true}}) {
    EXPECT_EQ(Store::Open(folder.Sub("missing"), options).status().code(), StatusCode::kNotFound);
    EXPECT_EQ(Store::Open(folder.Sub("empty"), options).status().code(), StatusCode::kNotFound);
  }
  EXPECT_FALSE(fs::exists(folder.Sub("missing")));
  EXPECT_TRUE(fs::is_empty(folder.Sub("empty")));
  EXPECT_EQ(Store::Open("").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Store::Open(folder.Sub("missing"), {true, false, StoreFloat::kFloat32, -1}).status().code(),
            StatusCode::kInvalidArgument);
  // What is left when making a store is interrupted: a marker that is not finished, then no index.
  WriteFile(folder.Sub("empty/rrn-store.txt.Ab12Cd"), "rrn st");
  EXPECT_TRUE(Store::Open(folder.Sub("empty")).ok());
  fs::remove(folder.Sub("empty/index.db"));
  EXPECT_EQ(Store::Open(folder.Sub("empty"), {false}).status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(Store::Open(folder.Sub("empty")).ok());
}

TEST_F(StoreDamageTest, ReadingOnlyChangesNothing) {
  Store store = MustOpen(place(), {true, true});
  EXPECT_EQ(AddTestFiles(&store, TestKey(), 0, 1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store.Remove({"/a"}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store.Repair().status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store.Compact().status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store.WriteDerived(TestKey(), "a", nullptr, 0).code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(ReadAll(store, TestKey()), SizeIs(50));
  EXPECT_EQ(Findings(store), "");
}

TEST_F(StoreDamageTest, FilesThatAKilledCompactLeftAreRemoved) {
  const std::string file = VectorPath(place());
  const std::string orphan = file.substr(0, file.size() - 5) + "2.f32";
  fs::copy_file(file, orphan);
  const std::string kept = place() + "/notes-of-the-user.f32";
  WriteFile(kept, "mine");
  static_cast<void>(MustOpen(place(), {true, true}));
  EXPECT_TRUE(fs::exists(orphan));
  EXPECT_EQ(Findings(MustOpen(place())), "");
  EXPECT_FALSE(fs::exists(orphan));
  EXPECT_TRUE(fs::exists(kept));
  EXPECT_TRUE(fs::exists(file));
}

TEST_F(StoreDamageTest, OrphansStayWhileSomebodyWrites) {
  const std::string file = VectorPath(place());
  const std::string orphan = file.substr(0, file.size() - 5) + "2.f32";
  Result<Database> writer = Database::Open(place() + "/index.db", place(), Access::kWrite, 0);
  ASSERT_TRUE(writer.ok());
  internal::Transaction transaction(&*writer);
  ASSERT_TRUE(transaction.BeginWriting().ok());
  fs::copy_file(file, orphan);
  EXPECT_THAT(ReadAll(MustOpen(place()), TestKey()), SizeIs(50));
  EXPECT_TRUE(fs::exists(orphan));
}

TEST_F(StoreDamageTest, DamagedDerivedDataIsNothing) {
  const std::vector<std::uint8_t> data(100, 7);
  Store store = MustOpen(place());
  ASSERT_TRUE(store.WriteDerived(TestKey(), "graph", data.data(), data.size()).ok());
  const std::string file = fs::directory_iterator(place() + "/derived")->path().string();
  const std::string good = ReadFile(file);
  for (const std::size_t at :
       {std::size_t{0}, std::size_t{9}, std::size_t{13}, std::size_t{16}, std::size_t{31}, good.size() - 1}) {
    FlipByte(file, at);
    EXPECT_FALSE(store.ReadDerived(TestKey(), "graph")) << "byte " << at;
    WriteFile(file, good);
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{31}, std::size_t{32}, good.size() - 1}) {
    WriteFile(file, good.substr(0, size));
    EXPECT_FALSE(store.ReadDerived(TestKey(), "graph")) << "size " << size;
  }
  WriteFile(file, good + "x");
  EXPECT_FALSE(store.ReadDerived(TestKey(), "graph"));
  WriteFile(file, good);
  EXPECT_EQ(store.ReadDerived(TestKey(), "graph"), data);
  ASSERT_TRUE(store.Repair().ok());
  EXPECT_FALSE(fs::exists(file)) << "Repair cannot know what was made from damaged rows";
}

TEST_F(StoreDamageTest, FormatsAreNewerOlderOrKnown) {
  RunSql(place(), "UPDATE meta SET value = 2 WHERE name = 'format'");
  ExpectRefused({}, StatusCode::kUnsupported, "the store has format 2 of a newer rrn, this one knows 1");
  RunSql(place(), "UPDATE meta SET value = 0 WHERE name = 'format'");
  ExpectRefused({}, StatusCode::kUnsupported, "which cannot be updated");
  // A program of the future, whose format 3 has one more column than 2, and 2 another name than 1.
  RunSql(place(), "UPDATE meta SET value = 1 WHERE name = 'format'");
  internal::Formats formats;
  formats.newest = 3;
  formats.migrations = {{1, "ALTER TABLE entries RENAME COLUMN width TO columns"},
                        {2, "ALTER TABLE entries ADD COLUMN stars INTEGER; no such statement"}};
  const auto open = [&](bool read_only) {
    return internal::StoreAccess::Open(place(), {true, read_only}, formats, internal::FileSystemType).status();
  };
  EXPECT_EQ(open(true).code(), StatusCode::kUnsupported);
  EXPECT_THAT(open(true).message(), HasSubstr("open it once for writing"));
  EXPECT_EQ(open(false).code(), StatusCode::kRuntime);
  EXPECT_THAT(ReadAll(MustOpen(place()), TestKey()), SizeIs(50)) << "all or nothing of it is done";
  formats.migrations = {{2, "ALTER TABLE entries ADD COLUMN stars INTEGER"},
                        {1, "ALTER TABLE columns ADD COLUMN title TEXT"}};
  ASSERT_TRUE(open(false).ok()) << open(false).message();
  EXPECT_TRUE(open(true).ok());
  ExpectRefused({}, StatusCode::kUnsupported, "the store has format 3 of a newer rrn");
  const auto store = internal::StoreAccess::Open(place(), {}, formats, internal::FileSystemType);
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(store->Info()->format, 3);
  EXPECT_THAT(ReadAll(*store, TestKey()), SizeIs(50));
}

TEST_F(StoreDamageTest, NetworkFileSystemsGetARollbackJournal) {
  const auto open = [&](std::uint64_t type) {
    return internal::StoreAccess::Open(place(), {}, {}, [type](const std::string&) { return type; });
  };
  {
    const Result<Store> store = open(0x6969);
    ASSERT_TRUE(store.ok()) << store.status().message();
    EXPECT_THAT(store->note(), AllOf(HasSubstr("network file system, so journal mode DELETE"), Not(HasSubstr("\n"))));
    EXPECT_EQ(store->Info()->journal_mode, "delete");
    EXPECT_THAT(ReadAll(*store, TestKey()), SizeIs(50));
  }
  Result<Store> store = open(0xef53);  // ext4
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(store->note(), "");
  EXPECT_EQ(store->Info()->journal_mode, "wal");
  ASSERT_TRUE(AddTestFiles(&*store, TestKey(), 50, 1).ok());
  // With another one that reads in between, the mode stays; that is said, too.
  const Result<Store> later = internal::StoreAccess::Open(place(), {true, false, StoreFloat::kFloat32, 20}, {},
                                                          [](const std::string&) { return 0xff534d42U; });
  ASSERT_TRUE(later.ok()) << later.status().message();
  EXPECT_THAT(later->note(), HasSubstr("opened by others with a log (WAL)"));
}

TEST(StoreFolderTest, KnowsNetworkFileSystems) {
  for (const std::uint64_t type : {0x6969U, 0x517bU, 0xff534d42U, 0xfe534d42U, 0x01021997U, 0x65735546U}) {
    EXPECT_TRUE(internal::IsNetworkFileSystem(type)) << type;
  }
  for (const std::uint64_t type : {0xef53U, 0x58465342U, 0x9123683eU, 0x01021994U, 0x794c7630U, 0U}) {
    EXPECT_FALSE(internal::IsNetworkFileSystem(type)) << type;
  }
  EXPECT_TRUE(internal::FileSystemType("/"));
  EXPECT_FALSE(internal::FileSystemType("/no/such/folder"));
}

}  // namespace
}  // namespace rrn
