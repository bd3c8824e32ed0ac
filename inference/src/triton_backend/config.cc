// Reads a config.pbtxt.

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>

#include "triton_backend/model.h"

namespace rrn::triton_backend {
namespace {

using nlohmann::json;

Status Wrong(const std::string& what) { return {StatusCode::kInvalidArgument, "config.pbtxt: " + what}; }

template <typename Number>
Status ReadNumber(const std::string& name, const std::string& text, Number* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (error == std::errc() && end == text.data() + text.size()) return {};
  return Wrong("parameter " + name + " is '" + text + "', expected a whole number");
}

Status ReadParameter(const std::string& name, const std::string& text, const std::string& folder, ModelConfig* config) {
  EmbedderOptions& options = config->options;
  if (name == "size") return ReadNumber(name, text, &options.size);
  if (name == "batch") return ReadNumber(name, text, &options.batch);
  if (name == "threads") return ReadNumber(name, text, &options.threads);
  if (name == "max_pixels") return ReadNumber(name, text, &options.decode.max_pixels);
  if (name == "max_bytes") return ReadNumber(name, text, &config->max_bytes);
  if (name == "low_latency" && (text == "0" || text == "1")) {
    config->low_latency = text == "1";
  } else if (name == "provider") {
    options.provider = text;
  } else if (name == "precision") {
    options.precision = text;
  } else if (name == "op_library") {
    options.op_library = text.empty() || text[0] == '/' ? text : folder + "/" + text;
  } else {
    return Wrong("unknown parameter " + name + " = '" + text + "'" +
                 ", expected size, batch, threads, provider, precision, op_library, max_pixels, max_bytes or "
                 "low_latency (0 or 1)");
  }
  return {};
}

// Is there exactly this tensor? Its last dimension to `dim`.
Status CheckTensor(const json& tensors, const char* name, const char* type, std::int64_t* dim) {
  for (const json& tensor : tensors) {
    if (tensor.value("name", "") != name) continue;
    if (tensor.value("data_type", "") != type) return Wrong(std::string(name) + " must be " + type);
    const json& dims = tensor.value("dims", json::array());
    if (dims.size() != 1) return Wrong(std::string(name) + " must have one dimension beside the batch");
    *dim = dims[0].get<std::int64_t>();
    return {};
  }
  return Wrong(std::string("there is no ") + name + " (" + type + ")");
}

Status Read(const json& parsed, const std::string& folder, std::uint64_t version, ModelConfig* config) {
  std::int64_t ones = 0;
  Status status = CheckTensor(parsed.value("input", json::array()), kImage, "TYPE_STRING", &ones);
  if (status.ok() && ones != 1) status = Wrong("image must have dims [1]");
  const json& outputs = parsed.value("output", json::array());
  if (status.ok()) status = CheckTensor(outputs, kEmbedding, "TYPE_FP32", &config->dim);
  if (status.ok()) status = CheckTensor(outputs, kError, "TYPE_STRING", &ones);
  if (status.ok() && parsed.value("max_batch_size", 0) < 1) status = Wrong("max_batch_size must be 1 or more");
  if (!status.ok()) return status;
  std::string file = parsed.value("default_model_filename", "");
  if (file.empty()) file = "model.onnx";
  config->options.model = folder + "/" + std::to_string(version) + "/" + file;
  std::int64_t instances = 0;
  for (const json& group : parsed.value("instance_group", json::array())) instances += group.value("count", 1);
  config->instances = static_cast<std::size_t>(std::max<std::int64_t>(1, instances));
  const json& parameters = parsed.value("parameters", json::object());
  for (const auto& [name, value] : parameters.items()) {
    status = ReadParameter(name, value.value("string_value", ""), folder, config);
    if (!status.ok()) return status;
  }
  return {};
}

}  // namespace

Result<ModelConfig> ParseModelConfig(const std::string& text, const std::string& folder, std::uint64_t version) {
  ModelConfig config;
  try {
    Status status = Read(json::parse(text), folder, version, &config);
    if (!status.ok()) return status;
  } catch (const json::exception& error) {
    return Wrong(error.what());
  }
  return config;
}

}  // namespace rrn::triton_backend
