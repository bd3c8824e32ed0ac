#include "program/actions/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/text.h"
#include "program/actions/files.h"
#include "rrn/similarity.h"

namespace rrn {
namespace {

// Reads what FormatLine writes; every function returns false for anything else.
class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text) {}

  bool Object(JournalLine* line) {
    if (!Take('{')) return false;
    if (Take('}')) return AtEnd();
    do {
      std::string name;
      if (!String(&name) || !Take(':')) return false;
      if (at_ < text_.size() && text_[at_] == '"') {
        if (!String(&line->texts[name])) return false;
      } else if (!Number(&line->numbers[name])) {
        return false;
      }
    } while (Take(','));
    return Take('}') && AtEnd();
  }

 private:
  bool AtEnd() const { return at_ == text_.size(); }

  bool Take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool Number(std::int64_t* value) {
    const char* begin = text_.data() + at_;
    const auto result = std::from_chars(begin, text_.data() + text_.size(), *value);
    at_ += static_cast<std::size_t>(result.ptr - begin);
    return result.ec == std::errc();
  }

  bool String(std::string* value) {
    if (!Take('"')) return false;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return true;
      if (c != '\\') {
        *value += c;
      } else if (!Escape(value)) {
        return false;
      }
    }
    return false;
  }

  // A control character, or \udcXX for a byte that is not UTF-8.
  bool Escape(std::string* value) {
    if (at_ >= text_.size()) return false;
    const char c = text_[at_++];
    if (c == '"' || c == '\\') {
      *value += c;
      return true;
    }
    constexpr std::size_t kDigits = 4;
    unsigned code = 0;
    if (c != 'u' || at_ + kDigits > text_.size()) return false;
    const char* begin = text_.data() + at_;
    const auto result = std::from_chars(begin, begin + kDigits, code, 16);
    if (result.ec != std::errc() || result.ptr != begin + kDigits) return false;
    at_ += kDigits;
    if (code >= 0xdc80 && code <= 0xdcff) code -= 0xdc00;
    if (code > 0xff) return false;
    *value += static_cast<char>(code);
    return true;
  }

  const std::string& text_;
  std::size_t at_ = 0;
};

// `error`: of the system.
Status CannotWrite(const std::string& path, const Status& error) {
  return {StatusCode::kRuntime, path + ": cannot write the journal: " + error.message()};
}

Status WriteAndSync(int file, const std::string& path, const std::string& text) {
  Status status = WriteAll(file, text.data(), text.size());
  if (status.ok() && fsync(file) != 0) status = SystemError(errno);
  return status.ok() ? status : CannotWrite(path, status);
}

std::string Now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  std::array<char, 32> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts)};
}

}  // namespace

std::string JournalLine::text(const std::string& name) const {
  const auto found = texts.find(name);
  return found == texts.end() ? "" : found->second;
}

std::optional<std::int64_t> JournalLine::number(const std::string& name) const {
  const auto found = numbers.find(name);
  if (found == numbers.end()) return {};
  return found->second;
}

std::string FormatLine(const JournalLine& line) {
  std::string text = "{";
  const auto begin = [&](const std::string& name) {
    if (text.size() > 1) text += ',';
    text += JsonString(name) + ":";
  };
  for (const auto& [name, value] : line.numbers) {
    begin(name);
    text += std::to_string(value);
  }
  for (const auto& [name, value] : line.texts) {
    begin(name);
    text += JsonString(value);
  }
  return text + "}\n";
}

std::optional<JournalLine> ParseLine(const std::string& text) {
  JournalLine line;
  if (!Parser(text).Object(&line)) return {};
  return line;
}

Result<Journal> Journal::Create(const std::string& folder) {
  const std::string stem = folder + (folder.back() == '/' ? "" : "/") + "rrn-journal-" + Now();
  for (int number = 0;; ++number) {
    const std::string path = stem + (number == 0 ? "" : "-" + std::to_string(number)) + ".jsonl";
    Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644));
    if (file.value() >= 0) {
      SyncFolder(folder);
      return Journal(path, std::move(file));
    }
    if (errno != EEXIST) return CannotWrite(path, SystemError(errno));
  }
}

Result<Journal> Journal::Append(const std::string& path) {
  Descriptor descriptor(open(path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC));
  const int file = descriptor.value();
  if (file < 0) return CannotWrite(path, SystemError(errno));
  Journal journal(path, std::move(descriptor));
  char last = '\n';
  const off_t size = lseek(file, 0, SEEK_END);
  if (size > 0 && pread(file, &last, 1, size - 1) != 1) return CannotWrite(path, SystemError(errno));
  // Ends an incomplete line as one that Read knows to leave out.
  if (last == '\n') return journal;
  Status status = WriteAndSync(file, path, "#\n");
  if (!status.ok()) return status;
  return journal;
}

Result<std::vector<JournalLine>> Journal::Read(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    const int error = errno;
    return Status(error == ENOENT ? StatusCode::kNotFound : StatusCode::kUnreadable, path + ": " + ErrorText(error));
  }
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (stream.bad()) return Status(StatusCode::kUnreadable, path + ": cannot be read");
  std::vector<JournalLine> lines;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    const std::string one = text.substr(begin, end - begin);
    begin = end + 1;
    if (!one.empty() && one.back() == '#') continue;
    std::optional<JournalLine> line = ParseLine(one);
    if (!line || (lines.empty() && !line->number("rrn_journal"))) {
      return Status(StatusCode::kCorrupt, path + ": line " + std::to_string(number + 1) +
                                              (lines.empty() ? " does not begin a journal of rrn" : " is damaged"));
    }
    lines.push_back(*std::move(line));
  }
  // A run that was killed before its first line was written had done nothing.
  const std::string begin = "{\"rrn_journal\":";
  if (lines.empty() && text.compare(0, begin.size(), begin, 0, text.size()) == 0) return lines;
  if (lines.empty()) return Status(StatusCode::kCorrupt, path + ": not a journal of rrn");
  return lines;
}

Status Journal::Write(const JournalLine& line) { return WriteAndSync(file_.value(), path_, FormatLine(line)); }

}  // namespace rrn
