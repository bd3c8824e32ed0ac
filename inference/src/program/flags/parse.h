// Reading the words of a command line by the table of flags.
#ifndef RRN_PROGRAM_FLAGS_PARSE_H_
#define RRN_PROGRAM_FLAGS_PARSE_H_

#include <string>
#include <vector>

#include "program/flags/typed.h"
#include "rrn/status.h"

namespace rrn {

// Reads `words`, which come after the program's name.
//
// "--flag value" and "--flag=value" are the same; a value that begins with '-' needs the second form, except '-' itself
// and numbers. A flag that is given twice keeps its last value, except those that repeat. Words between flags are
// paths, and after "--" all words are. Reading ends at a question (--help, --version, --generate): it is answered
// whatever comes after it. Errors: kInvalidArgument, with one line that says what was expected, and for an unknown flag
// the nearest known one.
Result<Typed> ParseWords(const std::vector<std::string>& words);

}  // namespace rrn

#endif  // RRN_PROGRAM_FLAGS_PARSE_H_
