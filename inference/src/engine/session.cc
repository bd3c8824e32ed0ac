#include "engine/session.h"

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "rrn/version.h"

namespace rrn {

const char* OnnxRuntimeVersion() { return OrtGetApiBase()->GetVersionString(); }

namespace internal {
namespace {

// The oldest ONNX Runtime that works (1.20); nothing newer than its API is called, so any newer one does too.
constexpr std::uint32_t kMinOrtApiVersion = 20;

// ONNX Runtime's exceptions may span lines; our messages are one.
std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

Status InitOrt() {
  const OrtApi* api = OrtGetApiBase()->GetApi(kMinOrtApiVersion);
  if (api == nullptr) {
    return {StatusCode::kRuntime,
            std::string("ONNX Runtime ") + OnnxRuntimeVersion() + " is too old, 1.20 or newer is needed"};
  }
  Ort::InitApi(api);
  return {};
}

// Model metadata that `python -m rrn_native.export` writes; all of it is optional.
struct Metadata {
  std::string weights_origin;
  std::string weights_sha256;
  int size = 224;
  Preprocessing preprocessing;
};

std::string Lookup(const Ort::ModelMetadata& metadata, const char* key) {
  Ort::AllocatorWithDefaultOptions allocator;
  const Ort::AllocatedStringPtr value = metadata.LookupCustomMetadataMapAllocated(key, allocator);
  return value == nullptr ? std::string() : std::string(value.get());
}

// Throws nlohmann::json::exception where the text is not what export writes.
Metadata ReadMetadata(const Ort::Session& session) {
  const Ort::ModelMetadata map = session.GetModelMetadata();
  Metadata metadata;
  metadata.weights_origin = Lookup(map, "rrn.weights.origin");
  metadata.weights_sha256 = Lookup(map, "rrn.weights.sha256");
  const std::string text = Lookup(map, "rrn.preprocessing");
  if (!text.empty()) {
    const auto json = nlohmann::json::parse(text);
    metadata.size = json.value("size", metadata.size);
    metadata.preprocessing.mean = json.value("mean", metadata.preprocessing.mean);
    metadata.preprocessing.stddev = json.value("std", metadata.preprocessing.stddev);
  }
  return metadata;
}

class OrtSession final : public Session {
 public:
  OrtSession(const EmbedderOptions& options, const std::string& op_library)
      : env_(ORT_LOGGING_LEVEL_FATAL, "rrn"),
        session_(env_, options.model.c_str(), MakeOptions(options, op_library)),
        memory_(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault)) {
    const Metadata metadata = ReadMetadata(session_);
    preprocessing_ = metadata.preprocessing;
    info_.file = std::filesystem::path(options.model).filename().string();
    info_.weights_origin = metadata.weights_origin;
    info_.weights_sha256 = metadata.weights_sha256;
    info_.size = options.size > 0 ? options.size : metadata.size;
    info_.provider = options.provider;
    info_.custom_op = !op_library.empty();
  }

  const ModelInfo& info() const override { return info_; }
  const Preprocessing& preprocessing() const override { return preprocessing_; }
  std::size_t max_batch() const override { return max_batch_; }

  // What keeps this from being an image model; empty if nothing does. Learns D by running one black picture.
  std::string CheckModel() {
    if (info_.size < kMinImageSize || info_.size > kMaxImageSize) {
      return "its metadata asks for images of size " + std::to_string(info_.size) + ", expected " +
             std::to_string(kMinImageSize) + " ... " + std::to_string(kMaxImageSize);
    }
    for (const float stddev : preprocessing_.stddev) {
      if (!std::isfinite(stddev) || stddev == 0.0F) return "its metadata names a standard deviation of 0";
    }
    if (session_.GetInputCount() != 1) {
      return "expected a model with one input, got " + std::to_string(session_.GetInputCount());
    }
    Ort::AllocatorWithDefaultOptions allocator;
    input_name_ = session_.GetInputNameAllocated(0, allocator).get();
    output_name_ = session_.GetOutputNameAllocated(0, allocator).get();
    const Ort::TypeInfo input_type = session_.GetInputTypeInfo(0);
    const auto input = input_type.GetTensorTypeAndShapeInfo();
    const std::vector<std::int64_t> shape = input.GetShape();
    if (input.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || shape.size() != 4 ||
        (shape[1] != 3 && shape[1] >= 0)) {
      return "expected an input of float32 [N, 3, H, W]";
    }
    if (shape[0] > 1) {
      return "the model takes exactly " + std::to_string(shape[0]) +
             " images at a time; export it with a free batch size";
    }
    if (shape[0] == 1) max_batch_ = 1;
    for (const std::size_t axis : {2U, 3U}) {
      if (shape[axis] > 0 && shape[axis] != info_.size) {
        return "the model takes images of " + std::to_string(shape[3]) + " x " + std::to_string(shape[2]) +
               " pixels, not " + std::to_string(info_.size) + " (set --size)";
      }
    }
    const auto side = static_cast<std::size_t>(info_.size);
    std::vector<float> black(3 * side * side);
    const Ort::Value output = RunOnce(black.data(), 1);
    const auto output_info = output.GetTensorTypeAndShapeInfo();
    const std::vector<std::int64_t> output_shape = output_info.GetShape();
    if (output_info.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || output_shape.size() != 2 ||
        output_shape[0] != 1 || output_shape[1] < 1) {
      return "expected a first output of float32 [N, D]";
    }
    info_.dim = static_cast<int>(output_shape[1]);
    return "";
  }

  Status Run(float* input, std::size_t count, float* output) const override {
    try {
      Ort::Value result = RunOnce(input, count);
      const std::size_t expected = count * static_cast<std::size_t>(info_.dim);
      if (result.GetTensorTypeAndShapeInfo().GetElementCount() != expected) {
        return {StatusCode::kRuntime, "the model gave an output of another size than before"};
      }
      // The const accessor of newer headers calls a function that ONNX Runtime 1.20 does not have.
      std::copy_n(result.GetTensorMutableData<float>(), expected, output);
      return {};
    } catch (const std::exception& error) {
      return {StatusCode::kRuntime, "inference failed: " + OneLine(error.what())};
    }
  }

 private:
  static Ort::SessionOptions MakeOptions(const EmbedderOptions& options, const std::string& op_library) {
    Ort::SessionOptions session_options;
    // Parallelism is over batches: every worker runs its own batch on its own thread, which keeps all cores busy
    // without any hand-over between the layers of one batch.
    session_options.SetIntraOpNumThreads(1);
    session_options.SetInterOpNumThreads(1);
    session_options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
    session_options.SetDeterministicCompute(true);
    if (!op_library.empty()) session_options.RegisterCustomOpsLibrary(op_library.c_str());
    if (options.provider == "cuda") session_options.AppendExecutionProvider_CUDA_V2(*CudaOptions());
    return session_options;
  }

  struct ReleaseCudaOptions {
    void operator()(OrtCUDAProviderOptionsV2* options) const { Ort::GetApi().ReleaseCUDAProviderOptions(options); }
  };
  static std::unique_ptr<OrtCUDAProviderOptionsV2, ReleaseCudaOptions> CudaOptions() {
    OrtCUDAProviderOptionsV2* options = nullptr;
    Ort::ThrowOnError(Ort::GetApi().CreateCUDAProviderOptions(&options));
    return std::unique_ptr<OrtCUDAProviderOptionsV2, ReleaseCudaOptions>(options);
  }

  Ort::Value RunOnce(float* input, std::size_t count) const {
    const std::array<std::int64_t, 4> shape = {static_cast<std::int64_t>(count), 3, info_.size, info_.size};
    const auto side = static_cast<std::size_t>(info_.size);
    const Ort::Value value =
        Ort::Value::CreateTensor<float>(memory_, input, count * 3 * side * side, shape.data(), shape.size());
    const char* input_name = input_name_.c_str();
    const char* output_name = output_name_.c_str();
    // Ort::Session::Run is not const, although the C API promises that concurrent runs are safe.
    auto& session = const_cast<Ort::Session&>(session_);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
    std::vector<Ort::Value> outputs = session.Run(Ort::RunOptions{nullptr}, &input_name, &value, 1, &output_name, 1);
    return std::move(outputs[0]);
  }

  Ort::Env env_;
  Ort::Session session_;
  Ort::MemoryInfo memory_;
  std::string input_name_;
  std::string output_name_;
  Preprocessing preprocessing_;
  ModelInfo info_;
  std::size_t max_batch_ = std::numeric_limits<std::size_t>::max();
};

}  // namespace

Result<std::unique_ptr<Session>> Session::Open(const EmbedderOptions& options) {
  Status status = InitOrt();
  if (!status.ok()) return status;
  const std::string op_library = options.op_library.empty() ? DefaultOpLibraryPath() : options.op_library;
  try {
    if (options.provider == "cuda") {
      const std::vector<std::string> available = Ort::GetAvailableProviders();
      if (std::find(available.begin(), available.end(), "CUDAExecutionProvider") == available.end()) {
        return Status(StatusCode::kUnsupported,
                      "provider 'cuda' is not in this ONNX Runtime; install onnxruntime-gpu or use 'cpu'");
      }
    }
    auto session = std::make_unique<OrtSession>(options, op_library);
    const std::string problem = session->CheckModel();
    if (!problem.empty()) return Status(StatusCode::kRuntime, options.model + ": " + problem);
    return std::unique_ptr<Session>(std::move(session));
  } catch (const std::exception& error) {
    return Status(StatusCode::kRuntime, options.model + ": " + OneLine(error.what()));
  }
}

}  // namespace internal
}  // namespace rrn
