// What is meant by the words of a command line, checked.
#ifndef RRN_PROGRAM_ARGUMENTS_H_
#define RRN_PROGRAM_ARGUMENTS_H_

#include <string>
#include <variant>
#include <vector>

#include "program/actions/actions.h"
#include "program/command_line.h"
#include "program/outputs.h"
#include "program/page/html_page.h"
#include "program/stores.h"
#include "rrn/embedder.h"
#include "rrn/similarity.h"
#include "rrn/status.h"

namespace rrn {

// What there is to do.
enum class Mode { kAnswer, kFind, kCompare, kUndo };

// A question: --help, --version, --generate.
struct AnswerOptions {
  std::string text;
};

// The similar images of a folder or a list.
struct FindOptions {
  std::string folder;  // empty: see `list`
  std::string list;    // the file that names the images, "-" for standard input
  EmbedderOptions embedder;
  SimilarityOptions similarity;
  StoreChoice store;
  OutputOptions outputs;
  HtmlPageOptions page;
  ActionOptions action;
};

// Two images.
struct CompareOptions {
  std::string first;
  std::string second;
  EmbedderOptions embedder;
  float threshold = kDefaultThreshold;
};

// A journal of a run that moved or linked images.
struct UndoOptions {
  std::string journal;
};

struct Arguments {
  std::string program;
  bool quiet = false;              // only errors are shown
  std::vector<std::string> notes;  // for people, a line each
  // In the order of Mode.
  std::variant<AnswerOptions, FindOptions, CompareOptions, UndoOptions> options;

  Mode mode() const { return static_cast<Mode>(options.index()); }
};

// Reads the words after the program's name and checks all that can be checked without looking at an image.
// Errors: kInvalidArgument, with a line that says what was expected; kRuntime (a folder that cannot be written).
Result<Arguments> ParseArguments(const CommandLineDefaults& defaults, const std::vector<std::string>& words);

}  // namespace rrn

#endif  // RRN_PROGRAM_ARGUMENTS_H_
