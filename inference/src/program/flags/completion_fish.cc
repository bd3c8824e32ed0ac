// Completion for fish.
#include <string>
#include <vector>

#include "program/flags/about.h"
#include "program/flags/flag.h"
#include "program/flags/generate.h"

namespace rrn {
namespace {

std::string Quoted(const std::string& text) {
  return "'" + internal::Replaced(internal::Replaced(text, "\\", "\\\\"), "'", "\\'") + "'";
}

// Whether a value has to follow, and which ones are offered.
std::string Value(const Flag& flag) {
  if (!flag.takes_value()) return "";
  if (flag.completion() == Completion::kFiles) return " -r -F";
  if (flag.completion() == Completion::kFolders) return " -x -a '(__fish_complete_directories)'";
  std::string choices;
  for (const std::string& choice : flag.choices()) choices += (choices.empty() ? "" : " ") + choice;
  return choices.empty() ? " -x" : " -x -a " + Quoted(choices);
}

}  // namespace

std::string FishCompletion(const Caller& caller) {
  std::string script =
      "# Completion of " + caller.program + " for fish; made by: " + caller.program + " --generate complete-fish\n";
  for (const FlagGroup& group : internal::OfferedFlags(caller)) {
    for (const Flag& flag : group.flags) {
      for (const std::string& spelling : flag.Spellings()) {
        const bool letter = spelling.size() == 2;
        script += "complete -c " + caller.program +
                  (letter ? " -s " + spelling.substr(1) : " -l " + spelling.substr(2)) + Value(flag) + " -d " +
                  Quoted(internal::HelpOf(flag, spelling)) + "\n";
      }
    }
  }
  return script;
}

}  // namespace rrn
