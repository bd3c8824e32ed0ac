#include "onnx_op/reduction_op.h"

#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rrn/reduction.h"

namespace rrn::onnx_op {
namespace {

ONNXTensorElementDataType ElementType(ReductionType type) {
  switch (type) {
    case ReductionType::kFloat32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case ReductionType::kFloat16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case ReductionType::kBFloat16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

ReductionShape ToShape(const std::vector<std::int64_t>& dims) {
  ReductionShape shape;
  shape.rank = static_cast<int>(dims.size());
  for (std::size_t i = 0; i < dims.size() && i < shape.dims.size(); ++i) shape.dims[i] = dims[i];
  return shape;
}

// Through the oldest API: the C++ wrapper of newer headers calls a function that ONNX Runtime 1.20 does not have.
void* TensorData(const OrtValue* value) {
  void* data = nullptr;
  Ort::ThrowOnError(Ort::GetApi().GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  return data;
}

}  // namespace

OrtStatusPtr ReductionKernel::ComputeV2(OrtKernelContext* context) const noexcept {
  try {
    Compute(context);
    return nullptr;
  } catch (const Ort::Exception& error) {
    return Ort::GetApi().CreateStatus(error.GetOrtErrorCode(), error.what());
  } catch (const std::exception& error) {
    return Ort::GetApi().CreateStatus(ORT_RUNTIME_EXCEPTION, error.what());
  }
}

void ReductionKernel::Compute(OrtKernelContext* context) const {
  const Ort::KernelContext kernel_context(context);
  const std::size_t count = kernel_context.GetInputCount();
  std::vector<ReductionShape> shapes(count);
  std::vector<const void*> inputs(count);
  for (std::size_t k = 0; k < count; ++k) {
    const Ort::ConstValue input = kernel_context.GetInput(k);
    shapes[k] = ToShape(input.GetTensorTypeAndShapeInfo().GetShape());
    inputs[k] = TensorData(input);
  }
  ReductionPlan plan;
  ReductionStatus status = PlanReduction(shapes.data(), static_cast<int>(count), channels_, &plan);
  int cuda_error = 0;
  if (status == ReductionStatus::kOk) {
    const std::array<std::int64_t, 2> dims = {plan.batch, plan.channels};
    const auto rank = static_cast<std::size_t>(plan.output_rank);
    Ort::UnownedValue output = kernel_context.GetOutput(0, dims.data() + (dims.size() - rank), rank);
    void* data = TensorData(output);
    status = device_ == Device::kCuda
                 ? ReduceCuda(plan, type_, inputs.data(), data, kernel_context.GetGPUComputeStream(), &cuda_error)
                 : ReduceCpu(plan, type_, inputs.data(), data);
  }
  if (status == ReductionStatus::kOk) return;
  std::string message = DescribeReductionError(status, shapes.data(), static_cast<int>(count), channels_);
  if (status == ReductionStatus::kCudaError) message += std::string(": ") + ReductionCudaErrorText(cuda_error);
  throw Ort::Exception(std::move(message), status == ReductionStatus::kCudaError ? ORT_FAIL : ORT_INVALID_ARGUMENT);
}

ReductionOp::ReductionOp(ReductionType type, Device device)
    : type_(type), device_(device), element_type_(ElementType(type)) {
  OrtCustomOp::version = kMinOrtApiVersion;
  OrtCustomOp::InferOutputShapeFn = &InferReductionShape;
}

const char* ReductionOp::GetExecutionProviderType() const {
  return device_ == Device::kCuda ? "CUDAExecutionProvider" : "CPUExecutionProvider";
}

OrtStatusPtr ReductionOp::CreateKernelV2(const OrtApi& api, const OrtKernelInfo* info, void** kernel) const noexcept {
  std::int64_t channels = kDefaultReductionChannels;
  // The attribute is optional: a status here only says that the node does not carry it.
  if (OrtStatusPtr absent = api.KernelInfoGetAttribute_int64(info, "channels", &channels); absent != nullptr) {
    api.ReleaseStatus(absent);
    channels = kDefaultReductionChannels;
  }
  try {
    // ONNX Runtime owns the kernel and gives it back through OrtCustomOp::KernelDestroy.
    *kernel = std::make_unique<ReductionKernel>(channels, type_, device_).release();
    return nullptr;
  } catch (const std::exception& error) {
    return api.CreateStatus(ORT_RUNTIME_EXCEPTION, error.what());
  }
}

}  // namespace rrn::onnx_op
