// Adapters from tensors to the plain kernels.
#include "torch_op/kernels.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <array>
#include <vector>

namespace rrn {
namespace {

// A checked call: contiguous inputs, kept alive, and room for the result.
struct Call {
  ReductionPlan plan;
  ReductionType type = ReductionType::kFloat32;
  std::vector<at::Tensor> layers;
  std::array<const void*, kMaxReductionInputs> pointers = {};
  at::Tensor output;
};

// Maps that are all channels_last are taken as they are; maps that are neither that nor contiguous are copied.
ReductionLayout LayoutOf(at::TensorList layers) {
  bool contiguous = true;
  bool channels_last = true;
  for (const at::Tensor& layer : layers) {
    contiguous = contiguous && layer.is_contiguous();
    channels_last = channels_last && layer.dim() == 4 && layer.is_contiguous(at::MemoryFormat::ChannelsLast);
  }
  return channels_last && !contiguous ? ReductionLayout::kNhwc : ReductionLayout::kNchw;
}

Call Prepare(at::TensorList layers, std::int64_t channels, bool normalize) {
  Call call;
  call.type = CheckTypeAndDevice(layers);
  const ReductionOptions options = {LayoutOf(layers), normalize};
  call.plan = CheckShapes(layers, channels, options);
  call.layers.reserve(layers.size());
  for (const at::Tensor& layer : layers) {
    call.layers.push_back(options.layout == ReductionLayout::kNhwc ? layer : layer.contiguous());
    call.pointers.at(call.layers.size() - 1) = call.layers.back().const_data_ptr();
  }
  std::vector<std::int64_t> sizes = {call.plan.batch, call.plan.channels};
  if (call.plan.output_rank == 1) {
    sizes.erase(sizes.begin());
  }
  call.output = at::empty(sizes, layers[0].options());
  return call;
}

}  // namespace

at::Tensor ReduceOnCpu(at::TensorList layers, std::int64_t channels, bool normalize) {
  Call call = Prepare(layers, channels, normalize);
  const ReductionStatus status = ReduceCpu(call.plan, call.type, call.pointers.data(), call.output.mutable_data_ptr());
  TORCH_CHECK(status == ReductionStatus::kOk, "rrn::reduction: the CPU kernel refused a checked call, status ",
              static_cast<int>(status));
  return call.output;
}

// Asks PyTorch for the stream through its device-independent interface, so that this file compiles, and the library
// loads, without CUDA's headers and libraries.
at::Tensor ReduceOnCuda(at::TensorList layers, std::int64_t channels, bool normalize) {
  TORCH_CHECK_NOT_IMPLEMENTED(ReductionHasCuda(),
                              "rrn::reduction: libreduction_torch.so was built without CUDA, and an input is on ",
                              layers[0].device(), "; rebuild it where nvcc is, or move the inputs to the CPU");
  CheckTypeAndDevice(layers);
  const c10::Device device = layers[0].device();
  const c10::DeviceGuard guard(device);
  Call call = Prepare(layers, channels, normalize);
  // PyTorch's allocator gives a stream's memory back to the same stream, so the workspace may go out of scope below.
  // Its counters are set to zero on that stream, too; a captured graph repeats that.
  const ReductionWorkspace size = ReductionWorkspaceSize(call.plan, call.type);
  at::Tensor workspace;
  if (size.bytes > 0) {
    workspace = at::empty({static_cast<std::int64_t>(size.bytes)}, layers[0].options().dtype(at::kByte));
    workspace.narrow(0, 0, static_cast<std::int64_t>(size.zero_bytes)).zero_();
  }
  const c10::impl::VirtualGuardImpl cuda(device.type());
  void* stream = cuda.getStreamNativeHandle(cuda.getStream(device));
  int error = 0;
  const ReductionStatus status =
      ReduceCuda(call.plan, call.type, call.pointers.data(), call.output.mutable_data_ptr(), stream, &error,
                 workspace.defined() ? workspace.mutable_data_ptr() : nullptr);
  TORCH_CHECK(status == ReductionStatus::kOk, "rrn::reduction: the CUDA kernel could not be launched on ", device, ": ",
              ReductionCudaErrorText(error));
  return call.output;
}

at::Tensor ReduceOnMeta(at::TensorList layers, std::int64_t channels, bool normalize) {
  CheckTypeAndDevice(layers);
  const ReductionPlan plan = CheckShapes(layers, channels, {ReductionLayout::kNchw, normalize});
  std::vector<c10::SymInt> sizes;
  if (plan.output_rank == 2) {
    sizes.push_back(layers[0].sym_size(0));
  }
  sizes.emplace_back(channels);
  return at::empty_symint(sizes, layers[0].options());
}

}  // namespace rrn
