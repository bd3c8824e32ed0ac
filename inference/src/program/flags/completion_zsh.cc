// Completion for zsh.
#include <string>
#include <vector>

#include "program/flags/about.h"
#include "program/flags/flag.h"
#include "program/flags/generate.h"

namespace rrn {
namespace {

// Text in the brackets of a specification, in single quotes.
std::string Escaped(std::string text) {
  for (const char* one : {"\\", "[", "]", ":"}) text = internal::Replaced(text, one, std::string("\\") + one);
  return internal::Replaced(text, "'", "'\\''");
}

// What comes after a flag: ":placeholder:action".
std::string Value(const Flag& flag) {
  if (!flag.takes_value()) return "";
  std::string action = " ";
  if (flag.completion() == Completion::kFolders) action = "_files -/";
  if (flag.completion() == Completion::kFiles) action = "_files";
  if (!flag.choices().empty()) {
    action = "(";
    for (const std::string& choice : flag.choices()) action += (action == "(" ? "" : " ") + choice;
    action += ")";
  }
  return ":" + Escaped(flag.placeholder()) + ":" + action;
}

}  // namespace

std::string ZshCompletion(const Caller& caller) {
  std::string script = "#compdef " + caller.program + "\n# Completion of " + caller.program +
                       " for zsh; made by: " + caller.program + " --generate complete-zsh\n\n_arguments -S \\\n";
  for (const FlagGroup& group : internal::OfferedFlags(caller)) {
    for (const Flag& flag : group.flags) {
      for (const std::string& spelling : flag.Spellings()) {
        script += "  '" + std::string(flag.repeats() ? "*" : "") + spelling + (flag.takes_value() ? "=" : "") + "[" +
                  Escaped(internal::HelpOf(flag, spelling)) + "]" + Value(flag) + "' \\\n";
      }
    }
  }
  return script + "  '*:folder or image:_files'\n";
}

}  // namespace rrn
