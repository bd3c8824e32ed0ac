// The table of flags. The parser, --help, the manual page, the completions of shells and the list for programs are all
// made from it, so a flag is described in one place.
#ifndef RRN_PROGRAM_FLAGS_FLAG_H_
#define RRN_PROGRAM_FLAGS_FLAG_H_

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "program/flags/typed.h"

namespace rrn {

// What a shell offers in the place of a flag's value.
enum class Completion { kNone, kFiles, kFolders };

// One flag. Written in the table as Flag(...).Help(...).More(...), read everywhere else.
class Flag {
 public:
  // Where the value goes, which also says of what type it is. A Question is what the flag asks.
  using Target = std::variant<bool Typed::*, int Typed::*, std::uint64_t Typed::*, float Typed::*, std::string Typed::*,
                              std::vector<std::string> Typed::*, Question>;

  // A flag with a value.
  //   name: without the dashes. placeholder: what stands for the value in --help, as "FILE".
  Flag(const char* name, Target target, const char* placeholder)
      : name_(name), target_(target), placeholder_(placeholder) {}

  // A switch, or a question.
  Flag(const char* name, Target target) : Flag(name, target, "") {}

  // For -h and the completions: a few words. For --help and the manual page: sentences that stand alone.
  Flag&& Help(const char* text) && {
    help_ = text;
    return std::move(*this);
  }
  Flag&& More(const char* text) && {
    more_ = text;
    return std::move(*this);
  }
  // The only values that it takes.
  Flag&& OneOf(std::vector<std::string> choices) && {
    choices_ = std::move(choices);
    return std::move(*this);
  }
  // The least and the greatest whole number that it takes.
  Flag&& Range(std::uint64_t low, std::uint64_t high) && {
    low_ = low;
    high_ = high;
    return std::move(*this);
  }
  // Takes 0, too, which means something else.
  Flag&& OrZero() && {
    or_zero_ = true;
    return std::move(*this);
  }
  // A single letter for it.
  Flag&& Letter(char letter) && {
    letter_ = letter;
    return std::move(*this);
  }
  // The name that switches it off; where it is on by default, --help shows that one.
  Flag&& Negation(const char* name) && {
    negation_ = name;
    return std::move(*this);
  }
  // What people read as the default, where the value itself says nothing to them.
  Flag&& Default(const char* text) && {
    default_ = text;
    return std::move(*this);
  }
  Flag&& Completes(Completion completion) && {
    completion_ = completion;
    return std::move(*this);
  }
  // Means nothing where two images are compared.
  Flag&& FolderOnly() && {
    folder_only_ = true;
    return std::move(*this);
  }
  // An old form, which works and is not shown; `instead` is what it is called now.
  Flag&& Replaced(const char* instead) && {
    instead_ = instead;
    return std::move(*this);
  }
  // With this value, the next word belongs to the flag, too, unless that is a flag.
  Flag&& WordAfter(const char* value, std::string Typed::*target) && {
    word_after_ = value;
    word_after_target_ = target;
    return std::move(*this);
  }

  const std::string& name() const { return name_; }
  const Target& target() const { return target_; }
  const std::string& placeholder() const { return placeholder_; }
  const std::string& help() const { return help_; }
  const std::string& more() const { return more_.empty() ? help_ : more_; }
  const std::vector<std::string>& choices() const { return choices_; }
  std::uint64_t low() const { return low_; }
  std::uint64_t high() const { return high_; }
  bool or_zero() const { return or_zero_; }
  char letter() const { return letter_; }
  const std::string& negation() const { return negation_; }
  Completion completion() const { return completion_; }
  bool folder_only() const { return folder_only_; }
  const std::string& instead() const { return instead_; }
  const std::string& word_after() const { return word_after_; }
  std::string Typed::*word_after_target() const { return word_after_target_; }

  bool takes_value() const { return !placeholder_.empty(); }
  bool shown() const { return instead_.empty(); }
  // Adds up where it is given twice; all others keep the last value.
  bool repeats() const { return std::holds_alternative<std::vector<std::string> Typed::*>(target_); }
  bool is_number() const;

  // Whether DefaultText is the value itself, not what it stands for.
  bool default_is_value() const { return default_.empty(); }

  // The value of a flag that is not given: for people (empty if there is no value), and as JSON.
  std::string DefaultText() const;
  std::string DefaultJson() const;

  // The numbers that it takes, as "1 ... 1024" or "1 or more"; empty if that is not said.
  std::string RangeText() const;

  // All ways to type it: {"--recursive", "--no-recursive"}, {"-h", "--help"}.
  std::vector<std::string> Spellings() const;

  // As --help shows it: "--list FILE", "-h, --help", "--no-cache".
  std::string Usage() const;

 private:
  std::string name_;
  Target target_;
  std::string placeholder_;
  std::string help_;
  std::string more_;
  std::vector<std::string> choices_;
  std::uint64_t low_ = 0;
  std::uint64_t high_ = std::numeric_limits<std::uint64_t>::max();
  bool or_zero_ = false;
  char letter_ = 0;
  std::string negation_;
  std::string default_;
  Completion completion_ = Completion::kNone;
  bool folder_only_ = false;
  std::string instead_;
  std::string word_after_;
  std::string Typed::*word_after_target_ = nullptr;
};

// The flags under one heading of --help.
struct FlagGroup {
  std::string title;
  std::vector<Flag> flags;
};

// All flags, in the order of --help. Made at the first call; thread-safe.
const std::vector<FlagGroup>& FlagTable();

}  // namespace rrn

#endif  // RRN_PROGRAM_FLAGS_FLAG_H_
