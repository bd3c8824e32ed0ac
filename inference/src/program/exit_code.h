// The process's exit codes; they are part of the interface and listed in --help.
#ifndef RRN_PROGRAM_EXIT_CODE_H_
#define RRN_PROGRAM_EXIT_CODE_H_

namespace rrn {

enum ExitCode : int {
  kDone = 0,
  kNotSimilar = 1,
  kUsage = 2,
  kNothingReadable = 3,
  kRuntimeError = 4,
};

// What shells report for a program that a signal ended: 130 for Ctrl-C.
inline constexpr int kSignalBase = 128;

}  // namespace rrn

#endif  // RRN_PROGRAM_EXIT_CODE_H_
