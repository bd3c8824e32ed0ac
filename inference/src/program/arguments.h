// The words of the command line, read and checked.
#ifndef RRN_PROGRAM_ARGUMENTS_H_
#define RRN_PROGRAM_ARGUMENTS_H_

#include <string>
#include <vector>

#include "program/actions/actions.h"
#include "program/command_line.h"
#include "program/outputs.h"
#include "program/page/html_page.h"
#include "rrn/embedder.h"
#include "rrn/similarity.h"
#include "rrn/status.h"

namespace rrn {

struct Arguments {
  std::string program;
  std::vector<std::string> paths;  // a folder, two images, or none
  std::string list;                // the file that names the images, "-" for standard input; empty: none
  std::string undo;                // a journal; empty: none
  EmbedderOptions embedder;
  SimilarityOptions similarity;
  OutputOptions outputs;
  HtmlPageOptions page;
  ActionOptions action;
  std::string answer;  // of --help and --version: print it, there is nothing else to do
};

// Reads the words after the program's name and checks all that can be checked without looking at an image.
// Errors: kInvalidArgument, with a line that says what was expected.
Result<Arguments> ParseArguments(const CommandLineDefaults& defaults, std::vector<std::string> words);

}  // namespace rrn

#endif  // RRN_PROGRAM_ARGUMENTS_H_
