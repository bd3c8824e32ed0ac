// Argument checks shared by all devices.
#include <ATen/ATen.h>

#include <array>
#include <sstream>
#include <string>

#include "torch_op/kernels.h"

namespace rrn {
namespace {

// "float32 [2, 64] on cpu, float32 [2, 128] on cpu"
std::string Describe(at::TensorList layers) {
  std::ostringstream text;
  const char* separator = "";
  for (const at::Tensor& layer : layers) {
    text << separator << c10::getDtypeNames(layer.scalar_type()).first << ' ' << layer.sym_sizes() << " on "
         << layer.device();
    separator = ", ";
  }
  return text.str();
}

bool IsSymbolic(at::TensorList layers) {
  for (const at::Tensor& layer : layers) {
    for (const c10::SymInt& size : layer.sym_sizes()) {
      if (size.is_symbolic()) {
        return true;
      }
    }
  }
  return false;
}

// The batch and the maps' sizes stay symbolic (a test becomes a guard of the traced program); the number of channels is
// part of the network, so the program is specialised to it.
ReductionShape CheckSymbolicShape(const at::Tensor& layer, const at::Tensor& first) {
  ReductionShape shape;
  shape.rank = static_cast<int>(layer.dim());
  shape.dims.fill(1);
  if (layer.dim() == 0 || layer.dim() != first.dim()) {
    return shape;
  }
  const int channel_dim = layer.dim() == 1 ? 0 : 1;
  for (int i = 0; i < layer.dim(); ++i) {
    const c10::SymInt& size = layer.sym_sizes()[static_cast<std::size_t>(i)];
    if (i == channel_dim) {
      shape.dims.at(static_cast<std::size_t>(i)) = size.guard_int(__FILE_NAME__, __LINE__);
    } else if (i == 0) {
      TORCH_SYM_CHECK(size.sym_eq(first.sym_size(0)), "rrn::reduction: all inputs must have one batch size; got ",
                      layer.sym_sizes(), " and ", first.sym_sizes());
    } else {
      TORCH_SYM_CHECK(size.sym_gt(0), "rrn::reduction: a feature map has no pixel: ", layer.sym_sizes());
    }
  }
  return shape;
}

}  // namespace

ReductionType CheckTypeAndDevice(at::TensorList layers) {
  TORCH_CHECK_VALUE(!layers.empty(), "rrn::reduction: at least one input is needed; got none");
  for (const at::Tensor& layer : layers) {
    TORCH_CHECK_TYPE(layer.scalar_type() == layers[0].scalar_type(),
                     "rrn::reduction: all inputs must have one type; got ", Describe(layers));
    TORCH_CHECK_VALUE(layer.device() == layers[0].device(), "rrn::reduction: all inputs must be on one device; got ",
                      Describe(layers));
  }
  switch (layers[0].scalar_type()) {
    case at::kFloat:
      return ReductionType::kFloat32;
    case at::kHalf:
      return ReductionType::kFloat16;
    case at::kBFloat16:
      return ReductionType::kBFloat16;
    default:
      TORCH_CHECK_TYPE(false, "rrn::reduction: inputs must be float32, float16 or bfloat16; got ", Describe(layers));
  }
}

ReductionPlan CheckShapes(at::TensorList layers, std::int64_t channels, const ReductionOptions& options) {
  std::array<ReductionShape, kMaxReductionInputs> shapes;
  const bool symbolic = IsSymbolic(layers);
  const int count = static_cast<int>(layers.size());
  TORCH_CHECK_VALUE(layers.size() <= shapes.size(), "rrn::reduction: at most ", shapes.size(), " inputs; got ",
                    Describe(layers));
  for (std::size_t k = 0; k < layers.size(); ++k) {
    ReductionShape& shape = shapes.at(k);
    TORCH_CHECK_VALUE(layers[k].dim() <= static_cast<std::int64_t>(shape.dims.size()),
                      "rrn::reduction: inputs must be of rank 1, 2 or 4; got ", Describe(layers));
    if (symbolic) {
      shape = CheckSymbolicShape(layers[k], layers[0]);
      continue;
    }
    shape.rank = static_cast<int>(layers[k].dim());
    std::copy(layers[k].sizes().begin(), layers[k].sizes().end(), shape.dims.begin());
  }
  ReductionPlan plan;
  const ReductionStatus status = PlanReduction(shapes.data(), count, channels, &plan, options);
  TORCH_CHECK_VALUE(status == ReductionStatus::kOk,
                    "rrn::", DescribeReductionError(status, shapes.data(), count, channels));
  return plan;
}

}  // namespace rrn
