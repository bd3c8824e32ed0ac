#include "program/flags/parse.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "base/text.h"
#include "program/flags/flag.h"

namespace rrn {
namespace {

Status Wrong(std::string message) { return {StatusCode::kInvalidArgument, OneLine(std::move(message))}; }

// How many letters have to be changed, put in, left out or swapped with the next one.
std::size_t Distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<std::size_t>> rows(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        rows[i][j] = i + j;
        continue;
      }
      const std::size_t differs = a[i - 1] == b[j - 1] ? 0 : 1;
      rows[i][j] = std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + differs});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
      }
    }
  }
  return rows[a.size()][b.size()];
}

// The known flag that is most like `typed`; empty if none is much like it.
std::string Nearest(const std::string& typed) {
  const std::string letters = typed.substr(std::min(typed.find_first_not_of('-'), typed.size()));
  constexpr std::size_t kShortestPrefix = 3;
  std::string nearest;
  std::size_t least = 1 + letters.size() / 4;
  for (const FlagGroup& group : FlagTable()) {
    for (const Flag& flag : group.flags) {
      if (!flag.shown()) continue;
      for (const std::string& spelling : flag.Spellings()) {
        const std::string name = spelling.substr(spelling.find_first_not_of('-'));
        const bool begins = letters.size() >= kShortestPrefix && name.compare(0, letters.size(), letters) == 0;
        const std::size_t distance = begins ? 0 : Distance(letters, name);
        if (name.size() == 1 || distance > least || (distance == least && !nearest.empty())) continue;
        least = distance;
        nearest = spelling;
      }
    }
  }
  return nearest;
}

// A spelling of a flag, and the flag.
struct Known {
  const Flag* flag = nullptr;
  bool negated = false;
};

Known Find(const std::string& spelling) {
  for (const FlagGroup& group : FlagTable()) {
    for (const Flag& flag : group.flags) {
      for (const std::string& one : flag.Spellings()) {
        if (one == spelling) return {&flag, spelling == "--" + flag.negation()};
      }
    }
  }
  return {};
}

template <typename Number>
bool ReadNumber(const std::string& text, Number* number) {
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, *number);
  return result.ec == std::errc() && result.ptr == end;
}

// Puts a flag's value where it belongs.
class Setter {
 public:
  // `value`: of flags that take one; otherwise a switch is switched `on`.
  Setter(const Flag& flag, std::string spelling, std::string value, bool on, Typed* typed)
      : flag_(flag), spelling_(std::move(spelling)), value_(std::move(value)), on_(on), typed_(*typed) {}

  Status operator()(bool Typed::*member) const {
    typed_.*member = on_;
    return {};
  }
  Status operator()(int Typed::*member) const {
    Status status = CheckWhole();
    return status.ok() && !ReadNumber(value_, &(typed_.*member)) ? NotTaken(flag_.RangeText()) : status;
  }
  Status operator()(std::uint64_t Typed::*member) const {
    Status status = CheckWhole();
    return status.ok() && !ReadNumber(value_, &(typed_.*member)) ? NotTaken(flag_.RangeText()) : status;
  }
  Status operator()(float Typed::*member) const {
    return ReadNumber(value_, &(typed_.*member)) ? Status() : NotTaken("a number");
  }
  Status operator()(std::string Typed::*member) const {
    const std::vector<std::string>& choices = flag_.choices();
    if (!choices.empty() && std::find(choices.begin(), choices.end(), value_) == choices.end()) {
      std::string list;
      for (const std::string& choice : choices) list += (list.empty() ? "" : ", ") + choice;
      return NotTaken("one of " + list);
    }
    typed_.*member = value_;
    return {};
  }
  Status operator()(std::vector<std::string> Typed::*member) const {
    (typed_.*member).push_back(value_);
    return {};
  }
  Status operator()(Question question) const {
    typed_.question = question == Question::kHelp && spelling_ == "-h" ? Question::kShortHelp : question;
    return {};
  }

 private:
  Status CheckWhole() const {
    std::uint64_t value = 0;
    const bool taken = ReadNumber(value_, &value) &&
                       ((value >= flag_.low() && value <= flag_.high()) || (flag_.or_zero() && value == 0));
    return taken ? Status() : NotTaken("a whole number, " + flag_.RangeText());
  }

  Status NotTaken(const std::string& expected) const {
    const bool number = !value_.empty() && value_.find_first_not_of("+-.0123456789") == std::string::npos;
    return Wrong(spelling_ + " is " + (number ? value_ : "'" + value_ + "'") + ", expected " + expected);
  }

  const Flag& flag_;
  std::string spelling_;
  std::string value_;
  bool on_;
  Typed& typed_;
};

class Parser {
 public:
  explicit Parser(const std::vector<std::string>& words) : words_(words) {}

  Result<Typed> Parse() {
    while (at_ < words_.size()) {
      const std::string& word = words_[at_++];
      if (word == "--") {
        typed_.paths.insert(typed_.paths.end(), words_.begin() + static_cast<std::ptrdiff_t>(at_), words_.end());
        break;
      }
      if (word.size() < 2 || word[0] != '-') {
        typed_.paths.push_back(word);
        continue;
      }
      Status status = ReadFlag(word);
      if (!status.ok()) return status;
      if (typed_.question != Question::kNone || !typed_.generate.empty()) break;
    }
    return std::move(typed_);
  }

 private:
  Status ReadFlag(const std::string& word) {
    const std::size_t equals = word.compare(0, 2, "--") == 0 ? word.find('=') : std::string::npos;
    const std::string spelling = word.substr(0, equals);
    const Known known = Find(spelling);
    if (known.flag == nullptr) return Unknown(spelling);
    const Flag& flag = *known.flag;
    if (!flag.takes_value()) {
      if (equals == std::string::npos) return Set(flag, spelling, "", !known.negated);
      return Wrong(spelling + " takes no value, got '" + word.substr(equals + 1) + "'");
    }
    std::string value;
    if (equals != std::string::npos) {
      value = word.substr(equals + 1);
    } else {
      Status status = NextWord(flag, spelling, &value);
      if (!status.ok()) return status;
    }
    if (value.empty()) return Wrong(spelling + ": expected a value, got an empty one");
    Status status = Set(flag, spelling, value, true);
    // Where it is missing, those who know what it is for say so.
    if (value == flag.word_after() && at_ < words_.size() && words_[at_].compare(0, 1, "-") != 0) {
      typed_.*flag.word_after_target() = words_[at_++];
    }
    return status;
  }

  // The word after a flag, as its value.
  Status NextWord(const Flag& flag, const std::string& spelling, std::string* value) {
    if (at_ == words_.size()) return Wrong(spelling + ": expected " + flag.placeholder() + " after it");
    const std::string& word = words_[at_];
    double number = 0;
    if (word.size() > 1 && word[0] == '-' && !(flag.is_number() && ReadNumber(word, &number))) {
      return Wrong(spelling + ": expected " + flag.placeholder() + ", got " + word + " (a value that begins with '-' " +
                   "is written " + spelling + "=" + word + ")");
    }
    *value = word;
    ++at_;
    return {};
  }

  Status Set(const Flag& flag, const std::string& spelling, const std::string& value, bool on) {
    typed_.given.push_back(&flag);
    return std::visit(Setter(flag, spelling, value, on, &typed_), flag.target());
  }

  static Status Unknown(const std::string& spelling) {
    const std::string nearest = Nearest(spelling);
    return Wrong("unknown flag " + spelling + (nearest.empty() ? "" : "; did you mean " + nearest + "?"));
  }

  const std::vector<std::string>& words_;
  std::size_t at_ = 0;
  Typed typed_;
};

}  // namespace

Result<Typed> ParseWords(const std::vector<std::string>& words) { return Parser(words).Parse(); }

}  // namespace rrn
