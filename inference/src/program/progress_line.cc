#include "program/progress_line.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>

namespace rrn {

ProgressLine::ProgressLine(bool wanted) : enabled_(wanted && isatty(STDERR_FILENO) != 0) {}

ProgressLine::~ProgressLine() { Clear(); }

void ProgressLine::Update(const char* phase, std::size_t done, std::size_t total) {
  if (!enabled_) return;
  const Clock::time_point now = Clock::now();
  if (phase_ != phase) {
    phase_ = phase;
    start_ = now;
    first_ = done;
    last_ = {};
  }
  if (now - last_ < std::chrono::milliseconds(100) && done < total) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  std::array<char, 64> pace = {};
  if (seconds > 0.2 && done > first_) {
    // What was done before the beginning, because it was known, took no time.
    const double rate = static_cast<double>(done - first_) / seconds;
    const auto left = std::lround(static_cast<double>(total - done) / rate);
    std::snprintf(pace.data(), pace.size(), "   %.0f/s   %ld:%02ld left", rate, left / 60, left % 60);
  }
  std::fprintf(stderr, "\r\033[K%s  %zu / %zu%s", phase, done, total, pace.data());
  std::fflush(stderr);
  shown_ = true;
}

void ProgressLine::Clear() {
  if (!shown_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace rrn
