#include "torch_op/reduction.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "torch_op/kernels.h"

namespace rrn {

// The signatures take tensors by value, as PyTorch's own extension examples do: a tensor is a counted pointer.
// NOLINTBEGIN(performance-unnecessary-value-param)

torch::Tensor reduction(torch::Tensor layerOne, torch::Tensor layerTwo, torch::Tensor layerThree,
                        torch::Tensor layerFour) {
  static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("rrn::reduction", "").typed<ReductionSchema>();
  return op.call(layerOne, layerTwo, layerThree, layerFour);
}

torch::Tensor repeatInterleave(torch::Tensor input) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("rrn::repeatInterleave", "").typed<RepeatInterleaveSchema>();
  return op.call(input);
}

// NOLINTEND(performance-unnecessary-value-param)

torch::Tensor reduceLayers(const std::vector<torch::Tensor>& layers, std::int64_t channels, bool normalize) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("rrn::reduce_layers", "").typed<ReduceLayersSchema>();
  return op.call(layers, channels, normalize);
}

}  // namespace rrn
