#include "program/arguments.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "program/flags/flag.h"
#include "program/flags/generate.h"
#include "program/flags/parse.h"
#include "program/flags/typed.h"
#include "program/old_forms.h"
#include "rrn/version.h"

namespace rrn {
namespace {

Status Wrong(std::string message) { return {StatusCode::kInvalidArgument, std::move(message)}; }

bool IsFolder(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

// Which work is meant: by the number of paths, and the flags that are work by themselves.
Result<Mode> ModeOf(const Typed& typed, const Caller& caller) {
  if (!typed.undo.empty()) {
    const bool alone = typed.paths.empty() && std::all_of(typed.given.begin(), typed.given.end(), [](const Flag* flag) {
                         return flag->name() == "undo" || flag->name() == "quiet";
                       });
    if (alone) return Mode::kUndo;
    return Wrong("--undo takes nothing but its journal; the files are named in it");
  }
  if (!typed.paths.empty() && !typed.list.empty()) {
    return Wrong("--list takes the place of a folder; leave out " + typed.paths[0]);
  }
  if (caller.verb == Verb::kCompare) {
    for (const std::string& path : typed.paths) {
      if (IsFolder(path)) return Wrong(path + " is a folder; expected two image files (see rrn find --help)");
    }
    if (typed.paths.size() == 2) return Mode::kCompare;
    return Wrong("expected two image files, got " + std::to_string(typed.paths.size()) + " (see " + caller.program +
                 " --help)");
  }
  if (caller.verb == Verb::kFind && typed.paths.size() > 1) {
    return Wrong("expected one folder, got " + std::to_string(typed.paths.size()) +
                 " paths (two images: rrn compare; two folders: --against)");
  }
  if (typed.paths.size() > 2) {
    return Wrong("expected a folder or two images, at most 2 paths; got " + std::to_string(typed.paths.size()));
  }
  if (typed.paths.size() == 2) return Mode::kCompare;
  if (!typed.paths.empty() || !typed.list.empty()) return Mode::kFind;
  if (!typed.move_to.empty()) {
    return Wrong("a folder of images is required besides " + typed.move_to + ", which is where --move-to puts them");
  }
  return Wrong("a folder of images, two image files or --list is required (see " + caller.program + " --help)");
}

Status CheckPaths(const Typed& typed) {
  for (const std::string& path : typed.paths) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return Wrong(path + ": no such file or folder");
    if (typed.paths.size() == 2 && IsFolder(path)) {
      return Wrong(path + " is a folder; expected one folder, or two image files (two folders: --against)");
    }
  }
  return {};
}

EmbedderOptions Embedding(const Typed& typed, const CommandLineDefaults& defaults) {
  EmbedderOptions options;
  options.model = typed.model.empty() ? defaults.model : typed.model;
  options.op_library = typed.op_library.empty() ? defaults.op_library : typed.op_library;
  options.size = typed.size;
  options.batch = typed.batch;
  options.threads = typed.threads;
  options.provider = typed.provider;
  options.precision = typed.precision;
  options.cache = typed.cache;
  options.decode.max_pixels = typed.max_megapixels * 1'000'000;
  options.full_decode = typed.full_decode;
  return options;
}

SimilarityOptions Searching(const Typed& typed) {
  SimilarityOptions options;
  options.threshold = typed.threshold;
  options.recursive = typed.recursive;
  options.skip = typed.skip;
  // What was moved there before is not looked at again.
  if (!typed.move_to.empty()) options.skip.push_back(typed.move_to);
  options.against = typed.against;
  options.threads = typed.threads;
  options.keep_embeddings = !typed.embeddings.empty() || !typed.html.empty();
  if (!typed.html.empty()) options.thumbnail_edge = kPageThumbnailEdge;
  if (typed.search == "approximate") options.search = SearchMethod::kApproximate;
  options.approximate.neighbours = typed.search_neighbours;
  options.approximate.effort = typed.search_effort;
  for (const RepresentativePolicy keep :
       {RepresentativePolicy::kMostSimilar, RepresentativePolicy::kFirst, RepresentativePolicy::kLargest,
        RepresentativePolicy::kSharpest, RepresentativePolicy::kNewest}) {
    if (typed.keep == RepresentativePolicyName(keep)) options.keep = keep;
  }
  return options;
}

OutputOptions Writing(const Typed& typed) {
  OutputOptions options;
  options.json = typed.json;
  options.pairs = typed.pairs;
  options.max_pairs = typed.max_pairs;
  options.embeddings = typed.embeddings;
  options.html = typed.html;
  options.quiet = typed.quiet;
  return options;
}

ActionOptions Acting(const Typed& typed) {
  ActionOptions options;
  if (!typed.move_to.empty()) options.action = Action::kMove;
  if (typed.hardlink) options.action = Action::kHardlink;
  if (typed.list.empty()) options.folder = typed.paths[0];
  options.reference = typed.against;
  options.target = typed.move_to;
  options.start =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  return options;
}

Result<FindOptions> Finding(const Typed& typed, const CommandLineDefaults& defaults) {
  if (typed.hardlink && !typed.move_to.empty()) {
    return Wrong("--move-to and --hardlink: expected one of them, got both");
  }
  if (!typed.html.empty() && !typed.against.empty()) {
    return Wrong("--html shows one folder's groups, not those of --against; leave one of them out");
  }
  if (!typed.store.empty() && typed.no_store) {
    return Wrong("--store and --no-store: expected one of them, got both");
  }
  for (const std::string& folder : typed.skip) {
    if (folder != typed.move_to && !IsFolder(folder)) return Wrong("--skip " + folder + ": no such folder");
  }
  FindOptions options;
  if (typed.list.empty()) options.folder = typed.paths[0];
  options.list = typed.list;
  options.embedder = Embedding(typed, defaults);
  options.similarity = Searching(typed);
  options.store = {typed.store, !typed.no_store};
  options.outputs = Writing(typed);
  options.action = Acting(typed);
  options.page.path = typed.html;
  options.page.max_pairs = typed.html_pairs;
  Status status = CheckAction(options.action);
  if (!status.ok()) return status;
  return options;
}

Result<CompareOptions> Comparing(const Typed& typed, const CommandLineDefaults& defaults) {
  for (const Flag* flag : typed.given) {
    if (flag->folder_only()) return Wrong("--" + flag->name() + " belongs to a folder; two images give one line");
  }
  return CompareOptions{typed.paths[0], typed.paths[1], Embedding(typed, defaults), typed.threshold};
}

// The text that answers a question; empty if none was asked.
Result<std::string> Answer(const Typed& typed, const Caller& caller) {
  if (!typed.generate.empty()) return Generate(caller, typed.generate);
  switch (typed.question) {
    case Question::kShortHelp:
      return ShortHelp(caller);
    case Question::kHelp:
      return LongHelp(caller);
    case Question::kVersion:
      return caller.program + " (rrn) " + Version() + ", ONNX Runtime " + OnnxRuntimeVersion() + "\n";
    case Question::kNone:
      break;
  }
  return std::string();
}

// The work's own options. `typed` has no old forms left.
Status Work(const Typed& typed, const CommandLineDefaults& defaults, Arguments* arguments) {
  const Result<Mode> mode = ModeOf(typed, defaults.caller);
  if (!mode.ok()) return mode.status();
  if (*mode == Mode::kUndo) {
    arguments->options = UndoOptions{typed.undo};
    return {};
  }
  Status status = CheckPaths(typed);
  // Here already, because two images need it too, and before a model is loaded.
  if (status.ok()) status = CheckThreshold(typed.threshold);
  if (!status.ok()) return status;
  if (*mode == Mode::kCompare) {
    Result<CompareOptions> options = Comparing(typed, defaults);
    if (!options.ok()) return options.status();
    arguments->options = *std::move(options);
    return {};
  }
  Result<FindOptions> options = Finding(typed, defaults);
  if (!options.ok()) return options.status();
  arguments->options = *std::move(options);
  return {};
}

}  // namespace

Result<Arguments> ParseArguments(const CommandLineDefaults& defaults, const std::vector<std::string>& words) {
  Result<Typed> typed = ParseWords(words);
  if (!typed.ok()) {
    return Status(typed.status().code(), typed.status().message() + " (see " + defaults.caller.program + " --help)");
  }
  Arguments arguments;
  arguments.program = defaults.caller.program;
  arguments.quiet = typed->quiet;
  Result<std::string> answer = Answer(*typed, defaults.caller);
  if (!answer.ok()) return answer.status();
  if (!answer->empty()) {
    arguments.options = AnswerOptions{*std::move(answer)};
    return arguments;
  }
  Status status = TranslateOldForms(&*typed, &arguments.notes);
  if (status.ok()) status = Work(*typed, defaults, &arguments);
  if (!status.ok()) return status;
  return arguments;
}

}  // namespace rrn
