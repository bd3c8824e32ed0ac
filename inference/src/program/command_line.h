// The command line around FindSimilar: ./build/similarity, and `rrn find` and `rrn compare` of the Python package.
#ifndef RRN_PROGRAM_COMMAND_LINE_H_
#define RRN_PROGRAM_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "program/flags/about.h"

namespace rrn {

// What depends on who is called.
struct CommandLineDefaults {
  Caller caller;           // for messages and --help
  std::string model;       // empty: the one beside the executable
  std::string op_library;  // empty: the one beside the executable
};

// Parses `words` (without the program's name), does the job, and prints to standard output and standard error.
// Handles SIGINT, SIGTERM and SIGHUP from then on, for the whole process; throws nothing. Not thread-safe.
// Returns: the process's exit code, as listed by --help.
int RunCommandLine(const CommandLineDefaults& defaults, const std::vector<std::string>& words);

}  // namespace rrn

#endif  // RRN_PROGRAM_COMMAND_LINE_H_
