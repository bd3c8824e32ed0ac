#include "engine/session.h"

#include <onnxruntime_cxx_api.h>
#include <onnxruntime_session_options_config_keys.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "base/text.h"
#include "engine/compiled_cache.h"
#include "engine/openvino.h"
#include "engine/provider.h"
#include "rrn/version.h"

namespace rrn {

const char* OnnxRuntimeVersion() { return OrtGetApiBase()->GetVersionString(); }

namespace internal {
namespace {

// The oldest ONNX Runtime that works (1.20); nothing newer than its API is called here, so any newer one does too.
// openvino.cc asks for a newer API and does without where there is none.
constexpr std::uint32_t kMinOrtApiVersion = 20;

Status InitOrt() {
  const OrtApi* api = OrtGetApiBase()->GetApi(kMinOrtApiVersion);
  if (api == nullptr) {
    return {StatusCode::kRuntime,
            std::string("ONNX Runtime ") + OnnxRuntimeVersion() + " is too old, 1.20 or newer is needed"};
  }
  Ort::InitApi(api);
  return {};
}

// Model metadata that `rrn export` writes; all of it is optional.
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

Ort::Env MakeEnv() {
  Ort::Env env(ORT_LOGGING_LEVEL_FATAL, "rrn");
  // What a library may do against reports of its use over the network; the program does more, see main.cc.
  env.DisableTelemetryEvents();
  return env;
}

// Options of the providers that come with a build of ONNX Runtime.
using KeyValues = std::vector<std::pair<std::string, std::string>>;

// Calls `set` with the keys and values as the C API wants them.
template <typename Set>
void SetKeyValues(const KeyValues& options, const Set& set) {
  std::vector<const char*> keys;
  std::vector<const char*> values;
  for (const auto& [key, value] : options) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  Ort::ThrowOnError(set(keys.data(), values.data(), keys.size()));
}

void AppendCuda(Ort::SessionOptions* session_options) {
  const OrtApi& api = Ort::GetApi();
  OrtCUDAProviderOptionsV2* created = nullptr;
  Ort::ThrowOnError(api.CreateCUDAProviderOptions(&created));
  const std::unique_ptr<OrtCUDAProviderOptionsV2, decltype(api.ReleaseCUDAProviderOptions)> options(
      created, api.ReleaseCUDAProviderOptions);
  // TF32 is not fp32, and a search for the fastest algorithm may end differently every time.
  SetKeyValues({{"use_tf32", "0"}, {"cudnn_conv_algo_search", "HEURISTIC"}}, [&](auto* keys, auto* values, auto count) {
    return api.UpdateCUDAProviderOptions(options.get(), keys, values, count);
  });
  session_options->AppendExecutionProvider_CUDA_V2(*options);
}

void AppendTensorRt(const Choice& choice, bool cache, Ort::SessionOptions* session_options) {
  const OrtApi& api = Ort::GetApi();
  OrtTensorRTProviderOptionsV2* created = nullptr;
  Ort::ThrowOnError(api.CreateTensorRTProviderOptions(&created));
  const std::unique_ptr<OrtTensorRTProviderOptionsV2, decltype(api.ReleaseTensorRTProviderOptions)> options(
      created, api.ReleaseTensorRTProviderOptions);
  KeyValues settings;
  if (choice.precision != "fp32") settings.emplace_back("trt_" + choice.precision + "_enable", "1");
  // Building an engine takes minutes.
  const std::string folder = cache ? MakeCacheFolder("tensorrt") : "";
  if (!folder.empty()) {
    settings.insert(settings.end(), {{"trt_engine_cache_enable", "1"},
                                     {"trt_engine_cache_path", folder},
                                     {"trt_timing_cache_enable", "1"},
                                     {"trt_timing_cache_path", folder}});
  }
  SetKeyValues(settings, [&](auto* keys, auto* values, auto count) {
    return api.UpdateTensorRTProviderOptions(options.get(), keys, values, count);
  });
  session_options->AppendExecutionProvider_TensorRT_V2(*options);
}

class OrtSession final : public Session {
 public:
  OrtSession(const EmbedderOptions& options, const Choice& choice, bool custom_op, Ort::Env env,
             const Ort::SessionOptions& session_options)
      : env_(std::move(env)),
        session_(env_, options.model.c_str(), session_options),
        memory_(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault)) {
    const Metadata metadata = ReadMetadata(session_);
    preprocessing_ = metadata.preprocessing;
    info_.file = std::filesystem::path(options.model).filename().string();
    info_.weights_origin = metadata.weights_origin;
    info_.weights_sha256 = metadata.weights_sha256;
    info_.size = options.size > 0 ? options.size : metadata.size;
    info_.provider = choice.provider;
    info_.precision = choice.precision;
    info_.custom_op = custom_op;
  }

  void set_note(std::string note) { info_.note = std::move(note); }

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
      return {StatusCode::kRuntime, "inference failed: " + OneLine(error.what(), ' ')};
    }
  }

 private:
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

Ort::SessionOptions MakeOptions(const std::string& op_library) {
  Ort::SessionOptions session_options;
  // Parallelism is over batches: every worker runs its own batch on its own thread, which keeps all cores busy
  // without any hand-over between the layers of one batch.
  session_options.SetIntraOpNumThreads(1);
  session_options.SetInterOpNumThreads(1);
  session_options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
  session_options.SetDeterministicCompute(true);
  // Without VNNI, sums of two products of 8 bits overflow 16 bits and similarities move by some hundredths; ONNX
  // Runtime can take slower products there that do not. Other processors and float models do not notice.
  session_options.AddConfigEntry(kOrtSessionOptionsAvx2PrecisionMode, "1");
  if (!op_library.empty()) session_options.RegisterCustomOpsLibrary(op_library.c_str());
  return session_options;
}

// One of the providers that a build of ONNX Runtime has or has not.
Status CheckBuiltIn(const std::string& provider, const char* name, const char* package) {
  const std::vector<std::string> available = Ort::GetAvailableProviders();
  if (std::find(available.begin(), available.end(), name) != available.end()) return {};
  return {StatusCode::kNotFound,
          "provider '" + provider + "' is not in this ONNX Runtime; install " + package + " or use 'cpu'"};
}

// What tells this machine's processor from others; compiled models may hold its instructions.
std::string DescribeCpu() {
  std::ifstream stream("/proc/cpuinfo");
  std::string text;
  std::string line;
  while (std::getline(stream, line) && !line.empty()) {
    if (line.rfind("model name", 0) == 0 || line.rfind("flags", 0) == 0) text += line;
  }
  return text;
}

class Opener {
 public:
  Opener(const EmbedderOptions& options, std::string op_library)
      : options_(options), op_library_(std::move(op_library)) {}

  // Errors: kNotFound where the provider is not installed, kUnsupported, kRuntime.
  Result<std::unique_ptr<OrtSession>> Open(const Choice& choice) const {
    try {
      return TryOpen(choice);
    } catch (const std::exception& error) {
      return Status(StatusCode::kRuntime, options_.model + ": " + OneLine(error.what(), ' '));
    }
  }

 private:
  Result<std::unique_ptr<OrtSession>> TryOpen(const Choice& choice) const {
    Ort::Env env = MakeEnv();
    Ort::SessionOptions session_options = MakeOptions(op_library_);
    std::unique_ptr<CacheEntry> compiled;
    Status status;
    if (choice.provider == "openvino") {
      status = Append(choice, &compiled, &env, &session_options);
    } else if (choice.provider == "cuda") {
      status = CheckBuiltIn("cuda", "CUDAExecutionProvider", "onnxruntime-gpu");
      if (status.ok()) AppendCuda(&session_options);
    } else if (choice.provider == "tensorrt") {
      status = CheckBuiltIn("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu and TensorRT");
      if (status.ok()) {
        AppendTensorRt(choice, options_.cache, &session_options);
        AppendCuda(&session_options);  // for what TensorRT leaves
      }
    }
    if (!status.ok()) return status;
    auto session =
        std::make_unique<OrtSession>(options_, choice, !op_library_.empty(), std::move(env), session_options);
    if (compiled != nullptr) compiled->Keep();
    const std::string problem = session->CheckModel();
    if (!problem.empty()) return Status(StatusCode::kRuntime, options_.model + ": " + problem);
    return session;
  }

  Status Append(const Choice& choice, std::unique_ptr<CacheEntry>* compiled, Ort::Env* env,
                Ort::SessionOptions* session_options) const {
    const std::string library = FindOpenVino();
    if (library.empty()) {
      return {StatusCode::kNotFound,
              "the OpenVINO plugin is not installed; pip install onnxruntime-ep-openvino, or name its library in "
              "RRN_OPENVINO_EP"};
    }
    const std::size_t threads = ThreadCount(options_.threads, std::numeric_limits<std::size_t>::max());
    // Quantised models take long to compile. Others are compiled about as fast as they are read.
    if (options_.cache && choice.precision == "int8") {
      *compiled = std::make_unique<CacheEntry>(
          std::vector<std::string>{options_.model, library},
          std::vector<std::string>{DescribeCpu(), OnnxRuntimeVersion(), Version(), choice.precision,
                                   std::to_string(threads), op_library_.empty() ? "function" : "operator"});
    }
    return AppendOpenVino(choice, library, threads, *compiled == nullptr ? "" : (*compiled)->folder(), env,
                          session_options);
  }

  const EmbedderOptions& options_;
  const std::string op_library_;
};

}  // namespace

Result<std::unique_ptr<Session>> Session::Open(const EmbedderOptions& options) {
  Status status = InitOrt();
  if (!status.ok()) return status;
  const Result<std::vector<Choice>> choices = ChoicesFor(options);
  if (!choices.ok()) return choices.status();
  EmbedderOptions resolved = options;
  resolved.model = ModelFileFor(options.model, choices->back().precision);
  std::error_code error;
  if (!std::filesystem::is_regular_file(resolved.model, error)) {
    return Status(StatusCode::kNotFound,
                  resolved.model + ": no such file" +
                      (resolved.model == options.model ? "" : "; rrn quantize makes the int8 model"));
  }
  const Opener opener(resolved, options.op_library.empty() ? DefaultOpLibraryPath() : options.op_library);
  std::vector<Refusal> refusals;
  for (const Choice& choice : *choices) {
    Result<std::unique_ptr<OrtSession>> session = opener.Open(choice);
    if (session.ok()) {
      (*session)->set_note(FallbackNote(options, choice, refusals));
      return std::unique_ptr<Session>(*std::move(session));
    }
    refusals.push_back({choice, session.status()});
  }
  // A provider that is missing is something that this machine cannot do; kNotFound is for files.
  status = refusals.back().status;
  if (status.code() == StatusCode::kNotFound) return Status(StatusCode::kUnsupported, status.message());
  return status;
}

}  // namespace internal
}  // namespace rrn
