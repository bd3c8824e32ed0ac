// The only exported function of libreduction_op.so.
#include <array>
#include <exception>
#include <string>

#include "onnx_op/reduction_op.h"

namespace rrn::onnx_op {
namespace {

// All ops in their domain. ONNX Runtime keeps pointers to them for as long as any session lives, so there is one
// immutable instance, made at the first registration and never destroyed before the process ends.
const Ort::CustomOpDomain& Domain() {
  static const std::array<ReductionOp, 6> ops = {{
      {ReductionType::kFloat32, Device::kCpu},
      {ReductionType::kFloat16, Device::kCpu},
      {ReductionType::kBFloat16, Device::kCpu},
      {ReductionType::kFloat32, Device::kCuda},
      {ReductionType::kFloat16, Device::kCuda},
      {ReductionType::kBFloat16, Device::kCuda},
  }};
  static const Ort::CustomOpDomain domain = [] {
    Ort::CustomOpDomain made("rrn");
    const std::size_t count = ReductionHasCuda() ? ops.size() : ops.size() / 2;
    for (std::size_t i = 0; i < count; ++i) made.Add(&ops[i]);
    return made;
  }();
  return domain;
}

}  // namespace
}  // namespace rrn::onnx_op

// Registers the operators with one session's options. ONNX Runtime looks this symbol up by name
// (SessionOptions::RegisterCustomOpsLibrary, or register_custom_ops_library in Python).
// Errors: ORT_FAIL where ONNX Runtime is older than 1.20 or refuses the domain.
extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* api_base) {
  using rrn::onnx_op::kMinOrtApiVersion;
  const OrtApi* api = api_base->GetApi(kMinOrtApiVersion);
  if (api == nullptr) {
    // Version 1 of the API is in every release, and CreateStatus is in version 1.
    return api_base->GetApi(1)->CreateStatus(
        ORT_FAIL, "libreduction_op.so needs ONNX Runtime 1.20 or newer; upgrade onnxruntime");
  }
  try {
    Ort::InitApi(api);
    return api->AddCustomOpDomain(options, rrn::onnx_op::Domain());
  } catch (const std::exception& error) {
    return api->CreateStatus(ORT_FAIL, error.what());
  }
}
