// What was typed, before what is meant by it is worked out.
#ifndef RRN_PROGRAM_FLAGS_TYPED_H_
#define RRN_PROGRAM_FLAGS_TYPED_H_

#include <cstdint>
#include <string>
#include <vector>

#include "program/outputs.h"
#include "program/page/html_page.h"
#include "rrn/embedder.h"
#include "rrn/image.h"
#include "rrn/search.h"
#include "rrn/similarity.h"

namespace rrn {

class Flag;

// A question that is answered instead of doing any work.
enum class Question { kNone, kShortHelp, kHelp, kVersion };

// One member for each flag. They begin as the libraries' options do, so each default is written once, there.
struct Typed {
  std::vector<std::string> paths;
  std::vector<const Flag*> given;  // what was typed, of the table, in its order

  std::string list;
  std::string against;
  bool recursive = SimilarityOptions{}.recursive;
  std::vector<std::string> skip;
  std::uint64_t max_megapixels = DecodeOptions{}.max_pixels / 1'000'000;

  float threshold = SimilarityOptions{}.threshold;
  std::string keep = RepresentativePolicyName(SimilarityOptions{}.keep);
  std::string model;
  std::string op_library;
  int size = EmbedderOptions{}.size;
  bool full_decode = EmbedderOptions{}.full_decode;

  std::string json;
  std::string pairs;
  std::uint64_t max_pairs = OutputOptions{}.max_pairs;
  std::string embeddings;
  std::string html;
  std::uint64_t html_pairs = HtmlPageOptions{}.max_pairs;
  bool quiet = OutputOptions{}.quiet;

  std::string move_to;
  bool hardlink = false;
  std::string undo;
  std::string action;         // the old form of the two before it
  std::string action_folder;  // of --action move

  std::string store;
  bool no_store = false;

  int batch = EmbedderOptions{}.batch;
  int threads = EmbedderOptions{}.threads;
  std::string provider = EmbedderOptions{}.provider;
  std::string precision = EmbedderOptions{}.precision;
  bool cache = EmbedderOptions{}.cache;
  std::string search = "exact";
  int search_neighbours = ApproximateOptions{}.neighbours;
  int search_effort = ApproximateOptions{}.effort;

  Question question = Question::kNone;
  std::string generate;
};

}  // namespace rrn

#endif  // RRN_PROGRAM_FLAGS_TYPED_H_
