// A progress line on a terminal.
#ifndef RRN_PROGRAM_PROGRESS_LINE_H_
#define RRN_PROGRAM_PROGRESS_LINE_H_

#include <chrono>
#include <cstddef>
#include <string>

namespace rrn {

// "images  1200 / 5000   240/s   0:15 left", rewritten in place on standard error at most ten times a second. Silent
// when standard error is not a terminal. Not thread-safe.
class ProgressLine {
 public:
  explicit ProgressLine(bool wanted);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // A change of `phase` starts a new count.
  void Update(const char* phase, std::size_t done, std::size_t total);

  // Wipes the line, so that other output begins on a clean one.
  void Clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool enabled_;
  bool shown_ = false;
  std::string phase_;
  Clock::time_point start_;
  Clock::time_point last_;
  std::size_t first_ = 0;  // `done` at the start of the phase
};

}  // namespace rrn

#endif  // RRN_PROGRAM_PROGRESS_LINE_H_
