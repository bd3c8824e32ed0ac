// The steps of one run: each is written to the journal before it is done.
#ifndef RRN_PROGRAM_ACTIONS_WORKER_H_
#define RRN_PROGRAM_ACTIONS_WORKER_H_

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>

#include "program/actions/actions.h"
#include "program/actions/journal.h"
#include "program/actions/plan.h"
#include "rrn/status.h"

namespace rrn {

// Not thread-safe. Both references must outlive it.
class Worker {
 public:
  Worker(const ActionOptions& options, ActionResult* result) : options_(options), result_(*result) {}

  // Moves or links one image; what became of it goes to the result.
  // Errors: those of the target folder and of the journal, which end the run.
  Status Do(const Candidate& candidate);

 private:
  // How a step ended, where no error stopped it.
  enum class Outcome {
    kDone,
    kTaken,    // the name has been taken meanwhile; nothing was done
    kChanged,  // an image is not what was compared any more; nothing was done
  };

  // The target and the journal, made at the first step and not earlier: a run with nothing to do leaves nothing behind.
  Status Begin();
  Status Write(const JournalLine& line);

  // The journal's line of the next step.
  JournalLine NextStep(const Candidate& candidate);
  // The step that was written down last did not happen. If even that cannot be written, undoing finds out by itself.
  Status TakeBackStep();

  // What did not happen, and why. LeftAlone: for a good reason.
  Status LeaveAlone(const Candidate& candidate, const std::string& reason);
  void Fail(const Candidate& candidate, const std::string& reason);

  // Each returns the journal's error. `outcome` receives what became of the step, or the error of the file system.
  Status Move(const Candidate& candidate);
  Status MoveTo(const Candidate& candidate, const std::string& to, dev_t device, Result<Outcome>* outcome);
  Status CopyTo(const Candidate& candidate, const std::string& to, const JournalLine& line, Result<Outcome>* outcome);
  Status Link(const Candidate& candidate);

  Status FailToMove(const Candidate& candidate, const std::string& to, const Status& error);
  // The folders above `to` that are not there yet.
  Status MakeFolders(const std::string& to, Status* made);
  void AddPart(const Candidate& candidate, const std::string& to, JournalLine* line) const;

  static Result<Outcome> RemoveOriginal(const Candidate& candidate, const std::string& aside);
  static Result<Outcome> PutLink(const Candidate& candidate, const FileState& kept, const std::string& part);
  static Result<Outcome> PutLinkInTwoSteps(const Candidate& candidate, const std::string& part);

  const ActionOptions& options_;
  ActionResult& result_;
  std::string base_;  // where images are moved to, as an absolute path
  std::optional<Journal> journal_;
  std::size_t step_ = 0;
};

}  // namespace rrn

#endif  // RRN_PROGRAM_ACTIONS_WORKER_H_
