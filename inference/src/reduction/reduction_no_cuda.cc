// Compiled instead of reduction_cuda.cu where there is no nvcc.
#include "rrn/reduction.h"

namespace rrn {

bool ReductionHasCuda() noexcept { return false; }

ReductionStatus ReduceCuda(const ReductionPlan& /*plan*/, ReductionType /*type*/, const void* const* /*inputs*/,
                           void* /*output*/, void* /*stream*/, int* cuda_error, void* /*workspace*/) noexcept {
  if (cuda_error != nullptr) *cuda_error = 0;
  return ReductionStatus::kCudaError;
}

const char* ReductionCudaErrorText(int /*cuda_error*/) noexcept { return "built without CUDA"; }

}  // namespace rrn
