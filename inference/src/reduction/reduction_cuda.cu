// The reduction operator on a GPU: one launch, no synchronisation. What is computed in which order is in
// reduction_kernel.h, and who does it in reduction_index.h; here is the thread block of a real GPU, and the launch.
//
// The work is bound by reading every input once. Copies to shared memory are asynchronous (cp.async, or plain 16-byte
// copies before compute capability 8.0), so that what a block has in flight takes no registers, and several blocks
// share a multiprocessor. There are no floating-point atomics, so a run repeats bit for bit.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "reduction/reduction_index.h"
#include "reduction/reduction_kernel.h"
#include "rrn/reduction.h"

namespace rrn {
namespace {

using internal::kReduceThreads;
using internal::MapsGeometry;
using internal::PixelsGeometry;

__device__ inline float ToFloat(float value) { return value; }
__device__ inline float ToFloat(__half value) { return __half2float(value); }
__device__ inline float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline void FromFloat(float value, float* out) { *out = value; }
__device__ inline void FromFloat(float value, __half* out) { *out = __float2half_rn(value); }
__device__ inline void FromFloat(float value, __nv_bfloat16* out) { *out = __float2bfloat16_rn(value); }

// A thread block of a GPU; see reduction_kernel.h for what the functions do.
template <typename T>
class DeviceBlock {
 public:
  // A value of this thread.
  template <typename V>
  class PerThread {
   public:
    __device__ V& operator[](int /*t*/) { return value_; }

   private:
    V value_;
  };

  __device__ explicit DeviceBlock(unsigned char* shared) : shared_(shared) {}

  template <typename F>
  __device__ void ForEach(const F& f) {
    f(static_cast<int>(threadIdx.x));
  }
  __device__ void Barrier() { __syncthreads(); }

  __device__ void CopyChunk(int /*t*/, int to, const unsigned char* from) {
    __pipeline_memcpy_async(shared_ + to, from, internal::kChunkBytes);
  }
  __device__ void CopyElement(int /*t*/, int to, const T* from) { *reinterpret_cast<T*>(shared_ + to) = *from; }
  __device__ void Commit() { __pipeline_commit(); }
  __device__ void Wait(int newer) {
    if (newer == 0) {
      __pipeline_wait_prior(0);
    } else {
      __pipeline_wait_prior(1);
    }
  }

  __device__ float Element(int /*t*/, int at) const { return ToFloat(*reinterpret_cast<const T*>(shared_ + at)); }
  __device__ float Float(int /*t*/, int at) const { return *reinterpret_cast<const float*>(shared_ + at); }
  __device__ void SetFloat(int /*t*/, int at, float value) { *reinterpret_cast<float*>(shared_ + at) = value; }
  __device__ double Double(int /*t*/, int at) const { return *reinterpret_cast<const double*>(shared_ + at); }
  __device__ void SetDouble(int /*t*/, int at, double value) { *reinterpret_cast<double*>(shared_ + at) = value; }

  // Other blocks wrote what is read here, so it must not come from this multiprocessor's L1 cache.
  __device__ float Partial(int /*t*/, const float* from) const { return __ldcg(from); }
  __device__ void SetPartial(int /*t*/, float* to, float value) { *to = value; }
  __device__ void Store(int /*t*/, T* to, float value) { FromFloat(value, to); }

  template <typename V>
  __device__ void LaneSum(PerThread<V>& values, int width) {
    for (int step = width / 2; step > 0; step /= 2) values[0] += __shfl_xor_sync(0xffffffffU, values[0], step);
  }

  // Every thread's writes come before the count, and the count before the last block's reads.
  __device__ bool LastOfItem(std::uint32_t* counter, std::uint32_t blocks, int flag) {
    __threadfence();
    __syncthreads();
    int* last = reinterpret_cast<int*>(shared_ + flag);
    if (threadIdx.x == 0) *last = atomicAdd(counter, 1U) == blocks - 1 ? 1 : 0;
    __syncthreads();
    const bool result = *last != 0;
    if (result) __threadfence();
    return result;
  }
  __device__ void ResetCounter(std::uint32_t* counter) {
    if (threadIdx.x == 0) *counter = 0;
  }

  __device__ static double SquareRoot(double value) { return sqrt(value); }

 private:
  unsigned char* shared_;
};

// 64 registers a thread: enough to spill none, and few enough for 128 KiB in flight.
constexpr int kBlocksOfMultiprocessor = 8;

extern __shared__ __align__(16) unsigned char shared_memory[];

template <typename T>
__global__ void __launch_bounds__(kReduceThreads, kBlocksOfMultiprocessor)
    ReduceMapsKernel(const __grid_constant__ MapsGeometry geometry, T* output) {
  DeviceBlock<T> block(shared_memory);
  internal::ReduceMaps<T>(block, geometry, static_cast<std::int32_t>(blockIdx.x), blockIdx.y, gridDim.y, output);
}

template <typename T>
__global__ void __launch_bounds__(kReduceThreads, kBlocksOfMultiprocessor)
    ReducePixelsKernel(const __grid_constant__ PixelsGeometry geometry, T* output) {
  DeviceBlock<T> block(shared_memory);
  internal::ReducePixels<T>(block, geometry, static_cast<std::int32_t>(blockIdx.x), blockIdx.y, gridDim.y, output);
}

// The rest of the batch is taken by the kernels' loop over items.
dim3 Grid(std::int32_t blocks_of_item, std::int64_t batch) {
  constexpr std::int64_t kMaxY = 65535;
  return {static_cast<unsigned>(blocks_of_item), static_cast<unsigned>(batch < kMaxY ? batch : kMaxY), 1};
}

// Gives the geometry its pointers and its place in the workspace; false where one is needed and missing.
template <typename Geometry>
bool Complete(const void* const* inputs, void* workspace, Geometry* geometry, float** floats) {
  for (int k = 0; k < geometry->input_count; ++k) geometry->inputs[k].data = inputs[k];
  if (internal::WorkspaceFloats(*geometry) == 0) return true;
  if (workspace == nullptr) return false;
  geometry->counters = static_cast<std::uint32_t*>(workspace);
  *floats = reinterpret_cast<float*>(static_cast<unsigned char*>(workspace) + internal::CounterBytes(geometry->batch));
  return true;
}

template <typename T>
ReductionStatus Launch(const ReductionPlan& plan, ReductionType type, const void* const* inputs, void* output,
                       void* workspace, cudaStream_t stream, cudaError_t* error) {
  T* out = static_cast<T*>(output);
  if (internal::TakesPixelsKernel(plan)) {
    PixelsGeometry g = internal::MakePixelsGeometry(plan, type);
    if (!Complete(inputs, workspace, &g, &g.floats)) return ReductionStatus::kNoWorkspace;
    const auto shared = static_cast<std::size_t>(LayOut(g).bytes);
    ReducePixelsKernel<T><<<Grid(g.parts, g.batch), kReduceThreads, shared, stream>>>(g, out);
  } else {
    MapsGeometry g = internal::MakeMapsGeometry(plan, type);
    if (!Complete(inputs, workspace, &g, &g.rows)) return ReductionStatus::kNoWorkspace;
    const auto shared = static_cast<std::size_t>(LayOut(g).bytes);
    ReduceMapsKernel<T><<<Grid(g.tiles, g.batch), kReduceThreads, shared, stream>>>(g, out);
  }
  *error = cudaGetLastError();
  return *error == cudaSuccess ? ReductionStatus::kOk : ReductionStatus::kCudaError;
}

}  // namespace

bool ReductionHasCuda() noexcept { return true; }

ReductionStatus ReduceCuda(const ReductionPlan& plan, ReductionType type, const void* const* inputs, void* output,
                           void* stream, int* cuda_error, void* workspace) noexcept {
  if (cuda_error != nullptr) *cuda_error = 0;
  if (plan.batch == 0) return ReductionStatus::kOk;
  if (inputs == nullptr || output == nullptr) return ReductionStatus::kNullPointer;
  for (int k = 0; k < plan.input_count; ++k) {
    if (inputs[k] == nullptr) return ReductionStatus::kNullPointer;
  }
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  cudaError_t error = cudaErrorInvalidValue;
  ReductionStatus status = ReductionStatus::kCudaError;
  if (internal::FitsCuda(plan)) {
    switch (type) {
      case ReductionType::kFloat32:
        status = Launch<float>(plan, type, inputs, output, workspace, cuda_stream, &error);
        break;
      case ReductionType::kFloat16:
        status = Launch<__half>(plan, type, inputs, output, workspace, cuda_stream, &error);
        break;
      case ReductionType::kBFloat16:
        status = Launch<__nv_bfloat16>(plan, type, inputs, output, workspace, cuda_stream, &error);
        break;
    }
  }
  if (cuda_error != nullptr) *cuda_error = status == ReductionStatus::kCudaError ? static_cast<int>(error) : 0;
  return status;
}

const char* ReductionCudaErrorText(int cuda_error) noexcept {
  return cudaGetErrorString(static_cast<cudaError_t>(cuda_error));
}

}  // namespace rrn
