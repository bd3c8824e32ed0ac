// Which of the redundant images can be acted on.
#ifndef RRN_PROGRAM_ACTIONS_PLAN_H_
#define RRN_PROGRAM_ACTIONS_PLAN_H_

#include <string>
#include <vector>

#include "program/actions/actions.h"
#include "program/actions/files.h"
#include "rrn/embedder.h"
#include "rrn/similarity.h"

namespace rrn {

// A redundant image, looked at and found fit to be acted on.
struct Candidate {
  RedundantImage image;
  std::string entry;  // its absolute path
  FileState state;
  std::string kept_entry;
  FileState kept_state;             // of the file, where `kept` is a symbolic link
  std::vector<std::string> shared;  // names of kept images that are the same file
};

// Whether what is at `path` now is what was compared, and no kept image went there with it: a name that differs may
// still be the same entry of a folder.
bool AsCompared(const Candidate& candidate, const std::string& path);

// The redundant images of a result, sorted out.
struct Plan {
  std::vector<Candidate> candidates;
  std::vector<SkippedFile> left_alone;  // with the reason
};
Plan MakePlan(const SimilarityResult& result, const ActionOptions& options);

}  // namespace rrn

#endif  // RRN_PROGRAM_ACTIONS_PLAN_H_
