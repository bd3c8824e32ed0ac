// Opening a model with the first provider and precision that works.
#ifndef RRN_ENGINE_OPEN_FIRST_H_
#define RRN_ENGINE_OPEN_FIRST_H_

#include <memory>
#include <string>
#include <vector>

#include "engine/provider.h"
#include "rrn/status.h"

namespace rrn::internal {

// Calls open(choice), a Result<std::unique_ptr<Model>>, for one choice after the other (at least one).
//   note: receives what to tell people if it was not the first one, see FallbackNote.
// Errors: that of the last choice; kUnsupported instead of kNotFound, which is for files: a provider that is missing is
// something that this machine cannot do.
template <typename Model, typename Open>
Result<std::unique_ptr<Model>> OpenFirst(const EmbedderOptions& options, const std::vector<Choice>& choices,
                                         const Open& open, std::string* note) {
  std::vector<Refusal> refusals;
  for (const Choice& choice : choices) {
    Result<std::unique_ptr<Model>> model = open(choice);
    if (model.ok()) {
      *note = FallbackNote(options, choice, refusals);
      return model;
    }
    refusals.push_back({choice, model.status()});
  }
  Status status = refusals.back().status;
  if (status.code() == StatusCode::kNotFound) return Status(StatusCode::kUnsupported, status.message());
  return status;
}

}  // namespace rrn::internal

#endif  // RRN_ENGINE_OPEN_FIRST_H_
