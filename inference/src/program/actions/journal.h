// The journal of --move-to and --hardlink: what is done to files, written down before it is done.
//
// One JSON object a line, of strings and whole numbers only. Paths are absolute; bytes that are not UTF-8 are written
// as JsonString does. A line that is not complete, because the machine stopped while it was written, was not acted on.
#ifndef RRN_PROGRAM_ACTIONS_JOURNAL_H_
#define RRN_PROGRAM_ACTIONS_JOURNAL_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "rrn/status.h"

namespace rrn {

struct JournalLine {
  std::map<std::string, std::string> texts;
  std::map<std::string, std::int64_t> numbers;

  // Empty, or nothing, where there is no such name.
  std::string text(const std::string& name) const;
  std::optional<std::int64_t> number(const std::string& name) const;
};

// The line with its line break, numbers first, both in the order of their names.
std::string FormatLine(const JournalLine& line);

// Reads one line, without its line break. Empty if it is no such object.
std::optional<JournalLine> ParseLine(const std::string& text);

// Not thread-safe.
class Journal {
 public:
  // Makes `folder`/rrn-journal-TIME.jsonl (UTC), with a number where that name is taken. Errors: kRuntime.
  static Result<Journal> Create(const std::string& folder);

  // Opens a journal to add to it; an incomplete last line is ended first. Errors: kRuntime.
  static Result<Journal> Append(const std::string& path);

  // The lines of a journal; an incomplete last one is left out, and an empty file has none. Errors: kNotFound,
  // kUnreadable, kCorrupt (no journal, or a damaged one, naming the line).
  static Result<std::vector<JournalLine>> Read(const std::string& path);

  const std::string& path() const { return path_; }

  // Returns when the line is on the disk. Errors: kRuntime.
  Status Write(const JournalLine& line);

 private:
  Journal(std::string path, Descriptor file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  Descriptor file_;
};

}  // namespace rrn

#endif  // RRN_PROGRAM_ACTIONS_JOURNAL_H_
