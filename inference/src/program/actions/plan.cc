#include "program/actions/plan.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"

namespace rrn {
namespace {

class Planner {
 public:
  Planner(const SimilarityResult& result, const ActionOptions& options) : options_(options) {
    std::vector<RedundantImage> redundant = RedundantImages(result);
    std::set<std::string> names;
    for (const RedundantImage& image : redundant) names.insert(image.path);
    for (const std::string& path : result.paths) {
      if (names.count(path) == 0) AddKept(path);
    }
    if (result.reference) {
      for (const std::string& path : result.reference->paths) AddKept(path);
    }
    for (RedundantImage& image : redundant) {
      std::string reason = Add(image);
      if (!reason.empty()) plan_.left_alone.push_back({std::move(image.path), std::move(reason)});
    }
  }

  Plan Take() { return std::move(plan_); }

 private:
  void AddKept(const std::string& path) {
    if (const auto id = IdOf(path)) kept_[*id].push_back(path);
  }

  // Why it is left alone, or empty.
  std::string Add(const RedundantImage& image) {
    const Result<FileState> state = StateOf(image.path);
    if (!state.ok()) return state.status().message();
    if (state->changed > options_.start) return "it changed while it was being compared";
    const Result<FileState> kept_state = StateBehind(image.kept);
    if (!kept_state.ok()) return "the image to keep, " + image.kept + ", is no longer there";
    if (kept_state->changed > options_.start) {
      return "the image to keep, " + image.kept + ", changed while it was being compared";
    }
    const std::string entry = EntryName(image.path);
    if (entry.empty()) return "its folder is no longer there";
    const auto same = kept_.find({state->device, state->inode});
    if (same != kept_.end()) {
      for (const std::string& path : same->second) {
        if (!StateOf(path).ok()) return "the image to keep, " + path + ", is a symbolic link to it";
        // With a single name it is that very entry, say in a folder that is mounted twice.
        if (EntryName(path) == entry || state->links == 1) {
          return "it is the image to keep, " + path + ", by another name";
        }
      }
    }
    plan_.candidates.push_back({image, entry, *state, EntryName(image.kept), *kept_state,
                                same == kept_.end() ? std::vector<std::string>() : same->second});
    return "";
  }

  const ActionOptions& options_;
  std::map<FileId, std::vector<std::string>> kept_;
  Plan plan_;
};

}  // namespace

bool AsCompared(const Candidate& candidate, const std::string& path) {
  const Result<FileState> now = StateOf(path);
  return now.ok() && now->SameFile(candidate.state) && now->SameContent(candidate.state) &&
         std::all_of(candidate.shared.begin(), candidate.shared.end(), [&](const std::string& kept) {
           return IdOf(kept) == FileId(candidate.state.device, candidate.state.inode);
         });
}

Plan MakePlan(const SimilarityResult& result, const ActionOptions& options) { return Planner(result, options).Take(); }

}  // namespace rrn
