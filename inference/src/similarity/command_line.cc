#include "similarity/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
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
#include "similarity/actions.h"
#include "similarity/html_page.h"
#include "similarity/outputs.h"
#include "similarity/path_list.h"
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
    "similar ones becomes a representative first (ties: path order; --keep has other orders); every other image\n"
    "joins the representative it is most similar to. Representatives are kept, the others of a group are redundant.";

constexpr const char* kExamples =
    "Examples:\n"
    "  PROGRAM photos                        groups and totals, for reading\n"
    "  PROGRAM photos --json result.json     the same for programs ('-' is standard output)\n"
    "  PROGRAM photos --html result.html     the same with thumbnails and a slider, for the browser\n"
    "  PROGRAM a.jpg b.jpg                   one similarity; exit code 0 if similar, 1 if not\n"
    "  PROGRAM new --against archive         which images of 'new' are in 'archive' already\n"
    "  find . -name '*.jpg' -print0 | PROGRAM --list -\n"
    "  PROGRAM photos --keep largest --action move redundant\n"
    "  PROGRAM --undo redundant/rrn-journal-20260131T120000Z.jsonl\n\n"
    "Exit codes: 0 done, 1 not similar (two files), 2 wrong usage, 3 nothing readable, 4 model, runtime or output\n"
    "failed, or some files could not be moved, linked or put back (they are listed), 130 interrupted (Ctrl-C).";

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
  std::string list;
  EmbedderOptions embedder;
  SimilarityOptions similarity;
  std::uint64_t max_megapixels = 200;
  HtmlPageOptions page;
  OutputOptions outputs;
  std::string search = "exact";
  std::string keep = KeepName(Keep::kMostSimilar);
  std::vector<std::string> action_words = {"list"};
  ActionOptions action;
  std::string undo;
};

void DeclareWhat(CLI::App* app, Arguments* a) {
  // How many there may be depends on the options, so CLI11 does not count them.
  app->add_option("paths", a->paths, "A folder of images, or two image files")->type_name("FOLDER | IMAGE IMAGE");
  const std::string group = "What to compare";
  app->add_option("--list", a->list,
                  "Instead of a folder, the image files that this file names ('-': standard input), one a line or "
                  "separated by zero bytes (find -print0); relative to the current folder")
      ->type_name("FILE")
      ->group(group);
  app->add_option("--against", a->similarity.against,
                  "Compare with the images of this reference folder, and with nothing else: groups are a reference "
                  "image and the images most similar to it; the totals say how many are known and how many new")
      ->type_name("DIR")
      ->group(group);
  app->add_flag("--recursive,!--no-recursive", a->similarity.recursive, "Also look into sub-folders (default: yes)")
      ->group(group);
  app->add_option("--skip", a->similarity.skip,
                  "A sub-folder that is not looked into, say one that redundant images were moved to; may be repeated")
      ->type_name("DIR")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
  app->add_option("--max-megapixels", a->max_megapixels, "Larger images are skipped, not decoded")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000}))
      ->capture_default_str()
      ->group(group);
}

void DeclareSimilarity(CLI::App* app, Arguments* a) {
  const std::string group = "Similarity";
  app->add_option("--threshold", a->similarity.threshold, "Similar is: cosine above this (-1 <= t < 1)")
      ->capture_default_str()
      ->group(group);
  app->add_option("--keep", a->keep,
                  "Which image represents a group, and is kept: the one with the most similar ones, or the first by "
                  "path, the largest (pixels, then bytes), the sharpest (most detail) or the newest")
      ->check(CLI::IsMember({"most-similar", "first", "largest", "sharpest", "newest"}))
      ->capture_default_str()
      ->group(group);
  app->add_option("--model", a->embedder.model, "ONNX model file (default: the model that comes with the program)")
      ->group(group);
  app->add_option("--op-library", a->embedder.op_library,
                  "libreduction_op.so (default: the one beside the program; models exported by rrn run without, too)")
      ->group(group);
  app->add_option("--size", a->embedder.size, "Images are resized to size x size pixels (default: the model's, 224)")
      ->group(group);
  app->add_flag("--full-decode", a->embedder.full_decode,
                "Decode large JPEG and WebP files at full size instead of a fraction of it: slower, hardly different")
      ->group(group);
}

void DeclareResult(CLI::App* app, Arguments* a) {
  const std::string group = "Result";
  app->add_option("--json", a->outputs.json,
                  "Write the result as JSON to this file; '-' for standard output, instead of text")
      ->group(group);
  app->add_option("--pairs", a->outputs.pairs,
                  "Write the similar pairs to this CSV file (first,second,similarity; with --against, the second is "
                  "the reference image)")
      ->group(group);
  app->add_option("--max-pairs", a->outputs.max_pairs,
                  "Lines of that file at most; the counts are always of all pairs, and what is missing is said")
      ->check(CLI::Range(std::uint64_t{1}, std::numeric_limits<std::uint64_t>::max()))
      ->capture_default_str()
      ->group(group);
  app->add_option(
         "--embeddings", a->outputs.embeddings,
         "Write the embeddings to this .npy file (float32 [n, dim]), and their paths to the .txt file beside it, a "
         "line each (\\n, \\r and \\\\ for line breaks and backslashes in names)")
      ->group(group);
  app->add_option("--html", a->outputs.html,
                  "Write a page for the browser to this file: groups with thumbnails, for any threshold from 0.5 up")
      ->group(group);
  app->add_option("--html-pairs", a->page.max_pairs,
                  "Pairs that the page may carry; with more, its lowest threshold is higher, and it says so")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{10'000'000}))
      ->capture_default_str()
      ->group(group);
  app->add_flag("--quiet", a->outputs.quiet, "No text and no progress line; errors are still shown")->group(group);
}

void DeclareActions(CLI::App* app, Arguments* a) {
  const std::string group = "What to do with redundant images";
  app->add_option("--action", a->action_words,
                  "list: only report them. json: the same as --json -, with a list of them. move DIR: move them to "
                  "their path under DIR. hardlink: replace those that are equal to the kept image, byte by byte, by "
                  "hard links to it. Nothing is deleted, and the last two can be undone (default: list)")
      ->expected(1, 2)
      ->type_name("list|json|hardlink|move DIR")
      ->group(group);
  app->add_option("--undo", a->undo, "Undo what this journal of --action move or hardlink says; takes no folder")
      ->type_name("JOURNAL")
      ->group(group);
}

void DeclareSpeed(CLI::App* app, Arguments* a) {
  const std::string group = "Speed";
  app->add_option("--batch", a->embedder.batch, "Images per inference call; does not change results")
      ->capture_default_str()
      ->group(group);
  app->add_option("--threads", a->embedder.threads, "Worker threads, 0: one for each core; does not change results")
      ->capture_default_str()
      ->group(group);
  app->add_option("--provider", a->embedder.provider,
                  "Who computes: auto, cpu, openvino, cuda or tensorrt; auto takes the best one here for the precision")
      ->capture_default_str()
      ->group(group);
  app->add_option(
         "--precision", a->embedder.precision,
         "auto, fp32, fp16, bf16 or int8; auto is fp32, except bf16 with --provider openvino on a CPU that has "
         "it. bf16 and int8 are faster and move similarities a little; int8 needs MODEL.int8.onnx")
      ->capture_default_str()
      ->group(group);
  app->add_flag("!--no-cache", a->embedder.cache, "Do not keep compiled models for the next start in ~/.cache/rrn")
      ->group(group);
  app->add_option("--search", a->search,
                  "exact, or approximate for millions of images: misses some pairs and says how many (of a sample)")
      ->check(CLI::IsMember({"exact", "approximate"}))
      ->capture_default_str()
      ->group(group);
  app->add_option("--search-neighbours", a->similarity.approximate.neighbours,
                  "Approximate search: similar images that are looked for from each image (1 ... 10000)")
      ->capture_default_str()
      ->group(group);
  app->add_option("--search-effort", a->similarity.approximate.effort,
                  "Approximate search: more is slower and misses less (1 ... 10000)")
      ->capture_default_str()
      ->group(group);
}

void Declare(CLI::App* app, Arguments* a) {
  DeclareWhat(app, a);
  DeclareSimilarity(app, a);
  DeclareResult(app, a);
  DeclareActions(app, a);
  DeclareSpeed(app, a);
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

// CLI11's own usage line cannot show several forms.
class AllForms : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* app, std::string /*name*/) const override {
    return Naming(app->get_name(),
                  "Usage: PROGRAM [OPTIONS] FOLDER\n       PROGRAM [OPTIONS] --list FILE\n"
                  "       PROGRAM [OPTIONS] IMAGE IMAGE\n       PROGRAM --undo JOURNAL\n");
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

// For a shell: in quotes where it needs them.
std::string Quoted(const std::string& word) {
  const std::string plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:=@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

// Without what would break the line.
std::string Shown(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

std::string Files(std::size_t count) { return std::to_string(count) + (count == 1 ? " file" : " files"); }

// Failures, a line each, also with --quiet. Returns the exit code.
int ReportFailures(const Arguments& arguments, const std::vector<SkippedFile>& failed, const Status& stopped) {
  for (const SkippedFile& file : failed) {
    std::cerr << arguments.program << ": " << Shown(file.path) << ": " << Shown(file.reason) << '\n';
  }
  if (!stopped.ok()) return Fail(arguments, stopped);
  return failed.empty() ? kDone : kRuntimeError;
}

int ActOn(const SimilarityReport& report, const Arguments& arguments) {
  const ActionResult result = Act(report, arguments.action, [] { return g_signal == 0; });
  const bool move = arguments.action.action == Action::kMove;
  if (!arguments.outputs.quiet) {
    // The JSON has standard output for itself.
    std::ostream& out = arguments.outputs.json == "-" ? std::cerr : std::cout;
    out << "\nredundant: " << Files(result.redundant) << '\n'
        << (move ? "moved: " : "linked: ") << Files(result.done.size()) << '\n';
    for (const DoneAction& done : result.done) {
      out << "  " << Shown(done.path) << (move ? " -> " : " = ") << Shown(done.to) << '\n';
    }
    if (!result.left_alone.empty()) out << "left alone: " << Files(result.left_alone.size()) << '\n';
    for (const SkippedFile& file : result.left_alone) {
      out << "  " << Shown(file.path) << ": " << Shown(file.reason) << '\n';
    }
    if (!result.journal.empty()) {
      out << "journal: " << Shown(result.journal) << '\n'
          << "to undo: " << arguments.program << " --undo " << Quoted(result.journal) << '\n';
      if (move && IsInside(arguments.action.target, arguments.action.folder)) {
        out << "to leave them out of later runs: --skip " << Quoted(arguments.action.target) << '\n';
      }
    }
    out.flush();
    if (!out) return Fail(arguments, kRuntimeError, "standard output: cannot write here; journal: " + result.journal);
  }
  return ReportFailures(arguments, result.failed, result.stopped);
}

int UndoJournal(const Arguments& arguments) {
  const Result<UndoResult> result = Undo(arguments.undo, [] { return g_signal == 0; });
  if (!result.ok()) {
    const StatusCode code = result.status().code();
    const bool usage = code == StatusCode::kNotFound || code == StatusCode::kCorrupt;
    return Fail(arguments, usage ? kUsage : kRuntimeError, result.status().message());
  }
  if (!arguments.outputs.quiet) {
    if (result->done.empty() && result->failed.empty() && result->stopped.ok()) {
      std::cout << "nothing left to undo\n";
    } else {
      std::cout << "put back: " << Files(result->done.size()) << '\n';
    }
    for (const DoneAction& done : result->done) std::cout << "  " << Shown(done.path) << '\n';
    if (!result->failed.empty()) std::cout << "not put back: " << Files(result->failed.size()) << '\n';
    std::cout.flush();
    if (!std::cout) return Fail(arguments, kRuntimeError, "standard output: cannot write here");
  }
  return ReportFailures(arguments, result->failed, result->stopped);
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
  if (report.reference) return 2 * twice > images * report.reference->paths.size() && images > 1;
  return 2 * twice > images * (images - 1) && images > 1;
}

// `listed`: the paths of --list.
int Find(const Embedder& embedder, const Arguments& arguments, std::vector<std::string> listed) {
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
  Result<SimilarityReport> report =
      arguments.list.empty()
          ? FindSimilar(embedder, arguments.paths[0], options, progress, outputs.PairSink())
          : FindSimilar(embedder, ListFiles(std::move(listed)), options, progress, outputs.PairSink());
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
                (arguments.list.empty() ? arguments.paths[0] : "--list " + arguments.list) +
                    ": no readable image among " + std::to_string(report->files()) +
                    (report->files() == 1 ? " file" : " files"));
  }
  const bool acts = arguments.action.action == Action::kMove || arguments.action.action == Action::kHardlink;
  return acts ? ActOn(*report, arguments) : kDone;
}

// The action's words become its options, and a word too many belongs to the paths. Returns what is wrong, or empty.
std::string ReadAction(Arguments* arguments) {
  std::vector<std::string>& words = arguments->action_words;
  ActionOptions& action = arguments->action;
  if (words[0] == "move") {
    if (words.size() < 2) return "--action move: expected the folder that images are moved to: --action move DIR";
    action.action = Action::kMove;
    action.target = words[1];
    // What was moved there before is not looked at again.
    arguments->similarity.skip.push_back(action.target);
    return "";
  }
  if (words.size() > 1) arguments->paths.insert(arguments->paths.begin(), words[1]);
  if (words[0] == "json") {
    OutputOptions& outputs = arguments->outputs;
    if (!outputs.json.empty() && outputs.json != "-") {
      return "--action json writes to standard output; with --json " + outputs.json +
             " the same would be in two places, so leave one of them out";
    }
    action.action = Action::kJson;
    outputs.json = "-";
  } else if (words[0] == "hardlink") {
    action.action = Action::kHardlink;
  } else if (words[0] != "list") {
    return "--action: expected list, json, hardlink or move DIR, got " + words[0];
  }
  return "";
}

// What is wrong with the paths and the options that go with them; empty if nothing is.
std::string CheckPaths(const Arguments& arguments) {
  const std::vector<std::string>& paths = arguments.paths;
  const OutputOptions& outputs = arguments.outputs;
  if (!arguments.undo.empty()) {
    const bool alone = paths.empty() && arguments.list.empty() && arguments.action.action == Action::kList;
    return alone ? "" : "--undo takes nothing but its journal; the files are named in it";
  }
  if (paths.empty() && arguments.list.empty()) {
    if (arguments.action.action == Action::kMove) {
      return "a folder of images is required besides " + arguments.action.target +
             ", which is where --action move puts them";
    }
    return "a folder of images, two image files or --list is required (see " + arguments.program + " --help)";
  }
  if (!paths.empty() && !arguments.list.empty()) return "--list takes the place of a folder; leave out " + paths[0];
  if (paths.size() > 2) {
    return "expected a folder or two images, at most 2 paths; got " + std::to_string(paths.size());
  }
  for (const std::string& path : paths) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return path + ": no such file or folder";
    if (paths.size() == 2 && std::filesystem::is_directory(path, error)) {
      return path + " is a folder; expected one folder, or two image files (two folders: --against)";
    }
  }
  if (paths.size() == 2) {
    if (!(outputs.json.empty() && outputs.pairs.empty() && outputs.embeddings.empty() && outputs.html.empty())) {
      return "--json, --pairs, --embeddings and --html belong to a folder; two images give one line";
    }
    if (arguments.action.action != Action::kList || !arguments.similarity.against.empty()) {
      return "--action and --against belong to a folder; two images give one line";
    }
  }
  if (!outputs.html.empty() && !arguments.similarity.against.empty()) {
    return "--html shows one folder's groups, not those of --against; leave one of them out";
  }
  for (const std::string& folder : arguments.similarity.skip) {
    std::error_code error;
    if (folder != arguments.action.target && !std::filesystem::is_directory(folder, error)) {
      return "--skip " + folder + ": no such folder";
    }
  }
  return "";
}

int Run(const CommandLineDefaults& defaults, std::vector<std::string> words) {
  Arguments arguments;
  arguments.program = defaults.program;
  arguments.action.start =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  arguments.embedder.model = defaults.model;
  arguments.embedder.op_library = defaults.op_library;
  CLI::App app(kDescription, defaults.program);
  app.footer(Naming(defaults.program, kExamples));
  app.formatter(std::make_shared<AllForms>());
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
  std::string problem = ReadAction(&arguments);
  if (problem.empty()) problem = CheckPaths(arguments);
  if (!problem.empty()) return Fail(arguments, kUsage, problem);
  for (const Keep keep : {Keep::kFirst, Keep::kLargest, Keep::kSharpest, Keep::kNewest}) {
    if (arguments.keep == KeepName(keep)) arguments.similarity.keep = keep;
  }
  arguments.outputs.redundant = arguments.action.action != Action::kList;
  if (arguments.list.empty() && !arguments.paths.empty()) arguments.action.folder = arguments.paths[0];
  arguments.action.reference = arguments.similarity.against;
  arguments.page.path = arguments.outputs.html;
  arguments.page.threads = arguments.embedder.threads;
  arguments.page.approximate = arguments.similarity.approximate;
  arguments.page.decode = arguments.embedder.decode;
  // Here already, because two images need it too, and before a model is loaded.
  const Status threshold = CheckThreshold(arguments.similarity.threshold);
  if (!threshold.ok()) return Fail(arguments, threshold);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, OnSignal);
  if (!arguments.undo.empty()) return UndoJournal(arguments);
  const Status action = CheckAction(arguments.action);
  if (!action.ok()) return Fail(arguments, action);
  std::vector<std::string> listed;
  if (!arguments.list.empty()) {
    Result<std::vector<std::string>> read = ReadPathList(arguments.list);
    if (!read.ok()) return Fail(arguments, kUsage, read.status().message());
    listed = *std::move(read);
  }
  const Result<Embedder> embedder = Embedder::Create(arguments.embedder);
  if (!embedder.ok()) {
    const bool usage = embedder.status().code() == StatusCode::kInvalidArgument;
    return Fail(arguments, usage ? kUsage : kRuntimeError, embedder.status().message());
  }
  if (!embedder->info().note.empty() && !arguments.outputs.quiet) {
    std::cerr << arguments.program << ": note: " << embedder->info().note << '\n';
  }
  return arguments.paths.size() == 2 ? Compare(*embedder, arguments) : Find(*embedder, arguments, std::move(listed));
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
