#include "program/command_line.h"

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/text.h"
#include "program/actions/actions.h"
#include "program/arguments.h"
#include "program/exit_code.h"
#include "program/outputs.h"
#include "program/page/html_page.h"
#include "program/path_list.h"
#include "program/progress_line.h"
#include "program/stores.h"
#include "rrn/embedder.h"
#include "rrn/similarity.h"

namespace rrn {
namespace {

// The signal that asked to stop; a handler can reach nothing but a global.
volatile std::sig_atomic_t g_signal = 0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

// The first one ends the work in good order, a second one at once.
void OnSignal(int signal) {
  g_signal = signal;
  std::signal(signal, SIG_DFL);
}

int Fail(const std::string& program, int code, const std::string& message) {
  std::cerr << program << ": " << message << '\n';
  return code;
}

int Fail(const std::string& program, const Status& status) {
  switch (status.code()) {
    case StatusCode::kCancelled:
      return Fail(program, kSignalBase + static_cast<int>(g_signal), "interrupted");
    case StatusCode::kInvalidArgument:
    case StatusCode::kNotFound:
      return Fail(program, kUsage, status.message());
    case StatusCode::kUnreadable:
      return Fail(program, kNothingReadable, status.message());
    default:
      return Fail(program, kRuntimeError, status.message());
  }
}

void Note(const std::string& program, const std::string& text) { std::cerr << program << ": note: " << text << '\n'; }

// For a shell: in quotes where it needs them.
std::string Quoted(const std::string& word) {
  const std::string plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:=@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string Files(std::size_t count) { return Count(count, "file", "files"); }

// Failures, a line each, also with --quiet. Returns the exit code.
int ReportFailures(const Arguments& arguments, const std::vector<SkippedFile>& failed, const Status& stopped) {
  for (const SkippedFile& file : failed) {
    std::cerr << arguments.program << ": " << OneLine(file.path) << ": " << OneLine(file.reason) << '\n';
  }
  if (!stopped.ok()) return Fail(arguments.program, stopped);
  return failed.empty() ? kDone : kRuntimeError;
}

int ActOn(const SimilarityResult& result, const Arguments& arguments, const FindOptions& find) {
  const ActionResult outcome = Act(result, find.action, [] { return g_signal == 0; });
  const bool move = find.action.action == Action::kMove;
  if (!arguments.quiet) {
    // The JSON has standard output for itself.
    std::ostream& out = find.outputs.json == "-" ? std::cerr : std::cout;
    out << "\nredundant: " << Files(outcome.redundant) << '\n'
        << (move ? "moved: " : "linked: ") << Files(outcome.done.size()) << '\n';
    for (const DoneAction& done : outcome.done) {
      out << "  " << OneLine(done.path) << (move ? " -> " : " = ") << OneLine(done.to) << '\n';
    }
    if (!outcome.left_alone.empty()) out << "left alone: " << Files(outcome.left_alone.size()) << '\n';
    for (const SkippedFile& file : outcome.left_alone) {
      out << "  " << OneLine(file.path) << ": " << OneLine(file.reason) << '\n';
    }
    if (!outcome.journal.empty()) {
      out << "journal: " << OneLine(outcome.journal) << '\n'
          << "to undo: " << arguments.program << " --undo " << Quoted(outcome.journal) << '\n';
      if (move && IsInside(find.action.target, find.action.folder)) {
        out << "to leave them out of later runs: --skip " << Quoted(find.action.target) << '\n';
      }
    }
    out.flush();
    if (!out) {
      return Fail(arguments.program, kRuntimeError, "standard output: cannot write here; journal: " + outcome.journal);
    }
  }
  return ReportFailures(arguments, outcome.failed, outcome.stopped);
}

int UndoJournal(const Arguments& arguments, const UndoOptions& undo) {
  const Result<UndoResult> result = Undo(undo.journal, [] { return g_signal == 0; });
  if (!result.ok()) {
    const StatusCode code = result.status().code();
    const bool usage = code == StatusCode::kNotFound || code == StatusCode::kCorrupt;
    return Fail(arguments.program, usage ? kUsage : kRuntimeError, result.status().message());
  }
  if (!arguments.quiet) {
    if (result->done.empty() && result->failed.empty() && result->stopped.ok()) {
      std::cout << "nothing left to undo\n";
    } else {
      std::cout << "put back: " << Files(result->done.size()) << '\n';
    }
    for (const DoneAction& done : result->done) std::cout << "  " << OneLine(done.path) << '\n';
    if (!result->failed.empty()) std::cout << "not put back: " << Files(result->failed.size()) << '\n';
    std::cout.flush();
    if (!std::cout) return Fail(arguments.program, kRuntimeError, "standard output: cannot write here");
  }
  return ReportFailures(arguments, result->failed, result->stopped);
}

int Compare(const Embedder& embedder, const Arguments& arguments, const CompareOptions& compare) {
  const Result<float> similarity =
      CompareFiles(embedder, compare.first, compare.second,
                   [](std::size_t /*done*/, std::size_t /*total*/) { return g_signal == 0; });
  if (!similarity.ok()) return Fail(arguments.program, similarity.status());
  const bool similar = *similarity > compare.threshold;
  if (!arguments.quiet) {
    std::printf("%.6f %s\n", static_cast<double>(*similarity), similar ? "similar" : "not similar");
  }
  if (std::fflush(stdout) != 0) return Fail(arguments.program, kRuntimeError, "standard output: cannot write here");
  return similar ? kDone : kNotSimilar;
}

// What the store was good for.
void NoteStore(const Arguments& arguments, const SimilarityResult& result, const StoreChoice& choice) {
  if (arguments.quiet || !result.store || result.store->reused == 0) return;
  const StoreUse& use = *result.store;
  Note(arguments.program, std::to_string(use.reused) + " of " + Files(use.reused + use.computed) +
                              " did not change since they were read before" +
                              (choice.folder.empty() ? "; --no-store reads all" : ""));
}

// The sign of a model whose cosine has another scale than the threshold.
bool MostPairsAreSimilar(const SimilarityResult& result) {
  const std::size_t images = result.paths.size();
  // A few pictures may well be alike.
  constexpr std::size_t kFewImages = 10;
  if (images < kFewImages) return false;
  const auto& similar = result.grouping.similar;
  // Every pair is counted at both of its images.
  const auto twice = std::accumulate(similar.begin(), similar.end(), std::uint64_t{0});
  if (result.reference) return 2 * twice > images * result.reference->paths.size();
  return 2 * twice > images * (images - 1);
}

// `listed`: the paths of --list.
int Find(const Embedder& embedder, const Arguments& arguments, const FindOptions& find,
         std::vector<std::string> listed) {
  Outputs outputs(find.outputs);
  // Before the work begins: a wrong path should not cost an hour.
  Status status = outputs.Check();
  if (!status.ok()) return Fail(arguments.program, status);

  ProgressLine line(!arguments.quiet);
  const auto progress = [&line](const char* phase, std::size_t done, std::size_t total) {
    line.Update(phase, done, total);
    return g_signal == 0;
  };
  SimilarityOptions options = find.similarity;
  Result<RunStores> stores = OpenStores(find.store, find.folder, options.against);
  if (!stores.ok()) return Fail(arguments.program, stores.status());
  if (!stores->note.empty() && !arguments.quiet) Note(arguments.program, stores->note);
  stores->Use(&options);
  bool told = false;
  if (!arguments.quiet) {
    options.notice = [&](const std::string& text) {
      line.Clear();
      std::cerr << arguments.program << ": warning: " << text << '\n';
      told = true;
    };
  }
  PagePairCollector near(std::min(options.threshold, kPageFloor), find.page.max_pairs);
  if (!find.outputs.html.empty()) {
    options.near = {[&](const EmbeddingsView& unit) { return near.Begin(unit, options.threshold); },
                    [&](const SimilarPair* pairs, std::size_t count) {
                      near.Add(pairs, count);
                      return true;
                    }};
  }
  Result<SimilarityResult> result =
      find.list.empty()
          ? FindSimilar(embedder, find.folder, options, progress, outputs.PairSink())
          : FindSimilar(embedder, ListFiles(std::move(listed), options.skip), options, progress, outputs.PairSink());
  line.Clear();
  if (!result.ok()) return Fail(arguments.program, result.status());
  NoteStore(arguments, *result, find.store);
  std::optional<HtmlPage> page;
  if (!find.outputs.html.empty()) {
    Result<HtmlPage> made = MakeHtmlPage(*result, near.Take(), find.page, progress);
    line.Clear();
    if (!made.ok()) return Fail(arguments.program, made.status());
    page = *std::move(made);
  }
  status = outputs.Write(*result, page ? &*page : nullptr);
  if (!status.ok()) return Fail(arguments.program, status);
  if (!arguments.quiet && page && !MissingFromPage(*page).empty()) {
    std::cerr << arguments.program << ": warning: " << MissingFromPage(*page) << '\n';
  }
  if (!arguments.quiet && !outputs.Missing().empty()) {
    std::cerr << arguments.program << ": warning: " << outputs.Missing() << '\n';
  }
  if (!arguments.quiet && !told && MostPairsAreSimilar(*result)) {
    std::cerr << arguments.program
              << ": warning: more than half of all pairs are similar; unless the pictures really are, the "
                 "threshold does not fit this model (rrn calibrate finds one that does)\n";
  }
  if (result->paths.empty()) {
    return Fail(arguments.program, kNothingReadable,
                (find.list.empty() ? find.folder : "--list " + find.list) + ": no readable image among " +
                    std::to_string(result->files()) + (result->files() == 1 ? " file" : " files"));
  }
  return find.action.action == Action::kNone ? kDone : ActOn(*result, arguments, find);
}

// The work that needs a model: Find or Compare.
int RunModel(const Arguments& arguments) {
  const auto* find = std::get_if<FindOptions>(&arguments.options);
  std::vector<std::string> listed;
  if (find != nullptr && !find->list.empty()) {
    Result<std::vector<std::string>> read = ReadPathList(find->list);
    if (!read.ok()) return Fail(arguments.program, read.status());
    listed = *std::move(read);
  }
  const Result<Embedder> embedder =
      Embedder::Create(find != nullptr ? find->embedder : std::get<CompareOptions>(arguments.options).embedder);
  if (!embedder.ok()) {
    const bool usage = embedder.status().code() == StatusCode::kInvalidArgument;
    return Fail(arguments.program, usage ? kUsage : kRuntimeError, embedder.status().message());
  }
  if (!embedder->info().note.empty() && !arguments.quiet) Note(arguments.program, embedder->info().note);
  return find != nullptr ? Find(*embedder, arguments, *find, std::move(listed))
                         : Compare(*embedder, arguments, std::get<CompareOptions>(arguments.options));
}

void HandleSignals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    // A program that was started with one of them ignored, as nohup does, should go on.
    struct sigaction old = {};
    if (sigaction(signal, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) continue;
    std::signal(signal, OnSignal);
  }
}

int Run(const CommandLineDefaults& defaults, const std::vector<std::string>& words) {
  const Result<Arguments> parsed = ParseArguments(defaults, words);
  if (!parsed.ok()) return Fail(defaults.caller.program, parsed.status());
  const Arguments& arguments = *parsed;
  if (arguments.mode() == Mode::kAnswer) {
    std::cout << std::get<AnswerOptions>(arguments.options).text << std::flush;
    return std::cout ? kDone : kRuntimeError;
  }
  HandleSignals();
  if (!arguments.quiet) {
    for (const std::string& note : arguments.notes) Note(arguments.program, note);
  }
  if (arguments.mode() == Mode::kUndo) return UndoJournal(arguments, std::get<UndoOptions>(arguments.options));
  return RunModel(arguments);
}

}  // namespace

int RunCommandLine(const CommandLineDefaults& defaults, const std::vector<std::string>& words) {
  try {
    return Run(defaults, words);
  } catch (const std::exception& error) {
    std::cerr << defaults.caller.program << ": " << error.what() << '\n';
    return kRuntimeError;
  }
}

}  // namespace rrn
