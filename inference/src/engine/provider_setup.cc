#include "engine/provider_setup.h"

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/cache_folder.h"
#include "engine/compiled_cache.h"
#include "engine/fingerprint.h"
#include "engine/openvino.h"

namespace rrn::internal {
namespace {

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

void AppendTensorRt(const SessionSettings& session, Ort::SessionOptions* session_options) {
  const OrtApi& api = Ort::GetApi();
  OrtTensorRTProviderOptionsV2* created = nullptr;
  Ort::ThrowOnError(api.CreateTensorRTProviderOptions(&created));
  const std::unique_ptr<OrtTensorRTProviderOptionsV2, decltype(api.ReleaseTensorRTProviderOptions)> options(
      created, api.ReleaseTensorRTProviderOptions);
  KeyValues settings;
  const std::string& precision = session.choice.precision;
  if (precision != "fp32") settings.emplace_back("trt_" + precision + "_enable", "1");
  // Building an engine takes minutes. ONNX Runtime names engines by the graph, not by its weights, so every model gets
  // a folder of its own.
  std::string folder;
  if (session.cache) {
    folder = MakeCacheFolder("tensorrt/" + HashFields(FingerprintFields(session.fingerprint(), session.choice)));
  }
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

Status AppendPlugin(const SessionSettings& settings, Ort::Env* env, Ort::SessionOptions* session_options,
                    std::unique_ptr<CacheEntry>* compiled) {
  const std::string library = FindOpenVino();
  if (library.empty()) {
    return {StatusCode::kNotFound,
            "the OpenVINO plugin is not installed; pip install onnxruntime-ep-openvino, or name its library in "
            "RRN_OPENVINO_EP"};
  }
  // Quantised models take long to compile. Others are compiled about as fast as they are read.
  if (settings.cache && settings.choice.precision == "int8") {
    const std::string model = HashFields(FingerprintFields(settings.fingerprint(), settings.choice));
    *compiled = std::make_unique<CacheEntry>(HashFields({model, DescribeCpu(), std::to_string(settings.threads),
                                                         settings.op_library.empty() ? "function" : "operator"}));
  }
  return AppendOpenVino(settings.choice, library, settings.threads, *compiled == nullptr ? "" : (*compiled)->folder(),
                        env, session_options);
}

}  // namespace

Status AppendProvider(const SessionSettings& settings, Ort::Env* env, Ort::SessionOptions* session_options,
                      std::unique_ptr<CacheEntry>* compiled) {
  Status status;
  const std::string& provider = settings.choice.provider;
  if (provider == "openvino") {
    status = AppendPlugin(settings, env, session_options, compiled);
  } else if (provider == "cuda") {
    status = CheckBuiltIn("cuda", "CUDAExecutionProvider", "onnxruntime-gpu");
    if (status.ok()) AppendCuda(session_options);
  } else if (provider == "tensorrt") {
    status = CheckBuiltIn("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu and TensorRT");
    if (status.ok()) {
      AppendTensorRt(settings, session_options);
      AppendCuda(session_options);  // for what TensorRT leaves
    }
  }
  return status;
}

}  // namespace rrn::internal
