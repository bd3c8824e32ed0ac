#include "program/flags/generate.h"

#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace rrn {
namespace {

struct Generator {
  const char* name;
  std::string (*make)(const Caller& caller);
  bool one_word;  // the program's name has to be
};

constexpr std::array<Generator, 5> kGenerators = {{
    {"man", ManualPage, false},
    {"complete-bash", BashCompletion, true},
    {"complete-zsh", ZshCompletion, true},
    {"complete-fish", FishCompletion, true},
    {"json", FlagsJson, false},
}};

}  // namespace

std::vector<std::string> GeneratedNames() {
  std::vector<std::string> names;
  names.reserve(kGenerators.size());
  for (const Generator& generator : kGenerators) names.emplace_back(generator.name);
  return names;
}

Result<std::string> Generate(const Caller& caller, const std::string& name) {
  for (const Generator& generator : kGenerators) {
    if (name != generator.name) continue;
    if (generator.one_word && caller.program.find(' ') != std::string::npos) {
      return Status(StatusCode::kInvalidArgument,
                    "--generate " + name + " is for the program similarity, not for '" + caller.program + "'");
    }
    return generator.make(caller);
  }
  return Status(StatusCode::kInvalidArgument, "--generate: nothing is called '" + name + "'");
}

namespace internal {

std::vector<FlagGroup> OfferedFlags(const Caller& caller) {
  std::vector<FlagGroup> offered;
  for (const FlagGroup& group : FlagTable()) {
    FlagGroup part = {group.title, {}};
    for (const Flag& flag : group.flags) {
      if (flag.shown() && !(caller.verb == Verb::kCompare && flag.folder_only())) part.flags.push_back(flag);
    }
    if (!part.flags.empty()) offered.push_back(std::move(part));
  }
  return offered;
}

std::string ValuesText(const Flag& flag) {
  std::string values;
  for (const std::string& choice : flag.choices()) values += (values.empty() ? "Values: " : ", ") + choice;
  if (!flag.RangeText().empty()) values = "Values: " + flag.RangeText();
  const std::string value = flag.DefaultText();
  if (value.empty()) return values;
  return values.empty() ? "Default: " + value : values + "; default: " + value;
}

std::string HelpOf(const Flag& flag, const std::string& spelling) {
  const std::string shown = flag.Usage();
  if (flag.negation().empty() || shown == spelling) return flag.help();
  return "the opposite of " + shown;
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace internal
}  // namespace rrn
