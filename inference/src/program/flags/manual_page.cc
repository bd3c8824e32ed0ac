// The manual page, in roff with the macros of man(7).
#include <algorithm>
#include <string>
#include <vector>

#include "program/flags/about.h"
#include "program/flags/flag.h"
#include "program/flags/generate.h"
#include "rrn/version.h"

namespace rrn {
namespace {

// Text that roff prints as it stands.
std::string Roff(const std::string& text) {
  std::string roff;
  for (const char c : text) {
    switch (c) {
      case '\\':
        roff += "\\(rs";
        break;
      case '-':
        roff += "\\-";
        break;
      case '\'':
        roff += "\\(aq";
        break;
      case '"':
        roff += "\\(dq";
        break;
      case '`':
        roff += "\\(ga";
        break;
      case '^':
        roff += "\\(ha";
        break;
      case '~':
        roff += "\\(ti";
        break;
      default:
        roff += c;
    }
  }
  // A line that begins with a dot would be a request.
  return roff.compare(0, 1, ".") == 0 ? "\\&" + roff : roff;
}

std::string Bold(const std::string& text) { return "\\fB" + Roff(text) + "\\fR"; }
std::string Italic(const std::string& text) { return "\\fI" + Roff(text) + "\\fR"; }

std::string Capitals(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

// A name and an indented paragraph about it.
std::string Item(const std::string& name, const std::string& text) { return ".TP\n" + name + '\n' + text + '\n'; }

std::string FlagItem(const Flag& flag) {
  std::vector<std::string> spellings = flag.Spellings();
  // The text is about the one that --help shows.
  if (spellings.back() == flag.Usage()) std::rotate(spellings.begin(), spellings.end() - 1, spellings.end());
  std::string name;
  for (const std::string& spelling : spellings) {
    name += (name.empty() ? "" : ", ") + Bold(spelling) + (flag.takes_value() ? " " + Italic(flag.placeholder()) : "");
  }
  std::string text = Roff(flag.more());
  const std::string values = internal::ValuesText(flag);
  if (!values.empty()) text += "\n.br\n" + Roff(values);
  return Item(name, text);
}

std::string OldForms() {
  std::string text;
  for (const FlagGroup& group : FlagTable()) {
    for (const Flag& flag : group.flags) {
      if (flag.shown()) continue;
      text += Item(Bold("--" + flag.name()) + " " + Italic(flag.placeholder()), "Now: " + Roff(flag.instead()) + ".");
    }
  }
  return text;
}

}  // namespace

std::string ManualPage(const Caller& caller) {
  // Of "rrn find" it is rrn-find(1).
  const std::string name = internal::Replaced(caller.program, " ", "-");
  std::string page = ".TH " + Roff(Capitals(name)) + R"( 1 "" "rrn )" + Roff(Version()) + "\" \"User Commands\"\n";
  page += ".SH NAME\n" + Roff(name) + " \\- " + Roff(Summary(caller)) + "\n.SH SYNOPSIS\n";
  std::string line_break;
  for (const std::string& form : Forms(caller)) {
    page += line_break + Bold(caller.program) + " " + Roff(form) + "\n";
    line_break = ".br\n";
  }
  page += ".SH DESCRIPTION\n";
  for (const std::string& paragraph : Description(caller)) page += ".PP\n" + Roff(paragraph) + "\n";
  page += ".SH OPTIONS\n" + Roff(FlagRules()) + "\n";
  for (const FlagGroup& group : internal::OfferedFlags(caller)) {
    page += ".SS " + Roff(group.title) + "\n";
    for (const Flag& flag : group.flags) page += FlagItem(flag);
  }
  if (caller.verb != Verb::kCompare) page += ".SS Old forms, which keep working for now\n" + OldForms();
  page += ".SH EXAMPLES\n";
  for (const Described& example : Examples(caller)) page += Item(Bold(example.name), Roff(example.text));
  page += ".SH EXIT STATUS\n";
  for (const Described& code : ExitCodes(caller)) page += Item(Bold(code.name), Roff(code.text));
  return page;
}

}  // namespace rrn
