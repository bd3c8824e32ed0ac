#include "program/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "rrn/version.h"

namespace rrn {
namespace {

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

// What is read as it stands, and turned into arguments afterwards.
struct Words {
  Arguments arguments;
  std::uint64_t max_megapixels = 200;
  std::string search = "exact";
  std::string keep = RepresentativePolicyName(RepresentativePolicy::kMostSimilar);
  std::vector<std::string> action = {"list"};
};

void DeclareWhat(CLI::App* app, Words* a) {
  // How many there may be depends on the options, so CLI11 does not count them.
  app->add_option("paths", a->arguments.paths, "A folder of images, or two image files")
      ->type_name("FOLDER | IMAGE IMAGE");
  const std::string group = "What to compare";
  app->add_option("--list", a->arguments.list,
                  "Instead of a folder, the image files that this file names ('-': standard input), one a line or "
                  "separated by zero bytes (find -print0); relative to the current folder")
      ->type_name("FILE")
      ->group(group);
  app->add_option("--against", a->arguments.similarity.against,
                  "Compare with the images of this reference folder, and with nothing else: groups are a reference "
                  "image and the images most similar to it; the totals say how many are known (similar to one, or the "
                  "same file) and how many new")
      ->type_name("DIR")
      ->group(group);
  app->add_flag("--recursive,!--no-recursive", a->arguments.similarity.recursive,
                "Also look into sub-folders (default: yes)")
      ->group(group);
  app->add_option("--skip", a->arguments.similarity.skip,
                  "A folder that is not looked into, nor are files in it that --list names, say one that redundant "
                  "images were moved to; may be repeated")
      ->type_name("DIR")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
  app->add_option("--max-megapixels", a->max_megapixels, "Larger images are skipped, not decoded")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000}))
      ->capture_default_str()
      ->group(group);
}

void DeclareSimilarity(CLI::App* app, Words* a) {
  const std::string group = "Similarity";
  app->add_option("--threshold", a->arguments.similarity.threshold, "Similar is: cosine above this (-1 <= t < 1)")
      ->capture_default_str()
      ->group(group);
  app->add_option("--keep", a->keep,
                  "Which image represents a group, and is kept: the one with the most similar ones, or the first by "
                  "path, the largest (pixels, then bytes), the sharpest (most detail) or the newest")
      ->check(CLI::IsMember({"most-similar", "first", "largest", "sharpest", "newest"}))
      ->capture_default_str()
      ->group(group);
  app->add_option("--model", a->arguments.embedder.model,
                  "ONNX model file (default: the model that comes with the program)")
      ->group(group);
  app->add_option("--op-library", a->arguments.embedder.op_library,
                  "libreduction_op.so (default: the one beside the program; models exported by rrn run without, too)")
      ->group(group);
  app->add_option("--size", a->arguments.embedder.size,
                  "Images are resized to size x size pixels (default: the model's, 224)")
      ->group(group);
  app->add_flag("--full-decode", a->arguments.embedder.full_decode,
                "Decode large JPEG and WebP files at full size instead of a fraction of it: slower, hardly different")
      ->group(group);
}

void DeclareResult(CLI::App* app, Words* a) {
  const std::string group = "Result";
  app->add_option("--json", a->arguments.outputs.json,
                  "Write the result as JSON to this file; '-' for standard output, instead of text")
      ->group(group);
  app->add_option("--pairs", a->arguments.outputs.pairs,
                  "Write the similar pairs to this CSV file (first,second,similarity; with --against, the second is "
                  "the reference image)")
      ->group(group);
  app->add_option("--max-pairs", a->arguments.outputs.max_pairs,
                  "Lines of that file at most; the counts are always of all pairs, and what is missing is said")
      ->check(CLI::Range(std::uint64_t{1}, std::numeric_limits<std::uint64_t>::max()))
      ->capture_default_str()
      ->group(group);
  app->add_option(
         "--embeddings", a->arguments.outputs.embeddings,
         "Write the embeddings to this .npy file (float32 [n, dim]), and their paths to the .txt file beside it, a "
         "line each (\\n, \\r and \\\\ for line breaks and backslashes in names)")
      ->group(group);
  app->add_option("--html", a->arguments.outputs.html,
                  "Write a page for the browser to this file: groups with thumbnails, for any threshold from 0.5 up")
      ->group(group);
  app->add_option("--html-pairs", a->arguments.page.max_pairs,
                  "Pairs that the page may carry; with more, its lowest threshold is higher, and it says so")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{10'000'000}))
      ->capture_default_str()
      ->group(group);
  app->add_flag("--quiet", a->arguments.outputs.quiet, "No text and no progress line; errors are still shown")
      ->group(group);
}

void DeclareActions(CLI::App* app, Words* a) {
  const std::string group = "What to do with redundant images";
  app->add_option("--action", a->action,
                  "list: only report them. json: the same as --json -, with a list of them. move DIR: move them to "
                  "their path under DIR. hardlink: replace those that are equal to the kept image, byte by byte, by "
                  "hard links to it. Nothing is deleted, and the last two can be undone (default: list)")
      ->expected(1, 2)
      ->type_name("list|json|hardlink|move DIR")
      ->group(group);
  app->add_option("--undo", a->arguments.undo,
                  "Undo what this journal of --action move or hardlink says; takes no folder")
      ->type_name("JOURNAL")
      ->group(group);
}

void DeclareSpeed(CLI::App* app, Words* a) {
  const std::string group = "Speed";
  app->add_option("--batch", a->arguments.embedder.batch, "Images per inference call; does not change results")
      ->capture_default_str()
      ->group(group);
  app->add_option("--threads", a->arguments.embedder.threads,
                  "Worker threads, 0: one for each core; does not change results")
      ->capture_default_str()
      ->group(group);
  app->add_option("--provider", a->arguments.embedder.provider,
                  "Who computes: auto, cpu, openvino, cuda or tensorrt; auto takes the best one here for the precision")
      ->capture_default_str()
      ->group(group);
  app->add_option(
         "--precision", a->arguments.embedder.precision,
         "auto, fp32, fp16, bf16 or int8; auto is fp32, except bf16 with --provider openvino on a CPU that has "
         "it. bf16 and int8 are faster and move similarities a little; int8 needs MODEL.int8.onnx")
      ->capture_default_str()
      ->group(group);
  app->add_flag("!--no-cache", a->arguments.embedder.cache,
                "Do not keep compiled models for the next start in ~/.cache/rrn")
      ->group(group);
  app->add_option("--search", a->search,
                  "exact, or approximate for millions of images: misses some pairs and says how many (of a sample)")
      ->check(CLI::IsMember({"exact", "approximate"}))
      ->capture_default_str()
      ->group(group);
  app->add_option("--search-neighbours", a->arguments.similarity.approximate.neighbours,
                  "Approximate search: similar images that are looked for from each image (1 ... 10000)")
      ->capture_default_str()
      ->group(group);
  app->add_option("--search-effort", a->arguments.similarity.approximate.effort,
                  "Approximate search: more is slower and misses less (1 ... 10000)")
      ->capture_default_str()
      ->group(group);
}

void Declare(CLI::App* app, Words* a) {
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

// The action's words become its options, and a word too many belongs to the paths. Returns what is wrong, or empty.
std::string ReadAction(const std::vector<std::string>& words, Arguments* arguments) {
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

// Fills in what follows from other arguments.
void Complete(const Words& words, Arguments* arguments) {
  arguments->embedder.decode.max_pixels = words.max_megapixels * 1'000'000;
  arguments->similarity.threads = arguments->embedder.threads;
  if (words.search == "approximate") arguments->similarity.search = SearchMethod::kApproximate;
  for (const RepresentativePolicy keep : {RepresentativePolicy::kFirst, RepresentativePolicy::kLargest,
                                          RepresentativePolicy::kSharpest, RepresentativePolicy::kNewest}) {
    if (words.keep == RepresentativePolicyName(keep)) arguments->similarity.keep = keep;
  }
  arguments->similarity.keep_embeddings = !arguments->outputs.embeddings.empty() || !arguments->outputs.html.empty();
  if (arguments->list.empty() && !arguments->paths.empty()) arguments->action.folder = arguments->paths[0];
  arguments->action.reference = arguments->similarity.against;
  arguments->page.path = arguments->outputs.html;
  if (!arguments->outputs.html.empty()) arguments->similarity.thumbnail_edge = kPageThumbnailEdge;
}

}  // namespace

Result<Arguments> ParseArguments(const CommandLineDefaults& defaults, std::vector<std::string> words) {
  Words read;
  Arguments& arguments = read.arguments;
  arguments.program = defaults.program;
  arguments.action.start =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  arguments.embedder.model = defaults.model;
  arguments.embedder.op_library = defaults.op_library;
  CLI::App app(kDescription, defaults.program);
  app.footer(Naming(defaults.program, kExamples));
  app.formatter(std::make_shared<AllForms>());
  Declare(&app, &read);
  RefuseEmptyValues(&app);
  const auto usage = [](std::string message) { return Status(StatusCode::kInvalidArgument, std::move(message)); };
  try {
    // CLI11 takes them from the back.
    std::reverse(words.begin(), words.end());
    app.parse(std::move(words));
  } catch (const CLI::Success& success) {  // --help and --version
    std::ostringstream answer;
    app.exit(success, answer, answer);
    arguments.answer = answer.str();
    return std::move(arguments);
  } catch (const CLI::ParseError& error) {
    return usage(std::string(error.what()) + " (see " + arguments.program + " --help)");
  }
  std::string problem = ReadAction(read.action, &arguments);
  if (problem.empty()) problem = CheckPaths(arguments);
  if (!problem.empty()) return usage(std::move(problem));
  Complete(read, &arguments);
  // Here already, because two images need it too, and before a model is loaded.
  Status status = CheckThreshold(arguments.similarity.threshold);
  if (status.ok() && arguments.undo.empty()) status = CheckAction(arguments.action);
  if (!status.ok()) return status;
  return std::move(arguments);
}

}  // namespace rrn
