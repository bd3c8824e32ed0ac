// The files that a run writes, and its standard output.
#ifndef RRN_PROGRAM_OUTPUTS_H_
#define RRN_PROGRAM_OUTPUTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "program/page/html_page.h"
#include "rrn/similarity.h"
#include "rrn/status.h"

namespace rrn {

struct OutputOptions {
  std::string json;                      // a path, "-" for standard output, or empty
  std::string pairs;                     // a path or empty
  std::uint64_t max_pairs = 10'000'000;  // lines of that file; later pairs are counted, not written
  std::string embeddings;                // a path that ends in .npy, or empty
  std::string html;                      // a path or empty
  bool quiet = false;                    // no text on standard output
};

class OutputFile;

// Not thread-safe. Files appear under their names when they are complete, and not at all after an error.
class Outputs {
 public:
  explicit Outputs(OutputOptions options);
  ~Outputs();
  Outputs(const Outputs&) = delete;
  Outputs& operator=(const Outputs&) = delete;

  // Finds wrong paths before the work begins, without making any file.
  // Errors: kInvalidArgument (names that clash), kRuntime (a place that cannot be written).
  Status Check() const;

  // Receives the pairs if they were asked for, otherwise empty.
  PathPairSink PairSink();

  // What the pairs file lacks, for people; empty if nothing.
  std::string Missing() const;

  // Writes everything. Errors: kRuntime, naming the place.
  //   page: for OutputOptions::html; may be null where that is empty.
  Status Write(const SimilarityResult& result, const HtmlPage* page = nullptr);

 private:
  // The pairs file with its header, made at the first call. Not earlier: a file inside the folder that is being
  // searched would turn up among its files.
  OutputFile& Pairs();

  OutputOptions options_;
  std::vector<std::string> paths_;
  std::unique_ptr<OutputFile> pairs_;
  std::uint64_t pairs_seen_ = 0;
};

}  // namespace rrn

#endif  // RRN_PROGRAM_OUTPUTS_H_
