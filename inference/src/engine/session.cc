#include "engine/session.h"

#include <onnxruntime_cxx_api.h>
#include <onnxruntime_session_options_config_keys.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "engine/compiled_cache.h"
#include "engine/provider_setup.h"
#include "rrn/version.h"

namespace rrn {

const char* OnnxRuntimeVersion() { return OrtGetApiBase()->GetVersionString(); }

namespace internal {
namespace {

// The oldest ONNX Runtime that works (1.20); nothing newer than its API is called here, so any newer one does too.
// openvino.cc asks for a newer API and does without where it is missing.
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

Ort::Env MakeEnv() {
  Ort::Env env(ORT_LOGGING_LEVEL_FATAL, "rrn");
  // What a library may do against reports of its use over the network; the program does more, see main.cc.
  env.DisableTelemetryEvents();
  return env;
}

Ort::SessionOptions MakeOptions(const std::string& op_library, int threads) {
  Ort::SessionOptions session_options;
  // Unless a caller wants otherwise, parallelism is over batches: every worker runs its own batch on its own thread,
  // which keeps all cores busy without any hand-over between the layers of one batch.
  session_options.SetIntraOpNumThreads(threads);
  session_options.SetInterOpNumThreads(1);
  session_options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
  session_options.SetDeterministicCompute(true);
  // Between two runs, threads that wait for work would keep cores busy that others need, decoders for example.
  session_options.AddConfigEntry(kOrtSessionOptionsConfigForceSpinningStop, "1");
  // Without VNNI, sums of two products of 8 bits overflow 16 bits and similarities move by some hundredths; ONNX
  // Runtime can take slower products there that do not. Other processors and float models do not notice.
  session_options.AddConfigEntry(kOrtSessionOptionsAvx2PrecisionMode, "1");
  if (!op_library.empty()) session_options.RegisterCustomOpsLibrary(op_library.c_str());
  return session_options;
}

ElementType FromOnnx(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return ElementType::kFloat32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return ElementType::kFloat16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return ElementType::kInt32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return ElementType::kInt64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return ElementType::kUint8;
    default:
      return ElementType::kOther;
  }
}

ValueInfo Describe(std::string name, const Ort::TypeInfo& type) {
  ValueInfo value;
  value.name = std::move(name);
  // Sequences, maps and optional values have no shape, and asking for one would crash.
  if (type.GetONNXType() != ONNX_TYPE_TENSOR) return value;
  const auto tensor = type.GetTensorTypeAndShapeInfo();
  value.element = FromOnnx(tensor.GetElementType());
  value.shape = tensor.GetShape();
  return value;
}

std::size_t Count(const std::vector<std::int64_t>& shape) {
  std::size_t count = 1;
  for (const std::int64_t side : shape) count *= static_cast<std::size_t>(side);
  return count;
}

// Takes over what ONNX Runtime gave.
Array TakeArray(Ort::Value value) {
  Array array;
  if (!value.IsTensor()) return array;
  {
    const auto info = value.GetTensorTypeAndShapeInfo();
    array.element = FromOnnx(info.GetElementType());
    array.shape = info.GetShape();
  }
  if (array.element == ElementType::kOther) return array;
  // The const accessor of newer headers calls a function that ONNX Runtime 1.20 does not have.
  if (array.element == ElementType::kFloat16) {
    const auto* halves = value.GetTensorMutableData<Ort::Float16_t>();
    auto floats = std::make_shared<std::vector<float>>(Count(array.shape));
    std::transform(halves, halves + floats->size(), floats->begin(),
                   [](Ort::Float16_t half) { return half.ToFloat(); });
    array.element = ElementType::kFloat32;
    array.data = std::shared_ptr<const void>(floats, floats->data());
  } else {
    auto owner = std::make_shared<Ort::Value>(std::move(value));
    array.data = std::shared_ptr<const void>(owner, owner->GetTensorMutableData<void>());
  }
  return array;
}

class OrtSession final : public Session {
 public:
  OrtSession(const std::string& model, Ort::Env env, const Ort::SessionOptions& session_options)
      : env_(std::move(env)),
        session_(env_, model.c_str(), session_options),
        memory_(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault)) {
    Ort::AllocatorWithDefaultOptions allocator;
    for (std::size_t i = 0; i < session_.GetInputCount(); ++i) {
      inputs_.push_back(Describe(session_.GetInputNameAllocated(i, allocator).get(), session_.GetInputTypeInfo(i)));
    }
    for (std::size_t i = 0; i < session_.GetOutputCount(); ++i) {
      outputs_.push_back(Describe(session_.GetOutputNameAllocated(i, allocator).get(), session_.GetOutputTypeInfo(i)));
    }
  }

  const std::vector<ValueInfo>& inputs() const override { return inputs_; }
  const std::vector<ValueInfo>& outputs() const override { return outputs_; }

  std::string Metadata(const std::string& key) const override {
    Ort::AllocatorWithDefaultOptions allocator;
    const Ort::AllocatedStringPtr value =
        session_.GetModelMetadata().LookupCustomMetadataMapAllocated(key.c_str(), allocator);
    return value == nullptr ? std::string() : std::string(value.get());
  }

  Result<std::vector<Array>> Run(const std::vector<FloatInput>& inputs,
                                 const std::vector<std::string>& outputs) const override {
    try {
      return TryRun(inputs, outputs);
    } catch (const std::exception& error) {
      return Status(StatusCode::kRuntime, "inference failed: " + OneLine(error.what(), ' '));
    }
  }

 private:
  std::vector<Array> TryRun(const std::vector<FloatInput>& inputs, const std::vector<std::string>& outputs) const {
    std::vector<const char*> input_names;
    std::vector<Ort::Value> values;
    std::vector<std::vector<Ort::Float16_t>> halves;
    for (const FloatInput& input : inputs) {
      input_names.push_back(input.name.c_str());
      const std::size_t count = Count(input.shape);
      if (IsFloat16(input.name)) {
        std::vector<Ort::Float16_t>& half = halves.emplace_back(count);
        std::transform(input.data, input.data + count, half.begin(), [](float v) { return Ort::Float16_t(v); });
        values.push_back(Ort::Value::CreateTensor<Ort::Float16_t>(memory_, half.data(), count, input.shape.data(),
                                                                  input.shape.size()));
      } else {
        // ONNX Runtime does not write to inputs.
        auto* data = const_cast<float*>(input.data);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
        values.push_back(Ort::Value::CreateTensor<float>(memory_, data, count, input.shape.data(), input.shape.size()));
      }
    }
    std::vector<const char*> output_names;
    output_names.reserve(outputs.size());
    for (const std::string& name : outputs) output_names.push_back(name.c_str());
    // Ort::Session::Run is not const, although the C API promises that concurrent runs are safe.
    auto& session = const_cast<Ort::Session&>(session_);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
    std::vector<Ort::Value> results = session.Run(Ort::RunOptions{nullptr}, input_names.data(), values.data(),
                                                  values.size(), output_names.data(), output_names.size());
    std::vector<Array> arrays;
    arrays.reserve(results.size());
    for (Ort::Value& result : results) arrays.push_back(TakeArray(std::move(result)));
    return arrays;
  }

  bool IsFloat16(const std::string& name) const {
    return std::any_of(inputs_.begin(), inputs_.end(), [&](const ValueInfo& input) {
      return input.element == ElementType::kFloat16 && input.name == name;
    });
  }

  Ort::Env env_;
  Ort::Session session_;
  Ort::MemoryInfo memory_;
  std::vector<ValueInfo> inputs_;
  std::vector<ValueInfo> outputs_;
};

}  // namespace

Result<std::unique_ptr<Session>> Session::Open(const SessionSettings& settings) {
  Status status = InitOrt();
  if (!status.ok()) return status;
  try {
    Ort::Env env = MakeEnv();
    Ort::SessionOptions session_options = MakeOptions(settings.op_library, settings.threads_per_run);
    std::unique_ptr<CacheEntry> compiled;
    status = AppendProvider(settings, &env, &session_options, &compiled);
    if (!status.ok()) return status;
    auto session = std::make_unique<OrtSession>(settings.model, std::move(env), session_options);
    if (compiled != nullptr) compiled->Keep();
    return std::unique_ptr<Session>(std::move(session));
  } catch (const std::exception& error) {
    return Status(StatusCode::kRuntime, settings.model + ": " + OneLine(error.what(), ' '));
  }
}

}  // namespace internal
}  // namespace rrn
