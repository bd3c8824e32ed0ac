// The reduction operator as ONNX Runtime sees it: domain "rrn", op "Reduction", version 1.
//
//   inputs     X_1 ... X_K   one or more tensors of type T, all of rank 1, 2 or 4 (see rrn/reduction.h)
//   attribute  channels      int, default 512
//   output     Y             [channels] or [B, channels], type T
//   T          float32, float16 or bfloat16, one OrtCustomOp each, for the CPU and (where compiled) the CUDA provider
//
// Source: ONNX Runtime's C API, struct OrtCustomOp. Thread-safety: ops and kernels are immutable after construction.
#ifndef RRN_ONNX_OP_REDUCTION_OP_H_
#define RRN_ONNX_OP_REDUCTION_OP_H_

#include <onnxruntime_cxx_api.h>

#include <cstdint>

#include "rrn/reduction.h"

namespace rrn::onnx_op {

// The oldest ONNX Runtime that loads the library (1.20); nothing newer than its API is called.
inline constexpr std::uint32_t kMinOrtApiVersion = 20;

enum class Device : std::uint8_t { kCpu, kCuda };

// Reads its attribute once, then computes. Never throws: errors become an OrtStatus.
class ReductionKernel {
 public:
  ReductionKernel(std::int64_t channels, ReductionType type, Device device)
      : channels_(channels), type_(type), device_(device) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context) const noexcept;

 private:
  void Compute(OrtKernelContext* context) const;

  std::int64_t channels_;
  ReductionType type_;
  Device device_;
};

// One element type on one device.
class ReductionOp : public Ort::CustomOpBase<ReductionOp, ReductionKernel, /*WithStatus=*/true> {
 public:
  ReductionOp(ReductionType type, Device device);

  OrtStatusPtr CreateKernelV2(const OrtApi& api, const OrtKernelInfo* info, void** kernel) const noexcept;
  const char* GetName() const { return "Reduction"; }
  const char* GetExecutionProviderType() const;
  std::size_t GetInputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(std::size_t /*index*/) const { return element_type_; }
  OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t /*index*/) const {
    return INPUT_OUTPUT_VARIADIC;
  }
  std::size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) const { return element_type_; }

 private:
  ReductionType type_;
  Device device_;
  ONNXTensorElementDataType element_type_;
};

// Infers Y's shape; an unknown batch keeps its symbolic name. Implements OrtCustomOp::InferOutputShapeFn.
OrtStatusPtr InferReductionShape(const OrtCustomOp* op, OrtShapeInferContext* context) noexcept;

}  // namespace rrn::onnx_op

#endif  // RRN_ONNX_OP_REDUCTION_OP_H_
