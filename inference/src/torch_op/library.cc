// The operators as PyTorch knows them: torch.ops.rrn.*, after torch.ops.load_library("libreduction_torch.so").
#include <ATen/ATen.h>
#include <torch/library.h>

#include <array>

#include "torch_op/kernels.h"
#include "torch_op/reduction.h"

namespace rrn {
namespace {

template <at::Tensor (*kKernel)(at::TensorList, std::int64_t, bool)>
at::Tensor Four(const at::Tensor& one, const at::Tensor& two, const at::Tensor& three, const at::Tensor& four) {
  const std::array<at::Tensor, 4> layers = {one, two, three, four};
  return kKernel(layers, kDefaultReductionChannels, /*normalize=*/false);
}

at::Tensor FourWithGradient(at::TensorList layers, std::int64_t channels, bool normalize) {
  return ReduceWithGradient(layers, channels, normalize, /*four=*/true);
}

at::Tensor ListWithGradient(at::TensorList layers, std::int64_t channels, bool normalize) {
  return ReduceWithGradient(layers, channels, normalize, /*four=*/false);
}

// Stands for every device without a kernel, and for a list without a tensor, which has no device.
at::Tensor ReduceElsewhere(at::TensorList layers, std::int64_t /*channels*/, bool /*normalize*/) {
  CheckTypeAndDevice(layers);
  TORCH_CHECK_NOT_IMPLEMENTED(false, "rrn::reduction: runs on cpu and cuda; the inputs are on ", layers[0].device());
}

// One layer's average is the layer itself, so repeating needs no kernel of its own.
at::Tensor RepeatInterleave(const at::Tensor& input) {
  TORCH_CHECK_VALUE(input.dim() == 1 || input.dim() == 2,
                    "rrn::repeatInterleave: the input must be [C] or [B, C]; got ", input.sym_sizes());
  return reduceLayers({input}, kDefaultReductionChannels);
}

}  // namespace
}  // namespace rrn

TORCH_LIBRARY(rrn, library) {
  library.def("reduction(Tensor layerOne, Tensor layerTwo, Tensor layerThree, Tensor layerFour) -> Tensor",
              {at::Tag::pt2_compliant_tag});
  library.def("reduce_layers(Tensor[] layers, int channels=512, bool normalize=False) -> Tensor",
              {at::Tag::pt2_compliant_tag});
  library.def("repeatInterleave(Tensor input) -> Tensor", {at::Tag::pt2_compliant_tag});
}

TORCH_LIBRARY_IMPL(rrn, CPU, library) {
  library.impl("reduction", rrn::Four<rrn::ReduceOnCpu>);
  library.impl("reduce_layers", rrn::ReduceOnCpu);
}

TORCH_LIBRARY_IMPL(rrn, CUDA, library) {
  library.impl("reduction", rrn::Four<rrn::ReduceOnCuda>);
  library.impl("reduce_layers", rrn::ReduceOnCuda);
}

TORCH_LIBRARY_IMPL(rrn, Meta, library) {
  library.impl("reduction", rrn::Four<rrn::ReduceOnMeta>);
  library.impl("reduce_layers", rrn::ReduceOnMeta);
}

TORCH_LIBRARY_IMPL(rrn, Autograd, library) {
  library.impl("reduction", rrn::Four<rrn::FourWithGradient>);
  library.impl("reduce_layers", rrn::ListWithGradient);
}

TORCH_LIBRARY_IMPL(rrn, CompositeExplicitAutograd, library) {
  library.impl("reduction", rrn::Four<rrn::ReduceElsewhere>);
  library.impl("reduce_layers", rrn::ReduceElsewhere);
}

TORCH_LIBRARY_IMPL(rrn, CompositeImplicitAutograd, library) { library.impl("repeatInterleave", rrn::RepeatInterleave); }
