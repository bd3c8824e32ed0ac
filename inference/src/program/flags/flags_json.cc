// The table of flags for programs.
#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "base/text.h"
#include "program/flags/about.h"
#include "program/flags/flag.h"
#include "program/flags/generate.h"

namespace rrn {
namespace {

const char* TypeName(const Flag& flag) {
  if (flag.repeats()) return "list";
  if (std::holds_alternative<bool Typed::*>(flag.target())) return "switch";
  if (std::holds_alternative<Question>(flag.target())) return "question";
  if (std::holds_alternative<float Typed::*>(flag.target())) return "number";
  return flag.is_number() ? "integer" : "text";
}

std::string TextOrNull(const std::string& text) { return text.empty() ? "null" : JsonString(text); }

std::string Choices(const Flag& flag) {
  if (flag.choices().empty()) return "null";
  std::string list = "[";
  for (const std::string& choice : flag.choices()) list += (list.size() > 1 ? "," : "") + JsonString(choice);
  return list + "]";
}

// The limits of whole numbers; 0 may be allowed besides.
std::string Bounds(const Flag& flag) {
  const bool whole = !flag.RangeText().empty();
  const bool open = flag.high() == std::numeric_limits<std::uint64_t>::max();
  return ",\"low\":" + (whole ? std::to_string(flag.low()) : "null") +
         ",\"high\":" + (whole && !open ? std::to_string(flag.high()) : "null") +
         ",\"or_zero\":" + (flag.or_zero() ? "true" : "false");
}

std::string FlagJson(const Flag& flag, const std::string& group) {
  const std::string letter = flag.letter() == 0 ? "" : std::string(1, flag.letter());
  return "{\"name\":" + JsonString(flag.name()) + ",\"letter\":" + TextOrNull(letter) +
         ",\"negation\":" + TextOrNull(flag.negation()) + ",\"type\":" + JsonString(TypeName(flag)) +
         ",\"default\":" + flag.DefaultJson() + ",\"value\":" + TextOrNull(flag.placeholder()) +
         ",\"choices\":" + Choices(flag) + Bounds(flag) + ",\"group\":" + JsonString(group) +
         ",\"folder_only\":" + (flag.folder_only() ? "true" : "false") +
         ",\"replaced_by\":" + TextOrNull(flag.instead()) + ",\"help\":" + JsonString(flag.help()) + "}";
}

}  // namespace

std::string FlagsJson(const Caller& caller) {
  std::string flags;
  for (const FlagGroup& group : FlagTable()) {
    for (const Flag& flag : group.flags) {
      if (caller.verb == Verb::kCompare && flag.folder_only()) continue;
      flags += (flags.empty() ? "\n" : ",\n") + FlagJson(flag, group.title);
    }
  }
  return "{\"program\":" + JsonString(caller.program) + ",\"flags\":[" + flags + "\n]}\n";
}

}  // namespace rrn
