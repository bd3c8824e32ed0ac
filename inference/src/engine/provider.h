// Which execution providers and precisions to try, from what was asked for. No ONNX Runtime here.
#ifndef RRN_ENGINE_PROVIDER_H_
#define RRN_ENGINE_PROVIDER_H_

#include <string>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/status.h"

namespace rrn::internal {

struct Choice {
  std::string provider;
  std::string precision;
  // Skip it where the machine has the precision without being fast at it.
  bool only_if_fast = false;
};

// The choices to try, best first; at least one. Where options.provider is "auto" the last one is "cpu".
// Errors: kInvalidArgument: an unknown name, or a precision that this provider or model file never has.
Result<std::vector<Choice>> ChoicesFor(const EmbedderOptions& options);

// Is this the name of an int8 model: *.int8.onnx?
bool IsInt8Model(const std::string& model);

// The file that holds `model` in this precision: STEM.int8.onnx beside STEM.onnx for "int8", `model` itself otherwise.
std::string ModelFileFor(const std::string& model, const std::string& precision);

// A reason why a choice was passed over.
struct Refusal {
  Choice choice;
  Status status;
};

// What to tell people (one line) when `picked` was not the first choice; empty if they lose nothing that they can
// change: the precision is the one asked for, and the passed-over providers are just not installed.
std::string FallbackNote(const EmbedderOptions& options, const Choice& picked, const std::vector<Refusal>& refusals);

}  // namespace rrn::internal

#endif  // RRN_ENGINE_PROVIDER_H_
