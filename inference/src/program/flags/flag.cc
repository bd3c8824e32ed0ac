#include "program/flags/flag.h"

#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "base/text.h"

namespace rrn {
namespace {

// A default as text; JSON differs from it only in what is quoted.
struct Shower {
  const Typed& typed;

  std::string operator()(bool Typed::*member) const { return typed.*member ? "true" : "false"; }
  std::string operator()(int Typed::*member) const { return std::to_string(typed.*member); }
  std::string operator()(std::uint64_t Typed::*member) const { return std::to_string(typed.*member); }
  std::string operator()(float Typed::*member) const { return ShortestText(typed.*member); }
  std::string operator()(std::string Typed::*member) const { return typed.*member; }
  std::string operator()(std::vector<std::string> Typed::* /*member*/) const { return ""; }
  std::string operator()(Question /*question*/) const { return ""; }
};

bool IsSwitch(const Flag& flag) { return std::holds_alternative<bool Typed::*>(flag.target()); }

}  // namespace

bool Flag::is_number() const {
  return std::holds_alternative<int Typed::*>(target_) || std::holds_alternative<std::uint64_t Typed::*>(target_) ||
         std::holds_alternative<float Typed::*>(target_);
}

std::string Flag::DefaultText() const {
  if (!default_.empty()) return default_;
  return takes_value() ? std::visit(Shower{Typed()}, target_) : "";
}

std::string Flag::DefaultJson() const {
  const std::string text = std::visit(Shower{Typed()}, target_);
  if (repeats()) return "[]";
  if (text.empty()) return "null";
  return IsSwitch(*this) || is_number() ? text : JsonString(text);
}

std::string Flag::RangeText() const {
  if (!is_number() || std::holds_alternative<float Typed::*>(target_)) return "";
  const std::string zero = or_zero_ ? ", or 0" : "";
  if (high_ == std::numeric_limits<std::uint64_t>::max()) return std::to_string(low_) + " or more" + zero;
  return std::to_string(low_) + " ... " + std::to_string(high_) + zero;
}

std::vector<std::string> Flag::Spellings() const {
  std::vector<std::string> spellings;
  if (letter_ != 0) spellings.push_back({'-', letter_});
  spellings.push_back("--" + name_);
  if (!negation_.empty()) spellings.push_back("--" + negation_);
  return spellings;
}

std::string Flag::Usage() const {
  if (!negation_.empty() && DefaultJson() == "true") return "--" + negation_;
  std::string usage = letter_ == 0 ? "" : std::string("-") + letter_ + ", ";
  usage += "--" + name_;
  return takes_value() ? usage + " " + placeholder_ : usage;
}

}  // namespace rrn
