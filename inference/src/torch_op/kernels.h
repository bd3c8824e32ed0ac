// What the dispatcher calls, one function for each dispatch key. Private to libreduction_torch.so.
#ifndef RRN_TORCH_OP_KERNELS_H_
#define RRN_TORCH_OP_KERNELS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "rrn/reduction.h"

namespace rrn {

// The operators' C++ types, as the dispatcher wants them.
using ReductionSchema = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&);
using ReduceLayersSchema = at::Tensor(at::TensorList, std::int64_t, bool);
using RepeatInterleaveSchema = at::Tensor(const at::Tensor&);

// Runs the plain CPU kernel.
at::Tensor ReduceOnCpu(at::TensorList layers, std::int64_t channels, bool normalize);

// Enqueues the CUDA kernel on PyTorch's current stream of the inputs' device.
at::Tensor ReduceOnCuda(at::TensorList layers, std::int64_t channels, bool normalize);

// Shapes only, which may be symbolic: what torch.export and torch.compile trace with.
at::Tensor ReduceOnMeta(at::TensorList layers, std::int64_t channels, bool normalize);

// Records the derivative, then redispatches.
//   four: the operator called was rrn::reduction (channels is 512, normalize is false), not rrn::reduce_layers. The
//   same operator must be
//     called again, or a traced graph would show another one than the user wrote.
at::Tensor ReduceWithGradient(at::TensorList layers, std::int64_t channels, bool normalize, bool four);

// Checks that all layers share one supported type and one device; returns the type. Throws c10::Error.
ReductionType CheckTypeAndDevice(at::TensorList layers);

// Checks the layers' sizes and plans the call. Throws c10::Error. Symbolic sizes are tested symbolically, and the plan
// then has 1 in their place.
ReductionPlan CheckShapes(at::TensorList layers, std::int64_t channels, const ReductionOptions& options);

}  // namespace rrn

#endif  // RRN_TORCH_OP_KERNELS_H_
