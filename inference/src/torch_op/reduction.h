// The reduction operator for PyTorch, from C++. (Python reaches the same operators as torch.ops.rrn.*.)
//
//   #include "torch_op/reduction.h"                      // link libreduction_torch.so
//   torch::Tensor embedding = rrn::reduction(p1, p2, p3, p4);   // [B,64], [B,128], [B,256], [B,512] -> [B,512]
//
// Every function calls through PyTorch's dispatcher: it runs on the device of its inputs, is recorded by autograd, and
// can be differentiated any number of times.
//
// Inputs are float32, float16 or bfloat16, all of one type and on one device (CPU, or CUDA where the library was built
// with it); they need not be contiguous. Sums are float32 in every case. float64 is not supported: convert first.
// The result has the inputs' type and device.
//
// Errors: c10::Error, with a message that names the shapes, types and devices of all inputs.
// Thread-safety: all functions may be called from several threads at once.
#ifndef RRN_TORCH_OP_REDUCTION_H_
#define RRN_TORCH_OP_REDUCTION_H_

#include <torch/types.h>

#include <cstdint>
#include <vector>

#pragma GCC visibility push(default)

namespace rrn {

// Repeats the channels of each layer to 512 and averages the four layers; the embedding of ReductionResNet-18.
//   layerOne ... layerFour: [C] each, or [B, C] each, or feature maps [B, C, H, W] each (H and W may differ from layer
//     to layer; every map is averaged over H x W first). Each C divides 512: 64, 128, 256 and 512 for ResNet-18.
// Returns [512] for inputs of rank 1, otherwise [B, 512].
torch::Tensor reduction(torch::Tensor layerOne, torch::Tensor layerTwo, torch::Tensor layerThree,
                        torch::Tensor layerFour);

// Repeats every element of the last dimension 512 / C times in a row, as torch.repeat_interleave does.
//   input: [C] or [B, C], C a divisor of 512.
// Returns [512] or [B, 512].
torch::Tensor repeatInterleave(torch::Tensor input);

// The same reduction for any number of layers (1 to 32) and any number of output channels.
//   layers: as in reduction(); each C divides `channels`. Maps that are all channels_last are read as they are.
//   normalize: divide every row by max(its Euclidean length, 2^-126).
// Returns [channels] or [B, channels].
torch::Tensor reduceLayers(const std::vector<torch::Tensor>& layers, std::int64_t channels = 512,
                           bool normalize = false);

}  // namespace rrn

#pragma GCC visibility pop

#endif  // RRN_TORCH_OP_REDUCTION_H_
