// Completion for bash, without the package bash-completion.
#include <map>
#include <string>
#include <vector>

#include "program/flags/about.h"
#include "program/flags/flag.h"
#include "program/flags/generate.h"

namespace rrn {
namespace {

constexpr const char* kScript = R"(# Completion of PROGRAM for bash; made by: PROGRAM --generate complete-bash
_PROGRAM() {
  local word=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD-1]} offer=files words=
  # "--flag=value" comes as three words.
  if [ "$word" = = ]; then
    word=
  elif [ "$flag" = = ] && [ "$COMP_CWORD" -gt 1 ]; then
    flag=${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $flag in
CASES    *)
      if [ "${word:0:1}" = - ]; then
        offer=words words='FLAGS'
      fi
      ;;
  esac
  COMPREPLY=()
  case $offer in
    words) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word") ;;
    folders) mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
    files) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
  esac
  if [ "$offer" = files ] || [ "$offer" = folders ]; then
    compopt -o filenames 2> /dev/null
  fi
}
complete -F _PROGRAM PROGRAM
)";

// What is offered after a flag.
std::string Offer(const Flag& flag) {
  if (flag.completion() == Completion::kFolders) return "offer=folders";
  if (flag.completion() == Completion::kFiles) return "offer=files";
  std::string words;
  for (const std::string& choice : flag.choices()) words += (words.empty() ? "" : " ") + choice;
  return words.empty() ? "offer=nothing" : "offer=words words='" + words + "'";
}

}  // namespace

std::string BashCompletion(const Caller& caller) {
  std::string flags;
  std::map<std::string, std::string> cases;  // what is offered, and after which flags
  for (const FlagGroup& group : internal::OfferedFlags(caller)) {
    for (const Flag& flag : group.flags) {
      for (const std::string& spelling : flag.Spellings()) flags += (flags.empty() ? "" : " ") + spelling;
      if (!flag.takes_value()) continue;
      std::string& names = cases[Offer(flag)];
      names += (names.empty() ? "" : " | ") + ("--" + flag.name());
    }
  }
  std::string lines;
  for (const auto& [offer, names] : cases) {
    lines.append("    ").append(names).append(") ").append(offer).append(" ;;\n");
  }
  std::string script = internal::Replaced(kScript, "CASES", lines);
  script = internal::Replaced(script, "FLAGS", flags);
  return internal::Replaced(script, "PROGRAM", caller.program);
}

}  // namespace rrn
