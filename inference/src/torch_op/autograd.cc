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
constexpr const char* kNormalize = "normalize";

class ReductionFunction : public torch::autograd::Function<ReductionFunction> {
 public:
  // All state is in saved_data and backward() has no side effect, so compiled autograd may trace it.
  static constexpr bool is_traceable = true;  // NOLINT(readability-identifier-naming): PyTorch's name.

  // Only the sizes are kept, not the inputs, because averaging is linear; normalising is not.
  static at::Tensor forward(AutogradContext* context, at::TensorList layers, std::int64_t channels, bool normalize,
                            bool four) {
    context->saved_data[kChannels] = channels;
    context->saved_data[kNormalize] = normalize;
    if (normalize) {
      context->save_for_backward(layers.vec());
    }
    context->saved_data[kInputs] = static_cast<std::int64_t>(layers.size());
    for (std::size_t k = 0; k < layers.size(); ++k) {
      context->saved_data[std::to_string(k)] = layers[k].sym_sizes();
    }
    const at::AutoDispatchBelowADInplaceOrView below;
    return four ? reduction(layers[0], layers[1], layers[2], layers[3])
                : reduceLayers(layers.vec(), channels, normalize);
  }

  // Output channel o takes 1 / (K * pixels) of every pixel of input channel o / repeats; so a channel's gradient is the
  // sum over its repeats, divided by K * pixels and spread over the map.
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const std::int64_t channels = context->saved_data[kChannels].toInt();
    const std::int64_t inputs = context->saved_data[kInputs].toInt();
    const at::Tensor total = context->saved_data[kNormalize].toBool()
                                 ? Unnormalized(gradients[0], context->get_saved_variables(), channels)
                                 : gradients[0];
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
      at::Tensor gradient = total.reshape_symint(folded).sum(-1).div(at::Scalar(share));
      if (sizes.size() == 4) {
        gradient = gradient.unsqueeze(-1).unsqueeze(-1).expand_symint(sizes);
      }
      result.push_back(gradient);
    }
    result.resize(static_cast<std::size_t>(inputs) + 3);  // channels, normalize and four have no gradient.
    return result;
  }

 private:
  // The gradient of the rows before they were normalised. With x such a row, y = x / n and n its length, that is
  // (g - y (y . g)) / n, or g / n where n is too small to depend on x. The rows are computed again rather than kept,
  // which lets this be differentiated, too.
  static at::Tensor Unnormalized(const at::Tensor& gradient, const variable_list& layers, std::int64_t channels) {
    const at::Tensor row = reduceLayers(layers, channels).to(at::kFloat);
    const at::Tensor wide = gradient.to(at::kFloat);
    const at::Tensor length = at::linalg_vector_norm(row, 2, at::IntArrayRef{-1}, /*keepdim=*/true);
    const at::Tensor divisor = length.clamp_min(0x1p-126);
    const at::Tensor unit = row / divisor;
    const at::Tensor along = unit * (unit * wide).sum(-1, /*keepdim=*/true);
    return ((wide - at::where(length < 0x1p-126, at::zeros_like(along), along)) / divisor).to(gradient.scalar_type());
  }
};

}  // namespace

at::Tensor ReduceWithGradient(at::TensorList layers, std::int64_t channels, bool normalize, bool four) {
  return ReductionFunction::apply(layers, channels, normalize, four);
}

}  // namespace rrn
