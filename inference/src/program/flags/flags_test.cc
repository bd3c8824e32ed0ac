// The table of flags, how words are read by it, what is made from it, and what is meant.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include "program/arguments.h"
#include "program/flags/flag.h"
#include "program/flags/generate.h"
#include "program/flags/parse.h"
#include "rrn/embedder.h"
#include "rrn/similarity.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

using test_support::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using Words = std::vector<std::string>;

const Caller kProgram = {"similarity", Verb::kAny};
const Caller kRrnCompare = {"rrn compare", Verb::kCompare};

std::vector<Flag> AllFlags() {
  std::vector<Flag> flags;
  for (const FlagGroup& group : FlagTable()) flags.insert(flags.end(), group.flags.begin(), group.flags.end());
  return flags;
}

Typed Parsed(const Words& words) {
  Result<Typed> typed = ParseWords(words);
  EXPECT_TRUE(typed.ok()) << typed.status().message();
  return typed.ok() ? *std::move(typed) : Typed();
}

std::string Refused(const Words& words) {
  const Result<Typed> typed = ParseWords(words);
  EXPECT_FALSE(typed.ok()) << ::testing::PrintToString(words);
  if (typed.ok()) return "";
  EXPECT_EQ(typed.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(typed.status().message(), Not(HasSubstr("\n")));
  return typed.status().message();
}

Result<Arguments> Meant(const Words& words, const Caller& caller = kProgram) {
  return ParseArguments({caller, "", ""}, words);
}

std::string RefusedMeaning(const Words& words, const Caller& caller = kProgram) {
  const Result<Arguments> arguments = Meant(words, caller);
  EXPECT_FALSE(arguments.ok()) << ::testing::PrintToString(words);
  return arguments.ok() ? "" : arguments.status().message();
}

TEST(FlagTableTest, NamesAreUniqueAndEveryFlagIsExplained) {
  std::set<std::string> seen;
  for (const Flag& flag : AllFlags()) {
    for (const std::string& spelling : flag.Spellings()) EXPECT_TRUE(seen.insert(spelling).second) << spelling;
    EXPECT_THAT(flag.help(), Not(IsEmpty())) << flag.name();
    if (!flag.shown()) continue;
    // What -h says is a few words, what --help says are sentences.
    EXPECT_NE(flag.help().back(), '.') << flag.name();
    EXPECT_EQ(flag.more().back(), '.') << flag.name();
  }
}

TEST(FlagTableTest, DefaultsAreThoseOfTheLibraries) {
  const auto of = [](const std::string& name) {
    for (const Flag& flag : AllFlags()) {
      if (flag.name() == name) return flag.DefaultJson();
    }
    return std::string("no such flag");
  };
  EXPECT_EQ(of("threshold"), "0.75");
  EXPECT_EQ(of("keep"), "\"most-similar\"");
  EXPECT_EQ(of("batch"), std::to_string(EmbedderOptions{}.batch));
  EXPECT_EQ(of("max-megapixels"), "200");
  EXPECT_EQ(of("recursive"), "true");
  EXPECT_EQ(of("cache"), "true");
  EXPECT_EQ(of("quiet"), "false");
  EXPECT_EQ(of("provider"), "\"auto\"");
  EXPECT_EQ(of("skip"), "[]");
  EXPECT_EQ(of("model"), "null");
}

TEST(FlagTableTest, EveryDefaultIsTaken) {
  for (const Flag& flag : AllFlags()) {
    const std::string value = flag.DefaultText();
    if (value.empty() || !flag.default_is_value()) continue;
    EXPECT_TRUE(ParseWords({"--" + flag.name() + "=" + value}).ok()) << flag.name() << " " << value;
  }
}

TEST(ParseTest, TakesBothFormsOfValues) {
  const Typed typed = Parsed({"a", "--json", "x", "--pairs=y=z", "--threshold", "-0.5", "--list", "-", "b"});
  EXPECT_THAT(typed.paths, ElementsAre("a", "b"));
  EXPECT_EQ(typed.json, "x");
  EXPECT_EQ(typed.pairs, "y=z");
  EXPECT_EQ(typed.threshold, -0.5F);
  EXPECT_EQ(typed.list, "-");
}

TEST(ParseTest, TheLastValueCounts) {
  EXPECT_EQ(Parsed({"--size", "64", "--size=128"}).size, 128);
  EXPECT_FALSE(Parsed({"--recursive", "--no-recursive"}).recursive);
  EXPECT_TRUE(Parsed({"--no-cache", "--cache"}).cache);
  EXPECT_THAT(Parsed({"--skip", "a", "--skip=b"}).skip, ElementsAre("a", "b"));
}

TEST(ParseTest, AfterTwoDashesThereArePaths) {
  EXPECT_THAT(Parsed({"a", "--", "--json", "--", "-x"}).paths, ElementsAre("a", "--json", "--", "-x"));
  EXPECT_THAT(Parsed({"-", ""}).paths, ElementsAre("-", ""));
}

TEST(ParseTest, NumbersHaveLimits) {
  EXPECT_EQ(Parsed({"--size", "0"}).size, 0);
  EXPECT_EQ(Parsed({"--max-pairs", "18446744073709551615"}).max_pairs, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(Refused({"--size", "5"}), "--size is 5, expected a whole number, 32 ... 4096, or 0");
  EXPECT_EQ(Refused({"--batch=0"}), "--batch is 0, expected a whole number, 1 ... 1024");
  EXPECT_EQ(Refused({"--threads", "-1"}), "--threads is -1, expected a whole number, 0 ... 1024");
  EXPECT_EQ(Refused({"--max-pairs", "0"}), "--max-pairs is 0, expected a whole number, 1 or more");
  EXPECT_EQ(Refused({"--max-pairs", "18446744073709551616"}),
            "--max-pairs is 18446744073709551616, expected a whole number, 1 or more");
  for (const char* wrong : {"1.5", "8 ", " 8", "0x8", "eight", "8,0", "1e1"}) {
    EXPECT_THAT(Refused({"--batch", wrong}), HasSubstr("expected a whole number")) << wrong;
  }
  EXPECT_EQ(Refused({"--threshold", "many"}), "--threshold is 'many', expected a number");
  for (const char* wrong : {"0.5x", "0,5", "1e999", " 0.5"}) {
    EXPECT_THAT(Refused({"--threshold", wrong}), HasSubstr("expected a number")) << wrong;
  }
}

TEST(ParseTest, SaysWhatIsWrong) {
  EXPECT_EQ(Refused({"--json"}), "--json: expected FILE after it");
  EXPECT_EQ(Refused({"--json="}), "--json: expected a value, got an empty one");
  EXPECT_EQ(Refused({"--json", ""}), "--json: expected a value, got an empty one");
  // A file of the name --quiet is what nobody means.
  EXPECT_EQ(Refused({"--json", "--quiet"}),
            "--json: expected FILE, got --quiet (a value that begins with '-' is written --json=--quiet)");
  EXPECT_EQ(Parsed({"--json=--quiet"}).json, "--quiet");
  EXPECT_EQ(Refused({"--quiet=yes"}), "--quiet takes no value, got 'yes'");
  EXPECT_EQ(Refused({"--keep", "best"}),
            "--keep is 'best', expected one of most-similar, first, largest, sharpest, newest");
  EXPECT_EQ(Refused({"--a\nb"}), "unknown flag --a?b");
}

TEST(ParseTest, UnknownFlagsHaveANeighbour) {
  EXPECT_EQ(Refused({"--jsn"}), "unknown flag --jsn; did you mean --json?");
  EXPECT_EQ(Refused({"--treshold=1"}), "unknown flag --treshold; did you mean --threshold?");
  EXPECT_EQ(Refused({"--thresh"}), "unknown flag --thresh; did you mean --threshold?");
  EXPECT_EQ(Refused({"-json"}), "unknown flag -json; did you mean --json?");
  EXPECT_EQ(Refused({"--max_pairs"}), "unknown flag --max_pairs; did you mean --max-pairs?");
  EXPECT_EQ(Refused({"--no-recusrive"}), "unknown flag --no-recusrive; did you mean --no-recursive?");
  EXPECT_EQ(Refused({"--no-such-option"}), "unknown flag --no-such-option");
  EXPECT_EQ(Refused({"-x"}), "unknown flag -x");
}

TEST(ParseTest, QuestionsEndTheReading) {
  EXPECT_EQ(Parsed({"--help", "--no-such-flag"}).question, Question::kHelp);
  EXPECT_EQ(Parsed({"a", "-h"}).question, Question::kShortHelp);
  EXPECT_EQ(Parsed({"--version"}).question, Question::kVersion);
  EXPECT_EQ(Parsed({"--generate", "man", "--x"}).generate, "man");
  EXPECT_THAT(Refused({"--no-such-flag", "--help"}), HasSubstr("unknown"));
}

TEST(MeaningTest, ThePathsSayWhatThereIsToDo) {
  const TemporaryFolder folder;
  const std::string a = folder.Write("a", "");
  const std::string b = folder.Write("b", "");
  Result<Arguments> arguments = Meant({folder.path(), "--size", "64"});
  ASSERT_TRUE(arguments.ok()) << arguments.status().message();
  ASSERT_EQ(arguments->mode(), Mode::kFind);
  EXPECT_EQ(std::get<FindOptions>(arguments->options).folder, folder.path());
  EXPECT_EQ(std::get<FindOptions>(arguments->options).embedder.size, 64);
  arguments = Meant({a, b, "--threshold", "0.5"});
  ASSERT_TRUE(arguments.ok()) << arguments.status().message();
  ASSERT_EQ(arguments->mode(), Mode::kCompare);
  EXPECT_EQ(std::get<CompareOptions>(arguments->options).second, b);
  EXPECT_EQ(std::get<CompareOptions>(arguments->options).threshold, 0.5F);
  arguments = Meant({"--undo", "journal"});
  ASSERT_TRUE(arguments.ok()) << arguments.status().message();
  EXPECT_EQ(arguments->mode(), Mode::kUndo);
  arguments = Meant({"--version"});
  ASSERT_TRUE(arguments.ok());
  EXPECT_EQ(arguments->mode(), Mode::kAnswer);
}

TEST(MeaningTest, WhatIsNotGivenIsTheLibrariesDefault) {
  const TemporaryFolder folder;
  const Result<Arguments> arguments = Meant({folder.path()});
  ASSERT_TRUE(arguments.ok());
  const auto& find = std::get<FindOptions>(arguments->options);
  const SimilarityOptions similarity;
  EXPECT_EQ(find.similarity.threshold, similarity.threshold);
  EXPECT_EQ(find.similarity.recursive, similarity.recursive);
  EXPECT_EQ(find.similarity.search, similarity.search);
  EXPECT_EQ(find.similarity.keep, similarity.keep);
  EXPECT_EQ(find.similarity.approximate.neighbours, similarity.approximate.neighbours);
  EXPECT_EQ(find.similarity.approximate.effort, similarity.approximate.effort);
  const EmbedderOptions embedder;
  EXPECT_EQ(find.embedder.size, embedder.size);
  EXPECT_EQ(find.embedder.batch, embedder.batch);
  EXPECT_EQ(find.embedder.threads, embedder.threads);
  EXPECT_EQ(find.embedder.provider, embedder.provider);
  EXPECT_EQ(find.embedder.precision, embedder.precision);
  EXPECT_EQ(find.embedder.cache, embedder.cache);
  EXPECT_EQ(find.embedder.full_decode, embedder.full_decode);
  EXPECT_EQ(find.embedder.decode.max_pixels, embedder.decode.max_pixels);
  EXPECT_EQ(find.outputs.max_pairs, OutputOptions{}.max_pairs);
  EXPECT_EQ(find.page.max_pairs, HtmlPageOptions{}.max_pairs);
}

TEST(MeaningTest, EveryRepresentativePolicyHasItsName) {
  const TemporaryFolder folder;
  for (const Flag& flag : AllFlags()) {
    if (flag.name() != "keep") continue;
    for (const std::string& name : flag.choices()) {
      const Result<Arguments> arguments = Meant({folder.path(), "--keep", name});
      ASSERT_TRUE(arguments.ok());
      EXPECT_EQ(RepresentativePolicyName(std::get<FindOptions>(arguments->options).similarity.keep), name);
    }
  }
}

TEST(MeaningTest, RedundantImages) {
  const TemporaryFolder folder;
  const TemporaryFolder target;
  const auto find = [&](Words words) {
    words.push_back(folder.path());
    const Result<Arguments> arguments = Meant(words);
    EXPECT_TRUE(arguments.ok()) << arguments.status().message();
    return arguments.ok() ? std::get<FindOptions>(arguments->options) : FindOptions();
  };
  FindOptions options = find({});
  EXPECT_EQ(options.action.action, Action::kNone);
  options = find({"--move-to", target.path()});
  EXPECT_EQ(options.action.action, Action::kMove);
  EXPECT_EQ(options.action.target, target.path());
  EXPECT_THAT(options.similarity.skip, ElementsAre(target.path()));
  EXPECT_EQ(find({"--hardlink"}).action.action, Action::kHardlink);
  EXPECT_THAT(RefusedMeaning({folder.path(), "--hardlink", "--move-to", "x"}), HasSubstr("one of them"));
}

TEST(MeaningTest, OldFormsWorkAndSayWhatTheyAreCalledNow) {
  const TemporaryFolder folder;
  const TemporaryFolder target;
  struct Case {
    Words old_form;
    Words new_form;
    std::string note;
  };
  for (const Case& one : {
           Case{{"--action", "move", target.path()}, {"--move-to", target.path()}, "now --move-to DIR"},
           Case{{"--action=move", target.path()}, {"--move-to", target.path()}, "now --move-to DIR"},
           Case{{"--action", "hardlink"}, {"--hardlink"}, "now --hardlink"},
           Case{{"--action", "json"}, {"--json", "-"}, "now --json -"},
           Case{{"--action", "list"}, {}, "without it"},
       }) {
    Words old_words = one.old_form;
    old_words.push_back(folder.path());
    Words new_words = one.new_form;
    new_words.push_back(folder.path());
    const Result<Arguments> before = Meant(old_words);
    const Result<Arguments> now = Meant(new_words);
    ASSERT_TRUE(before.ok() && now.ok()) << one.note;
    EXPECT_THAT(before->notes, ElementsAre(HasSubstr(one.note)));
    EXPECT_THAT(now->notes, IsEmpty());
    const auto& a = std::get<FindOptions>(before->options);
    const auto& b = std::get<FindOptions>(now->options);
    EXPECT_EQ(a.action.action, b.action.action);
    EXPECT_EQ(a.action.target, b.action.target);
    EXPECT_EQ(a.outputs.json, b.outputs.json);
    EXPECT_EQ(a.similarity.skip, b.similarity.skip);
  }
  EXPECT_THAT(RefusedMeaning({folder.path(), "--action", "move"}), HasSubstr("--move-to DIR"));
  EXPECT_THAT(RefusedMeaning({folder.path(), "--action", "move", "--quiet"}), HasSubstr("--move-to DIR"));
  EXPECT_THAT(RefusedMeaning({folder.path(), "--action", "list", "--hardlink"}), HasSubstr("leave it out"));
}

TEST(MeaningTest, RrnCompareTakesTwoImages) {
  const TemporaryFolder folder;
  const std::string a = folder.Write("a", "");
  EXPECT_THAT(RefusedMeaning({folder.path(), a}, kRrnCompare), HasSubstr("expected two image files (see rrn find"));
  EXPECT_THAT(RefusedMeaning({a}, kRrnCompare), HasSubstr("expected two image files, got 1"));
  EXPECT_THAT(RefusedMeaning({}, kRrnCompare), HasSubstr("expected two image files, got 0"));
  const Result<Arguments> arguments = Meant({a, a}, kRrnCompare);
  ASSERT_TRUE(arguments.ok());
  EXPECT_EQ(arguments->mode(), Mode::kCompare);
}

TEST(GenerateTest, EveryFlagIsInEverything) {
  for (const std::string& name : GeneratedNames()) {
    const Result<std::string> made = Generate(kProgram, name);
    ASSERT_TRUE(made.ok());
    for (const Flag& flag : AllFlags()) {
      if (!flag.shown()) continue;
      for (const std::string& spelling : flag.Spellings()) {
        std::string word = spelling;
        if (name == "man") word = internal::Replaced(spelling, "-", "\\-");
        if (name == "complete-fish") {
          word = (spelling.size() == 2 ? "-s " : "-l ") + spelling.substr(spelling.find_first_not_of('-'));
        }
        if (name == "json") word = "\"" + spelling.substr(spelling.find_first_not_of('-')) + "\"";
        EXPECT_THAT(*made, HasSubstr(word)) << name;
      }
    }
  }
  for (const Flag& flag : AllFlags()) {
    EXPECT_EQ(LongHelp(kProgram).find(flag.Usage() + "\n") != std::string::npos, flag.shown()) << flag.name();
    EXPECT_EQ(ShortHelp(kProgram).find("  " + flag.Usage() + " ") != std::string::npos, flag.shown()) << flag.name();
  }
}

TEST(GenerateTest, HelpFitsATerminal) {
  for (const std::string& text : {ShortHelp(kProgram), LongHelp(kProgram), LongHelp(kRrnCompare)}) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
  }
}

TEST(GenerateTest, RrnCompareOffersWhatTwoImagesNeed) {
  const std::string text = LongHelp(kRrnCompare);
  EXPECT_THAT(text, HasSubstr("Usage: rrn compare [OPTIONS] IMAGE IMAGE\n"));
  EXPECT_THAT(text, HasSubstr("--threshold"));
  for (const char* other : {"--json", "--move-to", "--undo", "--against", "FOLDER"}) {
    EXPECT_THAT(text, Not(HasSubstr(other)));
  }
  const Result<std::string> script = Generate(kRrnCompare, "complete-bash");
  ASSERT_FALSE(script.ok());
  EXPECT_THAT(script.status().message(), HasSubstr("not for 'rrn compare'"));
}

}  // namespace
}  // namespace rrn
