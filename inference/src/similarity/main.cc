// ./build/similarity: the command line around FindSimilar.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/similarity.h"
#include "rrn/version.h"
#include "similarity/progress_line.h"

namespace {

// The process's exit codes; they are part of the interface and listed in --help.
enum ExitCode : int {
  kDone = 0,
  kNotSimilar = 1,
  kUsage = 2,
  kNothingReadable = 3,
  kRuntimeError = 4,
  kInterrupted = 130,
};

constexpr const char* kDescription =
    "Finds the similar images of a folder and counts the unique ones, or compares two images.\n\n"
    "Two images are similar when the cosine of their embeddings is above the threshold. A group is a\n"
    "representative and images similar to it; nothing is chained through third images. The image with the most\n"
    "similar ones becomes a representative first (ties: path order); every other image joins the representative\n"
    "it is most similar to.";

constexpr const char* kFooter =
    "Examples:\n"
    "  similarity photos                        groups and totals, for reading\n"
    "  similarity photos --json result.json     the same for programs ('-' is standard output)\n"
    "  similarity a.jpg b.jpg                   one similarity; exit code 0 if similar, 1 if not\n\n"
    "Exit codes: 0 done, 1 not similar (two files), 2 wrong usage, 3 nothing readable, 4 model, runtime or\n"
    "output failed, 130 interrupted.";

// Set by Ctrl-C; a signal handler can reach nothing but a global.
volatile std::sig_atomic_t g_interrupted = 0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

void OnSignal(int /*signal*/) { g_interrupted = 1; }

struct Arguments {
  std::vector<std::string> paths;
  rrn::EmbedderOptions embedder;
  rrn::SimilarityOptions similarity;
  std::uint64_t max_megapixels = 200;
  std::string json;
  std::string pairs;
  std::string embeddings;
  bool quiet = false;
};

void Declare(CLI::App* app, Arguments* a) {
  app->add_option("paths", a->paths, "A folder of images, or two image files")->required()->expected(1, 2);
  app->add_option("--threshold", a->similarity.threshold, "Similar is: cosine above this (-1 <= t < 1)")
      ->capture_default_str();
  app->add_option("--model", a->embedder.model, "ONNX model file (default: the model that comes with the program)");
  app->add_option("--op-library", a->embedder.op_library,
                  "libreduction_op.so (default: the one beside the program; models exported by rrn run without, too)");
  app->add_option("--size", a->embedder.size, "Images are resized to size x size pixels (default: the model's, 224)");
  app->add_option("--batch", a->embedder.batch, "Images per inference call; does not change results")
      ->capture_default_str();
  app->add_option("--threads", a->embedder.threads, "Worker threads, 0: one for each core; does not change results")
      ->capture_default_str();
  app->add_option("--provider", a->embedder.provider, "ONNX Runtime execution provider: cpu or cuda")
      ->capture_default_str();
  app->add_option("--max-megapixels", a->max_megapixels, "Larger images are skipped, not decoded")
      ->capture_default_str();
  app->add_flag("--recursive,!--no-recursive", a->similarity.recursive, "Also look into sub-folders (default: yes)");
  app->add_option("--json", a->json, "Write the result as JSON to this file; '-' for standard output, instead of text");
  app->add_option("--pairs", a->pairs, "Write all similar pairs to this CSV file (first,second,similarity)");
  app->add_option(
      "--embeddings", a->embeddings,
      "Write the embeddings to this .npy file (float32 [n, dim]) and their paths to the .txt file beside it");
  app->add_flag("--quiet", a->quiet, "No text and no progress line; errors are still shown");
  app->set_version_flag(
      "--version", std::string("similarity (rrn) ") + rrn::Version() + ", ONNX Runtime " + rrn::OnnxRuntimeVersion());
}

int Fail(ExitCode code, const std::string& message) {
  std::cerr << "similarity: " << message << '\n';
  return code;
}

int Fail(const rrn::Status& status) {
  switch (status.code()) {
    case rrn::StatusCode::kCancelled:
      return Fail(kInterrupted, "interrupted");
    case rrn::StatusCode::kInvalidArgument:
    case rrn::StatusCode::kNotFound:
      return Fail(kUsage, status.message());
    case rrn::StatusCode::kUnreadable:
      return Fail(kNothingReadable, status.message());
    default:
      return Fail(kRuntimeError, status.message());
  }
}

// A file that is written beside its final name and moved there when it is complete, so that nobody ever reads half of
// it, and an interrupted run leaves the old one alone.
class OutputFile {
 public:
  explicit OutputFile(std::string path) : path_(std::move(path)), partial_(path_ + ".partial") {}
  ~OutputFile() {
    std::error_code ignored;
    if (opened_) std::filesystem::remove(partial_, ignored);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  bool Open() {
    stream_.open(partial_, std::ios::binary | std::ios::trunc);
    opened_ = stream_.is_open();
    return opened_;
  }
  std::ostream& stream() { return stream_; }
  bool Commit() {
    stream_.close();
    std::error_code error;
    if (!stream_.fail()) std::filesystem::rename(partial_, path_, error);
    if (stream_.fail() || error) return false;
    opened_ = false;
    return true;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::string partial_;
  std::ofstream stream_;
  bool opened_ = false;
};

std::string NamesBeside(const std::string& npy) {
  return std::filesystem::path(npy).replace_extension(".txt").string();
}

int Compare(const rrn::Embedder& embedder, const Arguments& arguments) {
  const rrn::Result<float> similarity = rrn::CompareFiles(embedder, arguments.paths[0], arguments.paths[1]);
  if (!similarity.ok()) return Fail(similarity.status());
  const bool similar = *similarity > arguments.similarity.threshold;
  if (!arguments.quiet) std::printf("%.6f %s\n", static_cast<double>(*similarity), similar ? "similar" : "not similar");
  return similar ? kDone : kNotSimilar;
}

// All outputs that were asked for. They are opened before the work begins: a wrong path should not cost an hour.
class Outputs {
 public:
  explicit Outputs(const Arguments& arguments) : arguments_(arguments) {
    if (!arguments.json.empty() && arguments.json != "-") json_ = Add(arguments.json);
    if (!arguments.pairs.empty()) pairs_ = Add(arguments.pairs);
    if (!arguments.embeddings.empty()) {
      embeddings_ = Add(arguments.embeddings);
      names_ = Add(NamesBeside(arguments.embeddings));
    }
  }

  // The path that cannot be written, or empty.
  std::string Open() {
    for (const auto& file : files_) {
      if (!file->Open()) return file->path();
    }
    if (pairs_ != nullptr) pairs_->stream() << "first,second,similarity\n";
    return "";
  }

  rrn::PathPairSink PairSink() {
    if (pairs_ == nullptr) return {};
    return [this](const std::string& first, const std::string& second, float similarity) {
      rrn::WritePairCsv(first, second, similarity, pairs_->stream());
      return true;
    };
  }

  // The path that could not be written, or empty.
  std::string Write(const rrn::SimilarityReport& report) {
    if (json_ != nullptr) rrn::WriteJson(report, json_->stream());
    if (embeddings_ != nullptr) {
      rrn::WriteNpy(report.embeddings.data(), report.paths.size(), static_cast<std::size_t>(report.model.dim),
                    embeddings_->stream());
      for (const std::string& path : report.paths) names_->stream() << path << '\n';
    }
    for (const auto& file : files_) {
      if (!file->Commit()) return file->path();
    }
    if (arguments_.json == "-") {
      rrn::WriteJson(report, std::cout);
    } else if (!arguments_.quiet) {
      rrn::WriteText(report, std::cout);
    }
    std::cout.flush();
    return std::cout ? "" : "standard output";
  }

 private:
  OutputFile* Add(const std::string& path) {
    files_.push_back(std::make_unique<OutputFile>(path));
    return files_.back().get();
  }

  const Arguments& arguments_;
  std::vector<std::unique_ptr<OutputFile>> files_;
  OutputFile* json_ = nullptr;
  OutputFile* pairs_ = nullptr;
  OutputFile* embeddings_ = nullptr;
  OutputFile* names_ = nullptr;
};

int Find(const rrn::Embedder& embedder, const Arguments& arguments) {
  Outputs outputs(arguments);
  const std::string blocked = outputs.Open();
  if (!blocked.empty()) return Fail(kRuntimeError, blocked + ": cannot write here");

  rrn::ProgressLine line(!arguments.quiet);
  const auto progress = [&line](const char* phase, std::size_t done, std::size_t total) {
    line.Update(phase, done, total);
    return g_interrupted == 0;
  };
  rrn::Result<rrn::SimilarityReport> report =
      rrn::FindSimilar(embedder, arguments.paths[0], arguments.similarity, progress, outputs.PairSink());
  line.Clear();
  if (!report.ok()) return Fail(report.status());
  const std::string failed = outputs.Write(*report);
  if (!failed.empty()) return Fail(kRuntimeError, failed + ": writing failed");
  if (report->paths.empty()) {
    return Fail(kNothingReadable, arguments.paths[0] + ": no readable image among " + std::to_string(report->files()) +
                                      (report->files() == 1 ? " file" : " files"));
  }
  return kDone;
}

int Run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(kDescription, "similarity");
  app.footer(kFooter);
  Declare(&app, &arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help and --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return Fail(kUsage, std::string(error.what()) + " (see similarity --help)");
  }
  arguments.embedder.decode.max_pixels = arguments.max_megapixels * 1'000'000;
  arguments.similarity.threads = arguments.embedder.threads;
  if (!(arguments.similarity.threshold >= -1.0F && arguments.similarity.threshold < 1.0F)) {
    return Fail(kUsage, "--threshold: expected -1 <= threshold < 1; a cosine is never above 1, use 0.9999 for copies");
  }
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);

  for (const std::string& path : arguments.paths) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return Fail(kUsage, path + ": no such file or folder");
  }
  const rrn::Result<rrn::Embedder> embedder = rrn::Embedder::Create(arguments.embedder);
  if (!embedder.ok()) {
    const bool usage = embedder.status().code() == rrn::StatusCode::kInvalidArgument;
    return Fail(usage ? kUsage : kRuntimeError, embedder.status().message());
  }
  return arguments.paths.size() == 2 ? Compare(*embedder, arguments) : Find(*embedder, arguments);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {
    return Fail(kRuntimeError, error.what());
  }
}
