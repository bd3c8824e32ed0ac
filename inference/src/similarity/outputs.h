// The files that a run writes, and its standard output.
#ifndef RRN_SIMILARITY_OUTPUTS_H_
#define RRN_SIMILARITY_OUTPUTS_H_

#include <memory>
#include <string>
#include <vector>

#include "rrn/similarity.h"
#include "rrn/status.h"

namespace rrn {

struct OutputOptions {
  std::string json;        // a path, "-" for standard output, or empty
  std::string pairs;       // a path or empty
  std::string embeddings;  // a path that ends in .npy, or empty
  bool quiet = false;      // no text on standard output
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

  // Writes everything. Errors: kRuntime, naming the place.
  Status Write(const SimilarityReport& report);

 private:
  // The pairs file with its header, made at the first call. Not earlier: a file inside the folder that is being
  // searched would turn up among its files.
  OutputFile& Pairs();

  OutputOptions options_;
  std::vector<std::string> paths_;
  std::unique_ptr<OutputFile> pairs_;
};

}  // namespace rrn

#endif  // RRN_SIMILARITY_OUTPUTS_H_
