// What is made from the table of flags.
#ifndef RRN_PROGRAM_FLAGS_GENERATE_H_
#define RRN_PROGRAM_FLAGS_GENERATE_H_

#include <string>
#include <vector>

#include "program/flags/about.h"
#include "program/flags/flag.h"
#include "rrn/status.h"

namespace rrn {

// -h: a line for each flag. --help: all there is to say. Lines of 80 characters at most, where the caller's name is
// short.
std::string ShortHelp(const Caller& caller);
std::string LongHelp(const Caller& caller);

// For man: roff. The same bytes every time.
std::string ManualPage(const Caller& caller);

// Completion scripts for a program, whose name is one word.
std::string BashCompletion(const Caller& caller);
std::string ZshCompletion(const Caller& caller);
std::string FishCompletion(const Caller& caller);

// For programs: {"program", "flags": [{"name", "type", "default", ...}]}, described in python/docs/pages/formats.md.
// Old forms of flags are in it, too.
std::string FlagsJson(const Caller& caller);

// The values of --generate.
std::vector<std::string> GeneratedNames();

// One of them. Errors: kInvalidArgument (another name, or a completion for a name of two words).
Result<std::string> Generate(const Caller& caller, const std::string& name);

namespace internal {

// The flags that a caller offers; groups without any are left out.
std::vector<FlagGroup> OfferedFlags(const Caller& caller);

// What a flag takes and its default, as "Values: exact, approximate; default: exact"; empty if there is nothing to say.
std::string ValuesText(const Flag& flag);

// A flag's few words, for one of its spellings: the one that --help does not show is the opposite.
std::string HelpOf(const Flag& flag, const std::string& spelling);

// `text` with `from` replaced by `to` everywhere.
std::string Replaced(std::string text, const std::string& from, const std::string& to);

}  // namespace internal

}  // namespace rrn

#endif  // RRN_PROGRAM_FLAGS_GENERATE_H_
