#include <algorithm>
#include <cstdint>

#include "rrn/store.h"

namespace rrn {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kFine = 20'000'000;
constexpr std::int64_t kCoarse = 2 * kSecond;

}  // namespace

bool Unchanged(const StoredFile& stored, const StoredState& now) {
  const StoredState& then = stored.state;
  if (then.bytes != now.bytes || then.inode != now.inode || then.modified_ns != now.modified_ns ||
      then.changed_ns != now.changed_ns) {
    return false;
  }
  const bool whole_seconds = then.modified_ns % kSecond == 0 && then.changed_ns % kSecond == 0;
  const std::int64_t tolerance = whole_seconds ? kCoarse : kFine;
  const std::int64_t looked_at = stored.looked_at_ns;
  // Every change sets ctime to the clock, so one after the look gives another ctime, if the old one is old enough.
  if (then.changed_ns >= looked_at - tolerance) return false;
  // Some file systems keep no ctime. There mtime has to do, unless it was set to a time that is yet to come.
  return then.modified_ns < looked_at - tolerance || then.modified_ns > looked_at + tolerance;
}

}  // namespace rrn
