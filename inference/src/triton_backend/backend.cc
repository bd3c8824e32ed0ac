// The functions that Triton calls. Only these are exported from libtriton_rrn.so.
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>

#include "triton_backend/batch.h"
#include "triton_backend/errors.h"
#include "triton_backend/model.h"
#include "triton_backend/triton_api.h"

#define RRN_TRITON_EXPORT extern "C" __attribute__((visibility("default")))

namespace rrn::triton_backend {
namespace {

Result<std::string> ConfigOf(TRITONBACKEND_Model* model) {
  TRITONSERVER_Message* message = nullptr;
  Status status = FromTriton(TRITONBACKEND_ModelConfig(model, 1, &message));
  if (!status.ok()) return status;
  const char* text = nullptr;
  std::size_t size = 0;
  status = FromTriton(TRITONSERVER_MessageSerializeToJson(message, &text, &size));
  std::string config(text == nullptr ? "" : text, size);
  Ignore(TRITONSERVER_MessageDelete(message));
  if (!status.ok()) return status;
  return config;
}

Status Initialize(TRITONBACKEND_Model* model) {
  const Result<std::string> text = ConfigOf(model);
  if (!text.ok()) return text.status();
  TRITONBACKEND_ArtifactType type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  const char* folder = nullptr;
  std::uint64_t version = 0;
  Status status = FromTriton(TRITONBACKEND_ModelRepository(model, &type, &folder));
  if (status.ok()) status = FromTriton(TRITONBACKEND_ModelVersion(model, &version));
  if (!status.ok()) return status;
  const Result<ModelConfig> config = ParseModelConfig(*text, folder, version);
  if (!config.ok()) return config.status();
  Result<Model> opened = OpenModel(*config);
  if (!opened.ok()) return opened.status();
  const ModelInfo& info = opened->embedder.info();
  const std::string line = "rrn: " + info.file + " on " + info.provider + ", " + info.precision + ", " +
                           std::to_string(info.size) + " px" + (info.note.empty() ? "" : "; " + info.note);
  Ignore(TRITONSERVER_LogMessage(TRITONSERVER_LOG_INFO, "rrn", 0, line.c_str()));
  auto state = std::make_unique<Model>(*std::move(opened));
  status = FromTriton(TRITONBACKEND_ModelSetState(model, state.get()));
  // The server keeps it until TRITONBACKEND_ModelFinalize.
  if (status.ok()) static_cast<void>(state.release());
  return status;
}

// No exception may cross the C interface.
template <typename Function>
TRITONSERVER_Error* Guard(Function function) {
  try {
    return ToTriton(function());
  } catch (const std::exception& error) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, error.what());
  } catch (...) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "unknown exception");
  }
}

}  // namespace
}  // namespace rrn::triton_backend

using rrn::Status;
using rrn::triton_backend::Model;

RRN_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* /*backend*/) {
  return rrn::triton_backend::Guard([]() -> Status {
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
    Status status = rrn::triton_backend::FromTriton(TRITONBACKEND_ApiVersion(&major, &minor));
    if (!status.ok() || major == kTritonApiMajor) return status;
    return {rrn::StatusCode::kUnsupported, "the server's backend API is " + std::to_string(major) + ", expected 1"};
  });
}

RRN_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  return rrn::triton_backend::Guard([model] { return rrn::triton_backend::Initialize(model); });
}

RRN_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  void* state = nullptr;
  TRITONSERVER_Error* error = TRITONBACKEND_ModelState(model, &state);
  const std::unique_ptr<Model> owned(static_cast<Model*>(state));
  return error;
}

// On success the requests are this function's to answer and to release.
RRN_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                                         TRITONBACKEND_Request** requests,
                                                                         const std::uint32_t count) {
  return rrn::triton_backend::Guard([&] { return rrn::triton_backend::Execute(instance, requests, count); });
}
