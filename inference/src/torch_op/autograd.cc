// The derivative, written in differentiable PyTorch operations, so that it can be differentiated again.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <string>

#include "torch_op/kernels.h"
#include "torch_op/reduction.h"

namespace rrn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kChannels = "channels";
constexpr const char* kInputs = "inputs";

class ReductionFunction : public torch::autograd::Function<ReductionFunction> {
 public:
  // All state is in saved_data and backward() has no side effect, so compiled autograd may trace it.
  static constexpr bool is_traceable = true;  // NOLINT(readability-identifier-naming): PyTorch's name.

  // Only the sizes are kept, not the inputs: the operator is linear.
  static at::Tensor forward(AutogradContext* context, at::TensorList layers, std::int64_t channels, bool four) {
    context->saved_data[kChannels] = channels;
    context->saved_data[kInputs] = static_cast<std::int64_t>(layers.size());
    for (std::size_t k = 0; k < layers.size(); ++k) {
      context->saved_data[std::to_string(k)] = layers[k].sym_sizes();
    }
    const at::AutoDispatchBelowADInplaceOrView below;
    return four ? reduction(layers[0], layers[1], layers[2], layers[3]) : reduceLayers(layers.vec(), channels);
  }

  // Output channel o takes 1 / (K * pixels) of every pixel of input channel o / repeats; so a channel's gradient is the
  // sum over its repeats, divided by K * pixels and spread over the map.
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const std::int64_t channels = context->saved_data[kChannels].toInt();
    const std::int64_t inputs = context->saved_data[kInputs].toInt();
    variable_list result;
    for (std::int64_t k = 0; k < inputs; ++k) {
      if (!context->needs_input_grad(static_cast<std::size_t>(k))) {
        result.emplace_back();
        continue;
      }
      const std::vector<c10::SymInt> sizes = context->saved_data[std::to_string(k)].toSymIntVector();
      std::vector<c10::SymInt> folded(sizes.begin(), sizes.begin() + (sizes.size() == 1 ? 1 : 2));
      folded.push_back(channels / folded.back());
      c10::SymInt share = inputs;
      if (sizes.size() == 4) {
        share = share * sizes[2] * sizes[3];
      }
      at::Tensor gradient = gradients[0].reshape_symint(folded).sum(-1).div(at::Scalar(share));
      if (sizes.size() == 4) {
        gradient = gradient.unsqueeze(-1).unsqueeze(-1).expand_symint(sizes);
      }
      result.push_back(gradient);
    }
    result.resize(static_cast<std::size_t>(inputs) + 2);  // channels and four have no gradient.
    return result;
  }
};

}  // namespace

at::Tensor ReduceWithGradient(at::TensorList layers, std::int64_t channels, bool four) {
  return ReductionFunction::apply(layers, channels, four);
}

}  // namespace rrn
