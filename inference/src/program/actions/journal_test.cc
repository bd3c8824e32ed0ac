// The journal, and the files that actions move.
#include "program/actions/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "program/actions/action_test.h"
#include "program/actions/files.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(JournalTest, KeepsAnyBytes) {
  JournalLine line;
  std::string all;
  for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
  line.texts = {{"path", all + "図🙂"}, {"empty", ""}};
  line.numbers = {{"step", 1}, {"low", std::numeric_limits<std::int64_t>::min()}, {"zero", 0}};
  const std::string text = FormatLine(line);
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const auto read = ParseLine(text.substr(0, text.size() - 1));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->texts, line.texts);
  EXPECT_EQ(read->numbers, line.numbers);
  EXPECT_EQ(read->text("none"), "");
  EXPECT_FALSE(read->number("none"));
}

TEST(JournalTest, RefusesEverythingElse) {
  EXPECT_TRUE(ParseLine("{}"));
  for (const char* text : {"", "{", "{}x", "[]", R"({"a"})", R"({"a":})", R"({"a":1,})", R"({"a":1.5})", R"({"a":"b})",
                           R"({"a":"\u12"})", R"({"a":"\ud83d"})", R"({"a":"\n"})", R"({"a":99999999999999999999})"}) {
    EXPECT_FALSE(ParseLine(text)) << text;
  }
}

TEST(JournalTest, LeavesOutWhatWasNotFinishedAndRefusesDamage) {
  const TemporaryFolder folder;
  Result<Journal> journal = Journal::Create(folder.path());
  ASSERT_TRUE(journal.ok());
  JournalLine line;
  line.numbers["rrn_journal"] = 1;
  ASSERT_TRUE(journal->Write(line).ok());
  const Result<Journal> second = Journal::Create(folder.path());
  ASSERT_TRUE(second.ok());
  EXPECT_NE(journal->path(), second->path()) << "never overwriting";
  ASSERT_TRUE(Journal::Read(second->path()).ok()) << "killed before its first line";
  EXPECT_THAT(*Journal::Read(second->path()), IsEmpty());
  std::ofstream(second->path()) << FormatLine(line).substr(0, 20);
  EXPECT_TRUE(Journal::Read(second->path()).ok()) << "killed in its first line";
  EXPECT_THAT(UndoAll(second->path()).failed, IsEmpty());
  std::ofstream(second->path()) << "{\"other\":";
  EXPECT_EQ(Journal::Read(second->path()).status().code(), StatusCode::kCorrupt);
  std::ofstream(journal->path(), std::ios::app) << R"({"step":1,"pa)";
  EXPECT_THAT(*Journal::Read(journal->path()), SizeIs(1));
  Result<Journal> again = Journal::Append(journal->path());
  ASSERT_TRUE(again.ok());
  line.numbers = {{"undone", 1}};
  ASSERT_TRUE(again->Write(line).ok());
  ASSERT_TRUE(Journal::Read(journal->path()).ok());
  EXPECT_EQ(Journal::Read(journal->path())->back().number("undone"), 1);
  std::ofstream(journal->path(), std::ios::app) << "damage\n";
  EXPECT_THAT(Journal::Read(journal->path()).status().message(), HasSubstr("line 4 is damaged"));
  EXPECT_EQ(Journal::Read(folder.Write("text", "text\n")).status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(Journal::Read(folder.Write("other", "{\"a\":1}\n")).status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(Journal::Read(folder.Sub("none")).status().code(), StatusCode::kNotFound);
}

TEST(ActionFilesTest, NeverReplace) {
  const TemporaryFolder folder;
  const std::string a = folder.Write("a", "a");
  const std::string b = folder.Write("b", "b");
  EXPECT_EQ(*RenameNew(a, b), NewName::kTaken);
  EXPECT_EQ(*CopyNew(a, b, *StateOf(a)), NewName::kTaken);
  EXPECT_EQ(*CopyUnderName(a, folder.Sub("part"), b, *StateOf(a)), NewName::kTaken);
  EXPECT_FALSE(fs::exists(folder.Sub("part")));
  EXPECT_EQ(ReadFile(b), "b");
  EXPECT_EQ(ReadFile(a), "a");
  EXPECT_EQ(ErrorUnlessMade(RenameNew(a, b)).message(), "File exists");
}

TEST(ActionFilesTest, CopiesHaveTheContentAndTheProperties) {
  const TemporaryFolder folder;
  const std::string a = folder.Write("a", "a");
  const std::string b = folder.Write("b", "b");
  EXPECT_FALSE(*SameBytes(a, b));
  fs::permissions(a, static_cast<fs::perms>(0640));
  const std::string c = folder.Sub("c");
  ASSERT_EQ(*CopyNew(a, c, *StateOf(a)), NewName::kMade);
  EXPECT_EQ(StateOf(c)->mode, 0640U);
  EXPECT_TRUE(StateOf(c)->SameContent(*StateOf(a)));
  EXPECT_TRUE(*SameBytes(a, c));
  EXPECT_TRUE(*SameAttributes(a, c));
  ASSERT_EQ(*CopyUnderName(a, folder.Sub("part"), folder.Sub("d"), *StateOf(a)), NewName::kMade);
  EXPECT_FALSE(fs::exists(folder.Sub("part")));
  EXPECT_TRUE(*SameBytes(a, folder.Sub("d")));
}

TEST(ActionFilesTest, ErrorsAreValues) {
  const TemporaryFolder folder;
  const std::string a = folder.Write("a", "a");
  const std::string none = folder.Sub("none");
  fs::create_symlink(a, folder.Sub("link"));
  EXPECT_EQ(StateOf(none).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(StateOf(a + "/x").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(StateOf(folder.Sub("link")).status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(StateOf(folder.Sub("link")).status().message(), HasSubstr("a symbolic link"));
  EXPECT_EQ(StateOf(folder.path()).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(StateBehind(folder.Sub("link")).ok());
  EXPECT_EQ(RenameNew(none, folder.Sub("c")).status().message(), "No such file or directory");
  EXPECT_EQ(SameBytes(a, none).status().message(), "No such file or directory");
  EXPECT_FALSE(SameAttributes(none, a).ok());
  EXPECT_FALSE(Exchange(a, none).ok());
  EXPECT_FALSE(Remove(none).ok());
  // Errors while writing leave nothing behind.
  EXPECT_FALSE(CopyNew(folder.path(), folder.Sub("d"), {}).ok());
  EXPECT_FALSE(fs::exists(folder.Sub("d")));
}

TEST(ActionFilesTest, ExchangesNames) {
  const TemporaryFolder folder;
  const std::string a = folder.Write("a", "a");
  const std::string b = folder.Write("b", "b");
  const Result<bool> exchanged = Exchange(a, b);
  ASSERT_TRUE(exchanged.ok()) << exchanged.status().message();
  EXPECT_EQ(ReadFile(a), *exchanged ? "b" : "a");
  EXPECT_EQ(ReadFile(b), *exchanged ? "a" : "b");
}

}  // namespace
}  // namespace rrn
