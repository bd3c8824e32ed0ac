#include "engine/provider.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace rrn::internal {
namespace {

constexpr const char* kInt8Suffix = ".int8.onnx";
constexpr const char* kOnnxSuffix = ".onnx";

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

template <std::size_t N>
Status CheckName(const char* what, const std::string& name, const std::array<const char*, N>& known) {
  if (std::find(known.begin(), known.end(), name) != known.end()) return {};
  std::string list;
  for (const char* one : known) list += (list.empty() ? "" : ", ") + std::string(one);
  return {StatusCode::kInvalidArgument, std::string(what) + " is '" + name + "', expected one of " + list};
}

// ONNX Runtime's own kernels and its CUDA provider compute in the types of the model, which is fp32 or quantised;
// OpenVINO and TensorRT convert it.
bool Converts(const std::string& provider) { return provider == "openvino" || provider == "tensorrt"; }

std::vector<Choice> Automatic(const std::string& precision) {
  // fp16 on a CPU is slower than fp32, so openvino does it only when it is named.
  if (precision == "fp16") return {{"tensorrt", "fp16"}, {"cpu", "fp32"}};
  if (precision == "bf16") return {{"tensorrt", "bf16"}, {"openvino", "bf16", true}, {"cpu", "fp32"}};
  if (precision == "int8") return {{"tensorrt", "int8"}, {"openvino", "int8"}, {"cpu", "int8"}};
  // The same bits on every machine, whatever is installed; a GPU is used when it is named.
  return {{"cpu", "fp32"}};
}

}  // namespace

bool IsInt8Model(const std::string& model) { return EndsWith(model, kInt8Suffix); }

std::string ModelFileFor(const std::string& model, const std::string& precision) {
  if (precision != "int8" || IsInt8Model(model)) return model;
  const std::size_t stem = EndsWith(model, kOnnxSuffix) ? model.size() - std::string(kOnnxSuffix).size() : model.size();
  return model.substr(0, stem) + kInt8Suffix;
}

Result<std::vector<Choice>> ChoicesFor(const EmbedderOptions& options) {
  Status status = CheckName("provider", options.provider, kProviderNames);
  if (status.ok()) status = CheckName("precision", options.precision, kPrecisionNames);
  if (!status.ok()) return status;
  std::string precision = options.precision;
  if (IsInt8Model(options.model)) {
    if (precision != "auto" && precision != "int8") {
      return Status(StatusCode::kInvalidArgument, options.model + " is an int8 model, it cannot run in " + precision);
    }
    precision = "int8";
  }
  if (options.provider == "auto") return Automatic(precision);
  if (precision == "auto") {
    // openvino is named for its speed, and it is not faster in fp32.
    if (options.provider == "openvino") return std::vector<Choice>{{"openvino", "bf16", true}, {"openvino", "fp32"}};
    precision = "fp32";
  }
  const bool int8_on_cpu = options.provider == "cpu" && precision == "int8";
  if (precision != "fp32" && !Converts(options.provider) && !int8_on_cpu) {
    return Status(StatusCode::kInvalidArgument,
                  "provider '" + options.provider + "' does not compute in " + precision + "; it has fp32" +
                      (options.provider == "cpu" ? " and int8, openvino has bf16" : ", tensorrt has fp16 and bf16"));
  }
  return std::vector<Choice>{{options.provider, precision}};
}

std::string FallbackNote(const EmbedderOptions& options, const Choice& picked, const std::vector<Refusal>& refusals) {
  // A named openvino with automatic precision got what there is.
  if (options.provider != "auto") return "";
  const bool as_asked = options.precision == "auto" || options.precision == picked.precision;
  std::string reasons;
  for (const Refusal& refusal : refusals) {
    const bool not_installed = refusal.status.code() == StatusCode::kNotFound;
    // Without a GPU, a missing TensorRT is not worth a note.
    if (not_installed && (as_asked || refusal.choice.provider == "tensorrt")) continue;
    reasons += (reasons.empty() ? "" : "; ") + refusal.choice.provider + ": " + refusal.status.message();
  }
  if (as_asked && reasons.empty()) return "";
  if (reasons.empty()) reasons = "only tensorrt gains from " + options.precision + ", and it is not installed";
  return "computing in " + picked.precision + " on " + picked.provider +
         (as_asked ? "" : " instead of " + options.precision) + " (" + reasons + ")";
}

}  // namespace rrn::internal
