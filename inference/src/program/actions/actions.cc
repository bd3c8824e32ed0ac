#include "program/actions/actions.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "base/files.h"
#include "program/actions/plan.h"
#include "program/actions/worker.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;

}  // namespace

bool IsInside(const std::string& folder, const std::string& parent) {
  const auto above = IdOf(parent);
  std::error_code error;
  fs::path at = fs::canonical(folder, error);
  if (!above || error) return false;
  for (;; at = at.parent_path()) {
    if (IdOf(at.string()) == above) return true;
    if (at == at.root_path()) return false;
  }
}

Status CheckAction(const ActionOptions& options) {
  if (options.action == Action::kHardlink && access(".", W_OK) != 0) {
    return {StatusCode::kRuntime, "--hardlink: cannot write its journal in the current folder"};
  }
  if (options.action != Action::kMove) return {};
  if (!IdOf(options.target)) {
    // The folder that it would be made in.
    std::error_code error;
    fs::path above = fs::absolute(options.target, error).lexically_normal();
    while (!fs::exists(above, error) && above.has_relative_path()) above = above.parent_path();
    if (fs::is_directory(above, error) && access(above.c_str(), W_OK) == 0) return {};
    return {StatusCode::kRuntime, "--move-to " + options.target + ": cannot make this folder"};
  }
  std::error_code error;
  if (!fs::is_directory(options.target, error)) {
    return {StatusCode::kInvalidArgument, "--move-to " + options.target + ": not a folder"};
  }
  for (const std::string& other : {options.folder, options.reference}) {
    // One above it, too: a path under it may lead right back.
    if (!other.empty() && IsInside(other, options.target)) {
      return {StatusCode::kInvalidArgument, "--move-to " + options.target +
                                                ": images cannot be moved into a folder that is searched, or into one "
                                                "above it; name another"};
    }
  }
  if (access(options.target.c_str(), W_OK) != 0) {
    return {StatusCode::kRuntime, "--move-to " + options.target + ": cannot write here"};
  }
  return {};
}

ActionResult Act(const SimilarityResult& result, const ActionOptions& options, const GoOn& go_on) {
  ActionResult outcome;
  Plan plan = MakePlan(result, options);
  outcome.redundant = plan.candidates.size() + plan.left_alone.size();
  outcome.left_alone = std::move(plan.left_alone);
  Worker worker(options, &outcome);
  for (const Candidate& candidate : plan.candidates) {
    if (!outcome.stopped.ok()) break;
    if (go_on && !go_on()) {
      outcome.stopped = {StatusCode::kCancelled, "interrupted"};
      break;
    }
    outcome.stopped = worker.Do(candidate);
  }
  std::sort(outcome.left_alone.begin(), outcome.left_alone.end());
  return outcome;
}

}  // namespace rrn
