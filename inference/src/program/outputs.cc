#include "program/outputs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "base/files.h"

namespace rrn {

namespace fs = std::filesystem;

// A file that is written under a temporary name beside its own and moved there when it is complete: no reader ever sees
// half of it, and an interrupted run leaves the old one alone. Devices and pipes are written directly, and a symbolic
// link keeps pointing where it does.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path) : name_(path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    target_ = fs::is_symlink(fs::symlink_status(path, error)) ? fs::weakly_canonical(path, error).string() : path;
    if (fs::exists(status) && !fs::is_regular_file(status)) {
      stream_.open(path, std::ios::binary);
      return;
    }
    temporary_.emplace(target_, Temporary::Kind::kFile);
    if (temporary_->path().empty()) {
      stream_.setstate(std::ios::failbit);
      return;
    }
    // A temporary is readable by its owner alone; a new file should be as open as others are.
    const mode_t mask = umask(0);
    umask(mask);
    fs::permissions(temporary_->path(),
                    fs::exists(status) ? status.permissions() : static_cast<fs::perms>(0666 & ~mask), error);
    stream_.open(temporary_->path(), std::ios::binary | std::ios::trunc);
  }

  std::ostream& stream() { return stream_; }

  Status Commit() {
    stream_.close();
    const bool written = !stream_.fail() && (!temporary_ || temporary_->Move() == 0);
    return written ? Status() : Status(StatusCode::kRuntime, name_ + ": cannot write here");
  }

 private:
  std::string name_;
  std::string target_;
  std::optional<Temporary> temporary_;  // none where the target is written directly
  std::ofstream stream_;
};

namespace {

std::string NamesBeside(const std::string& npy) { return fs::path(npy).replace_extension(".txt").string(); }

// One line for every path: what would break the line is escaped.
std::string EscapedLine(const std::string& path) {
  std::string line;
  for (const char c : path) {
    if (c == '\n') {
      line += "\\n";
    } else if (c == '\r') {
      line += "\\r";
    } else if (c == '\\') {
      line += "\\\\";
    } else {
      line += c;
    }
  }
  return line;
}

Status WriteFile(const std::string& path, const std::function<void(std::ostream&)>& write) {
  OutputFile file(path);
  write(file.stream());
  return file.Commit();
}

}  // namespace

Outputs::Outputs(OutputOptions options) : options_(std::move(options)) {
  if (!options_.json.empty() && options_.json != "-") paths_.push_back(options_.json);
  if (!options_.pairs.empty()) paths_.push_back(options_.pairs);
  if (!options_.html.empty()) paths_.push_back(options_.html);
  if (!options_.embeddings.empty()) {
    paths_.push_back(options_.embeddings);
    paths_.push_back(NamesBeside(options_.embeddings));
  }
}

Outputs::~Outputs() = default;

Status Outputs::Check() const {
  if (!options_.embeddings.empty() && fs::path(options_.embeddings).extension() != ".npy") {
    return {StatusCode::kInvalidArgument,
            "--embeddings: expected a name that ends in .npy, got " + options_.embeddings};
  }
  for (const auto& [path, option] : {std::pair{options_.pairs, "--pairs"}, {options_.html, "--html"}}) {
    if (path == "-") {
      return {StatusCode::kInvalidArgument, std::string(option) + ": only --json can go to standard output"};
    }
  }
  std::set<std::string> places;
  for (const std::string& path : paths_) {
    std::error_code error;
    const fs::path place = fs::weakly_canonical(fs::absolute(path, error), error);
    if (!places.insert(error ? path : place.string()).second && (!fs::exists(path) || fs::is_regular_file(path))) {
      return {StatusCode::kInvalidArgument, path + ": two outputs have the same name"};
    }
  }
  for (const std::string& path : paths_) {
    std::error_code error;
    const fs::path folder = fs::path(path).has_parent_path() ? fs::path(path).parent_path() : fs::path(".");
    const bool exists = fs::exists(path, error);
    if (fs::is_directory(path, error) || access(exists ? path.c_str() : folder.c_str(), W_OK) != 0) {
      return {StatusCode::kRuntime, path + ": cannot write here"};
    }
  }
  return {};
}

OutputFile& Outputs::Pairs() {
  if (pairs_ == nullptr) {
    pairs_ = std::make_unique<OutputFile>(options_.pairs);
    pairs_->stream() << "first,second,similarity\n";
  }
  return *pairs_;
}

PathPairSink Outputs::PairSink() {
  if (options_.pairs.empty()) return {};
  return [this](const std::string& first, const std::string& second, float similarity) {
    if (pairs_seen_++ < options_.max_pairs) WritePairCsv(first, second, similarity, Pairs().stream());
    return true;
  };
}

std::string Outputs::Missing() const {
  if (pairs_seen_ <= options_.max_pairs) return "";
  return options_.pairs + " holds the first " + std::to_string(options_.max_pairs) + " of " +
         std::to_string(pairs_seen_) + " similar pairs (--max-pairs)";
}

Status Outputs::Write(const SimilarityResult& result, const HtmlPage* page) {
  Status status;
  const auto write = [&status](const std::string& path, const std::function<void(std::ostream&)>& content) {
    if (status.ok() && !path.empty()) status = WriteFile(path, content);
  };
  if (options_.json != "-") {
    write(options_.json, [&](std::ostream& out) { WriteJson(result, out); });
  }
  if (status.ok() && !options_.pairs.empty()) status = Pairs().Commit();
  if (page != nullptr) write(options_.html, [&](std::ostream& out) { WriteHtmlPage(*page, out); });
  write(options_.embeddings, [&](std::ostream& out) {
    WriteNpy(result.embeddings.data(), result.paths.size(), static_cast<std::size_t>(result.model.dim), out);
  });
  write(options_.embeddings.empty() ? "" : NamesBeside(options_.embeddings), [&](std::ostream& out) {
    for (const std::string& path : result.paths) out << EscapedLine(path) << '\n';
  });
  if (!status.ok()) return status;

  if (options_.json == "-") {
    WriteJson(result, std::cout);
  } else if (!options_.quiet) {
    WriteText(result, std::cout);
  }
  std::cout.flush();
  return std::cout ? Status() : Status(StatusCode::kRuntime, "standard output: cannot write here");
}

}  // namespace rrn
