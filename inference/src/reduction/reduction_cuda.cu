// The reduction operator on a GPU: one launch, no scratch memory, no synchronisation.
//
// The work is bound by reading each input once. Pooled inputs (ranks 1 and 2) are a few kilobytes an item, so there one
// thread computes one output. Feature maps are megabytes an item: there a block owns a tile of outputs
// (reduction_index.h), its warps average the channels that feed the tile, and the sums meet in shared memory. Inputs
// are added in their order, as on the CPU, and nothing is atomic, so a run repeats bit for bit.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "reduction/reduction_index.h"
#include "rrn/reduction.h"

namespace rrn {
namespace {

using internal::ChannelRange;
using internal::ChannelsOfTile;
using internal::OutputsOfChannel;

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int kWarps = kThreads / kWarp;
// From this many pixels on, all warps of a block share one channel; below, each warp takes its own.
constexpr std::int64_t kPixelsForBlock = 2048;

struct Pointers {
  const void* inputs[kMaxReductionInputs];
};

__device__ float Load(const float* p) { return *p; }
__device__ float Load(const __half* p) { return __half2float(*p); }
__device__ float Load(const __nv_bfloat16* p) { return __bfloat162float(*p); }
__device__ void Store(float v, float* p) { *p = v; }
__device__ void Store(float v, __half* p) { *p = __float2half_rn(v); }
__device__ void Store(float v, __nv_bfloat16* p) { *p = __float2bfloat16_rn(v); }

__device__ float WarpSum(float value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_down_sync(0xffffffffU, value, step);
  return value;
}

template <typename T>
__global__ void ReducePooled(const ReductionPlan plan, const Pointers pointers, T* output) {
  const std::int64_t total = plan.batch * plan.channels;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += stride) {
    const std::int64_t item = i / plan.channels;
    const std::int64_t out = i - item * plan.channels;
    float sum = 0.0F;
    for (int k = 0; k < plan.input_count; ++k) {
      const auto& input = plan.inputs[k];
      sum += Load(static_cast<const T*>(pointers.inputs[k]) + item * input.channels + out / input.repeats);
    }
    Store(sum / static_cast<float>(plan.input_count), output + i);
  }
}

template <typename T>
__global__ void ReduceMaps(const ReductionPlan plan, const Pointers pointers, const std::int64_t tile,
                           const std::int64_t tiles, T* output) {
  extern __shared__ float sums[];  // tile floats, then kWarps floats for a channel that all warps share
  float* partial = sums + tile;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;

  for (std::int64_t job = blockIdx.x; job < plan.batch * tiles; job += gridDim.x) {
    const std::int64_t item = job / tiles;
    const std::int64_t first = (job - item * tiles) * tile;
    const std::int64_t count = plan.channels - first < tile ? plan.channels - first : tile;
    for (std::int64_t o = threadIdx.x; o < count; o += kThreads) sums[o] = 0.0F;
    __syncthreads();

    for (int k = 0; k < plan.input_count; ++k) {
      const auto& input = plan.inputs[k];
      const T* data = static_cast<const T*>(pointers.inputs[k]) + item * input.channels * input.pixels;
      const ChannelRange channels = ChannelsOfTile(first, count, input.repeats);
      if (input.pixels >= kPixelsForBlock) {
        for (std::int64_t c = channels.first; c < channels.last; ++c) {
          float sum = 0.0F;
          for (std::int64_t p = threadIdx.x; p < input.pixels; p += kThreads) sum += Load(data + c * input.pixels + p);
          sum = WarpSum(sum);
          if (lane == 0) partial[warp] = sum;
          __syncthreads();
          float mean = 0.0F;
          for (int w = 0; w < kWarps; ++w) mean += partial[w];
          mean /= static_cast<float>(input.pixels);
          const ChannelRange outputs = OutputsOfChannel(c, first, count, input.repeats);
          for (std::int64_t o = outputs.first + threadIdx.x; o < outputs.last; o += kThreads) sums[o] += mean;
          __syncthreads();  // partial is written again by the next channel
        }
      } else {
        for (std::int64_t c = channels.first + warp; c < channels.last; c += kWarps) {
          float sum = 0.0F;
          for (std::int64_t p = lane; p < input.pixels; p += kWarp) sum += Load(data + c * input.pixels + p);
          const float mean = __shfl_sync(0xffffffffU, WarpSum(sum), 0) / static_cast<float>(input.pixels);
          const ChannelRange outputs = OutputsOfChannel(c, first, count, input.repeats);
          for (std::int64_t o = outputs.first + lane; o < outputs.last; o += kWarp) sums[o] += mean;
        }
        __syncthreads();  // the next input adds to outputs that other warps have just written
      }
    }
    for (std::int64_t o = threadIdx.x; o < count; o += kThreads) {
      Store(sums[o] / static_cast<float>(plan.input_count), output + item * plan.channels + first + o);
    }
    __syncthreads();  // the next job clears the sums
  }
}

template <typename T>
cudaError_t Launch(const ReductionPlan& plan, const Pointers& pointers, void* output, cudaStream_t stream) {
  constexpr std::int64_t kMaxBlocks = 65535;  // Grid-stride loops take the rest.
  T* out = static_cast<T*>(output);
  bool maps = false;
  for (int k = 0; k < plan.input_count; ++k) maps = maps || plan.inputs[k].pixels > 1;
  if (maps) {
    const std::int64_t tile = internal::TileSize(plan);
    const std::int64_t tiles = (plan.channels + tile - 1) / tile;
    const std::int64_t jobs = plan.batch * tiles;
    const auto blocks = static_cast<unsigned>(jobs < kMaxBlocks ? jobs : kMaxBlocks);
    const auto shared = static_cast<std::size_t>(tile + kWarps) * sizeof(float);
    ReduceMaps<T><<<blocks, kThreads, shared, stream>>>(plan, pointers, tile, tiles, out);
  } else {
    const std::int64_t wanted = (plan.batch * plan.channels + kThreads - 1) / kThreads;
    const auto blocks = static_cast<unsigned>(wanted < kMaxBlocks ? wanted : kMaxBlocks);
    ReducePooled<T><<<blocks, kThreads, 0, stream>>>(plan, pointers, out);
  }
  return cudaGetLastError();
}

}  // namespace

bool ReductionHasCuda() noexcept { return true; }

ReductionStatus ReduceCuda(const ReductionPlan& plan, ReductionType type, const void* const* inputs, void* output,
                           void* stream, int* cuda_error) noexcept {
  if (cuda_error != nullptr) *cuda_error = 0;
  if (plan.batch == 0) return ReductionStatus::kOk;
  if (inputs == nullptr || output == nullptr) return ReductionStatus::kNullPointer;
  Pointers pointers = {};
  for (int k = 0; k < plan.input_count; ++k) {
    if (inputs[k] == nullptr) return ReductionStatus::kNullPointer;
    pointers.inputs[k] = inputs[k];
  }
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  cudaError_t error = cudaErrorInvalidValue;
  switch (type) {
    case ReductionType::kFloat32:
      error = Launch<float>(plan, pointers, output, cuda_stream);
      break;
    case ReductionType::kFloat16:
      error = Launch<__half>(plan, pointers, output, cuda_stream);
      break;
    case ReductionType::kBFloat16:
      error = Launch<__nv_bfloat16>(plan, pointers, output, cuda_stream);
      break;
  }
  if (cuda_error != nullptr) *cuda_error = static_cast<int>(error);
  return error == cudaSuccess ? ReductionStatus::kOk : ReductionStatus::kCudaError;
}

const char* ReductionCudaErrorText(int cuda_error) noexcept {
  return cudaGetErrorString(static_cast<cudaError_t>(cuda_error));
}

}  // namespace rrn
