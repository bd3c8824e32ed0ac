#include "engine/openvino.h"

#include <dlfcn.h>
#include <onnxruntime_cxx_api.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

namespace rrn::internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLibrary = "libonnxruntime_providers_openvino_plugin.so";

// The folder of the loaded ONNX Runtime, with links resolved; empty if it cannot be told.
fs::path OnnxRuntimeFolder() {
  Dl_info info = {};
  const auto address = reinterpret_cast<std::uintptr_t>(OrtGetApiBase()->GetVersionString);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): dladdr wants a data pointer
  if (dladdr(reinterpret_cast<const void*>(address), &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code error;
  const fs::path library = fs::canonical(info.dli_fname, error);
  return error ? fs::path() : library.parent_path();
}

#if ORT_API_VERSION >= 22

// The first release with plugins is 1.22.
constexpr std::uint32_t kPluginOrtApiVersion = 22;

// 22 for release 1.22.0; 0 if the release calls itself otherwise.
std::uint32_t OrtMinorVersion() {
  const std::string version = OrtGetApiBase()->GetVersionString();
  if (version.rfind("1.", 0) != 0) return 0;
  std::uint32_t minor = 0;
  std::from_chars(version.data() + 2, version.data() + version.size(), minor);
  return minor;
}

bool CpuIsFastInBf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") > 0;
#else
  return false;
#endif
}

// OpenVINO on the CPU among the devices that ONNX Runtime knows; null if it is not there.
const OrtEpDevice* FindDevice(const OrtApi& api, const OrtEnv* env) {
  const OrtEpDevice* const* devices = nullptr;
  std::size_t count = 0;
  Ort::ThrowOnError(api.GetEpDevices(env, &devices, &count));
  for (std::size_t i = 0; i < count; ++i) {
    // There are also its "AUTO" devices, under other names, and its GPUs.
    if (std::string(api.EpDevice_EpName(devices[i])) != "OpenVINOExecutionProvider") continue;
    const char* device = api.GetKeyValue(api.EpDevice_EpMetadata(devices[i]), "ov_device");
    if (device != nullptr && std::string(device) == "CPU") return devices[i];
  }
  return nullptr;
}

// Throws Ort::Exception.
const OrtEpDevice* LoadDevice(const OrtApi& api, const std::string& library, OrtEnv* env) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  const OrtEpDevice* device = FindDevice(api, env);
  if (device != nullptr) return device;
  // Never released: the plugin would be unloaded with the last environment, while threads of its own still run. So it
  // is registered once, also where it then offers no CPU.
  static const Ort::Env* keep_loaded = nullptr;
  if (keep_loaded == nullptr) {
    Ort::ThrowOnError(api.RegisterExecutionProviderLibrary(env, "rrn_openvino", library.c_str()));
    keep_loaded = new Ort::Env(ORT_LOGGING_LEVEL_FATAL, "rrn");
  }
  return FindDevice(api, env);
}

bool HasWord(const char* text, const std::string& word) {
  return text != nullptr && (" " + std::string(text) + " ").find(" " + word + " ") != std::string::npos;
}

Status CheckPrecision(const OrtApi& api, const OrtEpDevice* device, const Choice& choice) {
  if (choice.precision == "fp32") return {};
  std::string name = choice.precision;
  for (char& c : name) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  const char* capabilities = api.GetKeyValue(api.EpDevice_EpMetadata(device), "OPTIMIZATION_CAPABILITIES");
  if (!HasWord(capabilities, name) || (choice.only_if_fast && choice.precision == "bf16" && !CpuIsFastInBf16())) {
    return {StatusCode::kUnsupported, "this CPU does not compute in " + choice.precision};
  }
  return {};
}

std::string LoadConfig(const Choice& choice, std::size_t threads, const std::string& cache) {
  nlohmann::json cpu;
  // In an int8 model the hint is for what is not quantised.
  cpu["INFERENCE_PRECISION_HINT"] = choice.precision == "bf16" ? "bf16" : choice.precision == "fp16" ? "f16" : "f32";
  // One stream of one thread for each worker: the worker waits while its stream computes. Pinned streams of two
  // processes would share cores while others are idle.
  cpu["NUM_STREAMS"] = std::to_string(threads);
  cpu["INFERENCE_NUM_THREADS"] = std::to_string(threads);
  cpu["ENABLE_CPU_PINNING"] = "NO";
  if (!cache.empty()) cpu["CACHE_DIR"] = cache;
  return nlohmann::json{{"CPU", cpu}}.dump();
}

#endif  // ORT_API_VERSION >= 22

}  // namespace

std::string FindOpenVino() {
  std::vector<fs::path> candidates;
  const char* named = std::getenv("RRN_OPENVINO_EP");
  if (named != nullptr) {
    candidates.emplace_back(named);
  } else {
    std::error_code error;
    const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
    if (!error) candidates = {program / "../lib" / kLibrary, program / "lib" / kLibrary};
    const fs::path runtime = OnnxRuntimeFolder();
    if (!runtime.empty()) {
      candidates.push_back(runtime / kLibrary);
      // The wheel's library is in site-packages/onnxruntime/capi.
      candidates.push_back(runtime / "../../onnxruntime_ep_openvino" / kLibrary);
    }
  }
  for (const fs::path& candidate : candidates) {
    std::error_code error;
    const fs::path library = fs::canonical(candidate, error);
    if (!error && fs::is_regular_file(library, error)) return library.string();
  }
  return "";
}

#if ORT_API_VERSION >= 22

Status AppendOpenVino(const Choice& choice, const std::string& library, std::size_t threads, const std::string& cache,
                      Ort::Env* env, Ort::SessionOptions* session_options) {
  // Asking an older release for this API would make it print.
  const OrtApi* api =
      OrtMinorVersion() < kPluginOrtApiVersion ? nullptr : OrtGetApiBase()->GetApi(kPluginOrtApiVersion);
  if (api == nullptr) {
    return {StatusCode::kNotFound,
            std::string("ONNX Runtime ") + OrtGetApiBase()->GetVersionString() + " knows no plugins, 1.23 does"};
  }
  const OrtEpDevice* device = LoadDevice(*api, library, *env);
  if (device == nullptr) return {StatusCode::kUnsupported, "the OpenVINO plugin offers no CPU on this machine"};
  Status status = CheckPrecision(*api, device, choice);
  if (!status.ok()) return status;
  const std::string config = LoadConfig(choice, threads, cache);
  const char* key = "load_config";
  const char* value = config.c_str();
  Ort::ThrowOnError(api->SessionOptionsAppendExecutionProvider_V2(*session_options, *env, &device, 1, &key, &value, 1));
  return {};
}

#else

Status AppendOpenVino(const Choice& /*choice*/, const std::string& /*library*/, std::size_t /*threads*/,
                      const std::string& /*cache*/, Ort::Env* /*env*/, Ort::SessionOptions* /*session_options*/) {
  return {StatusCode::kNotFound, "rrn was built with headers of ONNX Runtime before 1.22, which know no plugins"};
}

#endif  // ORT_API_VERSION >= 22

}  // namespace rrn::internal
