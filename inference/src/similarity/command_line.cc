#include "similarity/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/similarity.h"
#include "rrn/version.h"
#include "similarity/html_page.h"
#include "similarity/outputs.h"
#include "similarity/progress_line.h"

namespace rrn {
namespace {

// The process's exit codes; they are part of the interface and listed in --help.
enum ExitCode : int {
  kDone = 0,
  kNotSimilar = 1,
  kUsage = 2,
  kNothingReadable = 3,
  kRuntimeError = 4,
};

// What shells report for a program that a signal ended: 130 for Ctrl-C.
constexpr int kSignalBase = 128;

constexpr const char* kDescription =
    "Finds the similar images of a folder and counts the unique ones, or compares two images.\n\n"
    "Two images are similar when the cosine of their embeddings is above the threshold. A group is a\n"
    "representative and images similar to it; nothing is chained through third images. The image with the most\n"
    "similar ones becomes a representative first (ties: path order); every other image joins the representative\n"
    "it is most similar to.";

constexpr const char* kExamples =
    "Examples:\n"
    "  PROGRAM photos                        groups and totals, for reading\n"
    "  PROGRAM photos --json result.json     the same for programs ('-' is standard output)\n"
    "  PROGRAM photos --html result.html     the same with thumbnails and a slider, for the browser\n"
    "  PROGRAM a.jpg b.jpg                   one similarity; exit code 0 if similar, 1 if not\n\n"
    "Exit codes: 0 done, 1 not similar (two files), 2 wrong usage, 3 nothing readable, 4 model, runtime or\n"
    "output failed, 130 interrupted (Ctrl-C).";

// The signal that asked to stop; a handler can reach nothing but a global.
volatile std::sig_atomic_t g_signal = 0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

// The first one ends the work in good order, a second one at once.
void OnSignal(int signal) {
  g_signal = signal;
  std::signal(signal, SIG_DFL);
}

struct Arguments {
  std::string program;
  std::vector<std::string> paths;
  EmbedderOptions embedder;
  SimilarityOptions similarity;
  std::uint64_t max_megapixels = 200;
  HtmlPageOptions page;
  OutputOptions outputs;
  std::string search = "exact";
};

void Declare(CLI::App* app, Arguments* a) {
  app->add_option("paths", a->paths, "A folder of images, or two image files")
      ->required()
      ->expected(1, 2)
      ->type_name("FOLDER | IMAGE IMAGE");
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
  app->add_option("--provider", a->embedder.provider,
                  "Who computes: auto, cpu, openvino, cuda or tensorrt; auto takes the best one here for the precision")
      ->capture_default_str();
  app->add_option(
         "--precision", a->embedder.precision,
         "auto, fp32, fp16, bf16 or int8; auto is fp32, except bf16 with --provider openvino on a CPU that has "
         "it. bf16 and int8 are faster and move similarities a little; int8 needs MODEL.int8.onnx")
      ->capture_default_str();
  app->add_flag("!--no-cache", a->embedder.cache, "Do not keep compiled models for the next start in ~/.cache/rrn");
  app->add_option("--max-megapixels", a->max_megapixels, "Larger images are skipped, not decoded")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000}))
      ->capture_default_str();
  app->add_flag("--full-decode", a->embedder.full_decode,
                "Decode large JPEG and WebP files at full size instead of a fraction of it: slower, hardly different");
  app->add_flag("--recursive,!--no-recursive", a->similarity.recursive, "Also look into sub-folders (default: yes)");
  app->add_option("--json", a->outputs.json,
                  "Write the result as JSON to this file; '-' for standard output, instead of text");
  app->add_option("--pairs", a->outputs.pairs, "Write the similar pairs to this CSV file (first,second,similarity)");
  app->add_option("--max-pairs", a->outputs.max_pairs,
                  "Lines of that file at most; the counts are always of all pairs, and what is missing is said")
      ->check(CLI::Range(std::uint64_t{1}, std::numeric_limits<std::uint64_t>::max()))
      ->capture_default_str();
  app->add_option("--html", a->outputs.html,
                  "Write a page for the browser to this file: groups with thumbnails, for any threshold from 0.5 up");
  app->add_option("--html-pairs", a->page.max_pairs,
                  "Pairs that the page may carry; with more, its lowest threshold is higher, and it says so")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{10'000'000}))
      ->capture_default_str();
  app->add_option("--search", a->search,
                  "exact, or approximate for millions of images: misses some pairs and says how many (of a sample)")
      ->check(CLI::IsMember({"exact", "approximate"}))
      ->capture_default_str();
  app->add_option("--search-neighbours", a->similarity.approximate.neighbours,
                  "Approximate search: similar images that are looked for from each image (1 ... 10000)")
      ->capture_default_str();
  app->add_option("--search-effort", a->similarity.approximate.effort,
                  "Approximate search: more is slower and misses less (1 ... 10000)")
      ->capture_default_str();
  app->add_option(
      "--embeddings", a->outputs.embeddings,
      "Write the embeddings to this .npy file (float32 [n, dim]), and their paths to the .txt file beside it, a line "
      "each (\\n, \\r and \\\\ for line breaks and backslashes in names)");
  app->add_flag("--quiet", a->outputs.quiet, "No text and no progress line; errors are still shown");
  app->set_version_flag("--version",
                        app->get_name() + " (rrn) " + Version() + ", ONNX Runtime " + OnnxRuntimeVersion());
}

// CLI11 would take "" for "option not given", or for 0.
void RefuseEmptyValues(CLI::App* app) {
  const CLI::Validator not_empty(
      [](const std::string& value) { return value.empty() ? std::string("expected a value, got an empty one") : ""; },
      "");
  for (CLI::Option* option : app->get_options([](const CLI::Option* o) { return o->get_expected_min() > 0; })) {
    option->check(not_empty);
  }
}

// `text` with the program's name in it.
std::string Naming(const std::string& program, std::string text) {
  const std::string placeholder = "PROGRAM";
  for (std::size_t at = 0; (at = text.find(placeholder, at)) != std::string::npos; at += program.size()) {
    text.replace(at, placeholder.size(), program);
  }
  return text;
}

// CLI11's own usage line cannot show two forms.
class TwoForms : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* app, std::string /*name*/) const override {
    return Naming(app->get_name(), "Usage: PROGRAM [OPTIONS] FOLDER\n       PROGRAM [OPTIONS] IMAGE IMAGE\n");
  }
};

int Fail(const Arguments& arguments, int code, const std::string& message) {
  std::cerr << arguments.program << ": " << message << '\n';
  return code;
}

int Fail(const Arguments& arguments, const Status& status) {
  switch (status.code()) {
    case StatusCode::kCancelled:
      return Fail(arguments, kSignalBase + static_cast<int>(g_signal), "interrupted");
    case StatusCode::kInvalidArgument:
    case StatusCode::kNotFound:
      return Fail(arguments, kUsage, status.message());
    case StatusCode::kUnreadable:
      return Fail(arguments, kNothingReadable, status.message());
    default:
      return Fail(arguments, kRuntimeError, status.message());
  }
}

int Compare(const Embedder& embedder, const Arguments& arguments) {
  const Result<float> similarity =
      CompareFiles(embedder, arguments.paths[0], arguments.paths[1],
                   [](std::size_t /*done*/, std::size_t /*total*/) { return g_signal == 0; });
  if (!similarity.ok()) return Fail(arguments, similarity.status());
  const bool similar = *similarity > arguments.similarity.threshold;
  if (!arguments.outputs.quiet) {
    std::printf("%.6f %s\n", static_cast<double>(*similarity), similar ? "similar" : "not similar");
  }
  if (std::fflush(stdout) != 0) return Fail(arguments, kRuntimeError, "standard output: cannot write here");
  return similar ? kDone : kNotSimilar;
}

// The sign of a model whose cosine has another scale than the threshold.
bool MostPairsAreSimilar(const SimilarityReport& report) {
  const std::size_t images = report.paths.size();
  const auto& similar = report.grouping.similar;
  // Every pair is counted at both of its images.
  const auto twice = std::accumulate(similar.begin(), similar.end(), std::uint64_t{0});
  return 2 * twice > images * (images - 1) && images > 1;
}

int Find(const Embedder& embedder, const Arguments& arguments) {
  Outputs outputs(arguments.outputs);
  // Before the work begins: a wrong path should not cost an hour.
  Status status = outputs.Check();
  if (!status.ok()) return Fail(arguments, status);

  ProgressLine line(!arguments.outputs.quiet);
  const auto progress = [&line](const char* phase, std::size_t done, std::size_t total) {
    line.Update(phase, done, total);
    return g_signal == 0;
  };
  SimilarityOptions options = arguments.similarity;
  bool told = false;
  if (!arguments.outputs.quiet) {
    options.notice = [&](const std::string& text) {
      line.Clear();
      std::cerr << arguments.program << ": warning: " << text << '\n';
      told = true;
    };
  }
  Result<SimilarityReport> report = FindSimilar(embedder, arguments.paths[0], options, progress, outputs.PairSink());
  line.Clear();
  if (!report.ok()) return Fail(arguments, report.status());
  std::optional<HtmlPage> page;
  if (!arguments.outputs.html.empty()) {
    Result<HtmlPage> made = MakeHtmlPage(*report, arguments.page, progress);
    line.Clear();
    if (!made.ok()) return Fail(arguments, made.status());
    page = *std::move(made);
  }
  status = outputs.Write(*report, page ? &*page : nullptr);
  if (!status.ok()) return Fail(arguments, status);
  if (!arguments.outputs.quiet && page && !MissingFromPage(*page).empty()) {
    std::cerr << arguments.program << ": warning: " << MissingFromPage(*page) << '\n';
  }
  if (!arguments.outputs.quiet && !outputs.Missing().empty()) {
    std::cerr << arguments.program << ": warning: " << outputs.Missing() << '\n';
  }
  if (!arguments.outputs.quiet && !told && MostPairsAreSimilar(*report)) {
    std::cerr << arguments.program
              << ": warning: more than half of all pairs are similar; unless the pictures really are, the "
                 "threshold does not fit this model (python -m rrn_native.calibrate finds one that does)\n";
  }
  if (report->paths.empty()) {
    return Fail(arguments, kNothingReadable,
                arguments.paths[0] + ": no readable image among " + std::to_string(report->files()) +
                    (report->files() == 1 ? " file" : " files"));
  }
  return kDone;
}

// What is wrong with the paths and the outputs that go with them; empty if nothing is.
std::string CheckPaths(const Arguments& arguments) {
  for (const std::string& path : arguments.paths) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return path + ": no such file or folder";
    if (arguments.paths.size() == 2 && std::filesystem::is_directory(path, error)) {
      return path + " is a folder; expected one folder, or two image files";
    }
  }
  const OutputOptions& outputs = arguments.outputs;
  if (arguments.paths.size() == 2 &&
      !(outputs.json.empty() && outputs.pairs.empty() && outputs.embeddings.empty() && outputs.html.empty())) {
    return "--json, --pairs, --embeddings and --html belong to a folder; two images give one line";
  }
  return "";
}

int Run(const CommandLineDefaults& defaults, std::vector<std::string> words) {
  Arguments arguments;
  arguments.program = defaults.program;
  arguments.embedder.model = defaults.model;
  arguments.embedder.op_library = defaults.op_library;
  CLI::App app(kDescription, defaults.program);
  app.footer(Naming(defaults.program, kExamples));
  app.formatter(std::make_shared<TwoForms>());
  Declare(&app, &arguments);
  RefuseEmptyValues(&app);
  try {
    // CLI11 takes them from the back.
    std::reverse(words.begin(), words.end());
    app.parse(std::move(words));
  } catch (const CLI::Success& success) {  // --help and --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return Fail(arguments, kUsage, std::string(error.what()) + " (see " + arguments.program + " --help)");
  }
  arguments.embedder.decode.max_pixels = arguments.max_megapixels * 1'000'000;
  arguments.similarity.threads = arguments.embedder.threads;
  if (arguments.search == "approximate") arguments.similarity.search = SearchMethod::kApproximate;
  arguments.similarity.keep_embeddings = !arguments.outputs.embeddings.empty() || !arguments.outputs.html.empty();
  arguments.page.path = arguments.outputs.html;
  arguments.page.threads = arguments.embedder.threads;
  arguments.page.approximate = arguments.similarity.approximate;
  arguments.page.decode = arguments.embedder.decode;
  // Here already, because two images need it too, and before a model is loaded.
  const Status threshold = CheckThreshold(arguments.similarity.threshold);
  if (!threshold.ok()) return Fail(arguments, threshold);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, OnSignal);

  const std::string problem = CheckPaths(arguments);
  if (!problem.empty()) return Fail(arguments, kUsage, problem);
  const Result<Embedder> embedder = Embedder::Create(arguments.embedder);
  if (!embedder.ok()) {
    const bool usage = embedder.status().code() == StatusCode::kInvalidArgument;
    return Fail(arguments, usage ? kUsage : kRuntimeError, embedder.status().message());
  }
  if (!embedder->info().note.empty() && !arguments.outputs.quiet) {
    std::cerr << arguments.program << ": note: " << embedder->info().note << '\n';
  }
  return arguments.paths.size() == 2 ? Compare(*embedder, arguments) : Find(*embedder, arguments);
}

}  // namespace

int RunCommandLine(const CommandLineDefaults& defaults, const std::vector<std::string>& words) {
  try {
    return Run(defaults, words);
  } catch (const std::exception& error) {
    std::cerr << defaults.program << ": " << error.what() << '\n';
    return kRuntimeError;
  }
}

}  // namespace rrn
