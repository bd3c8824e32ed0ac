// What can be done with redundant images: move them away, or make them hard links of the image that is kept. Both are
// written to a journal first (journal.h), which undoes them. No image is ever deleted.
#ifndef RRN_PROGRAM_ACTIONS_ACTIONS_H_
#define RRN_PROGRAM_ACTIONS_ACTIONS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/similarity.h"
#include "rrn/status.h"

namespace rrn {

enum class Action { kNone, kHardlink, kMove };

struct ActionOptions {
  Action action = Action::kNone;
  std::string folder;     // that was searched; empty with a list of files
  std::string reference;  // of --against, or empty
  std::string target;     // of kMove: where images go
  // Files that changed since then (nanoseconds since 1970) are left alone: what is known of them is out of date.
  std::int64_t start = 0;
};

struct DoneAction {
  std::string path;
  std::string to;  // where it went, or the image that it is a link of
};

struct ActionResult {
  std::size_t redundant = 0;
  std::vector<DoneAction> done;
  std::vector<SkippedFile> left_alone;  // for good reasons
  std::vector<SkippedFile> failed;
  std::string journal;  // empty if there was nothing to do
  Status stopped;       // kCancelled, or why target or journal cannot be written; the rest is as it was
};

// Asked before every step; false ends the work.
using GoOn = std::function<bool()>;

// Finds what is wrong before the work begins, without making anything.
// Errors: kInvalidArgument (the target is the folder, the reference or above one of them, or no folder), kRuntime (a
// place that cannot be written).
Status CheckAction(const ActionOptions& options);

// Whether `folder` is inside `parent`, both as the system knows them; false if one is not there.
bool IsInside(const std::string& folder, const std::string& parent);

// Acts on RedundantImages, in the order of their paths; kHardlink or kMove.
//
// Left alone are symbolic links, files that changed or went away meanwhile, files that are the kept image by another
// name (or that a kept symbolic link ends at), and for kHardlink those with other bytes or on another file system.
//
// kMove: an image goes to its path relative to `folder` under the target; without a folder, to its path without the
// leading "/" and "..". A taken name gets a number before its extension. Across file systems it is copied, compared and
// only then removed. Mode and times stay.
// kHardlink: the image's name becomes another name of the kept image, in one step.
//
// The target and the journal are made when there is something to do, not before.
ActionResult Act(const SimilarityResult& result, const ActionOptions& options, const GoOn& go_on);

struct UndoResult {
  std::vector<DoneAction> done;  // `path` is as it was before; `to` as in ActionResult
  std::vector<SkippedFile> failed;
  Status stopped;
};

// Undoes what a journal says, the last step first: moved files go back, hard links become files of their own again,
// with the old mode and times. Every step that was undone is added to the journal, so a second time has nothing left to
// do. Refused are a place that is taken, and a file that is gone or has another size or time than recorded; the rest is
// done. A journal of a run that was killed is as good as any.
// Errors: those of Journal::Read and Journal::Append.
Result<UndoResult> Undo(const std::string& journal, const GoOn& go_on);

}  // namespace rrn

#endif  // RRN_PROGRAM_ACTIONS_ACTIONS_H_
