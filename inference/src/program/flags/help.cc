// -h and --help.
#include <algorithm>
#include <cstddef>
#include <sstream>
#include <string>
#include <vector>

#include "program/flags/about.h"
#include "program/flags/flag.h"
#include "program/flags/generate.h"

namespace rrn {
namespace {

constexpr std::size_t kWidth = 80;
constexpr std::size_t kTextIndent = 6;
constexpr std::size_t kShortTextColumn = 27;
constexpr std::size_t kExampleColumn = 41;

// `text` in lines of kWidth, each after `indent` spaces; the first one after `begin` instead.
std::string Wrapped(const std::string& text, std::size_t indent, std::string begin = "") {
  std::string lines;
  std::string line = begin.empty() ? std::string(indent, ' ') : std::move(begin);
  bool empty = true;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (!empty && line.size() + 1 + word.size() > kWidth) {
      lines += line + '\n';
      line.assign(indent, ' ');
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
  }
  return lines + line + '\n';
}

// `name`, and `text` from `column` on: in the same line if there is room.
std::string Columns(const std::string& name, const std::string& text, std::size_t column) {
  if (name.size() + 2 > column) return name + '\n' + Wrapped(text, column);
  return Wrapped(text, column, name + std::string(column - name.size(), ' '));
}

std::string UsageLines(const Caller& caller) {
  std::string text;
  for (const std::string& form : Forms(caller)) {
    text += (text.empty() ? "Usage: " : "       ") + caller.program + " " + form + "\n";
  }
  return text;
}

std::string ExitCodeLines(const Caller& caller) {
  std::string text = "Exit codes:\n";
  for (const Described& code : ExitCodes(caller)) text += Columns("  " + code.name, code.text, kTextIndent + 1);
  return text;
}

}  // namespace

std::string ShortHelp(const Caller& caller) {
  std::string text = UsageLines(caller) + '\n' + Wrapped(Description(caller).front(), 0);
  for (const FlagGroup& group : internal::OfferedFlags(caller)) {
    text += '\n' + group.title + ":\n";
    for (const Flag& flag : group.flags) {
      std::string words = flag.help();
      if (flag.default_is_value() && !flag.DefaultText().empty()) {
        words += " (default " + flag.DefaultText() + ")";
      }
      text += Columns("  " + flag.Usage(), words, kShortTextColumn);
    }
  }
  return text + "\n" + caller.program + " --help explains each of them, with examples and exit codes.\n";
}

std::string LongHelp(const Caller& caller) {
  std::string text = UsageLines(caller);
  for (const std::string& paragraph : Description(caller)) text += '\n' + Wrapped(paragraph, 0);
  for (const FlagGroup& group : internal::OfferedFlags(caller)) {
    text += '\n' + group.title + ":\n";
    for (const Flag& flag : group.flags) {
      text += "  " + flag.Usage() + '\n' + Wrapped(flag.more(), kTextIndent);
      const std::string values = internal::ValuesText(flag);
      if (!values.empty()) text += Wrapped(values, kTextIndent);
    }
  }
  text += '\n' + Wrapped(FlagRules(), 0) + "\nExamples:\n";
  for (const Described& example : Examples(caller)) {
    text += Columns("  " + example.name, example.text, kExampleColumn);
  }
  return text + '\n' + ExitCodeLines(caller);
}

}  // namespace rrn
