// The reduction operator, as plain kernels that know no framework.
//
// Given K arrays with C_1 ... C_K channels, each C_k dividing `channels` (512 in ReductionResNet), the operator repeats
// every channel of array k `channels / C_k` times in a row (PyTorch's repeat_interleave), and averages the K results:
//
//   output[b, o] = (1 / K) * sum_k input_k[b, o / (channels / C_k)]
//
// Inputs of rank 1 ([C_k]) or 2 ([B, C_k]) are taken as they are. Inputs of rank 4 ([B, C_k, H_k, W_k], H_k and W_k may
// differ from input to input) are feature maps: each is averaged over H_k x W_k first, in the same pass over memory.
//
// Optionally every row is divided by its length: x / max(||x||, 2^-126), the sum of squares in double. A row of zeros
// stays zero.
//
// Storage is float32, float16 or bfloat16; sums are float32 in every case. B = 0 is allowed and writes nothing.
// The sum over k runs in the order of the inputs, then one division by K: results do not depend on threads, batch or
// alignment. The CPU and the GPU, and the two layouts, add a map's pixels in orders of their own
// (reduction/sums_kernel.h, reduction/reduction_kernel.h), so their last bits differ.
//
// Use: describe the inputs with Shapes, let PlanReduction check them, run the plan.
//
// Thread-safety: every function is pure; none allocates, prints or throws (DescribeReductionError builds a string).
#ifndef RRN_REDUCTION_H_
#define RRN_REDUCTION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace rrn {

// Element type of all inputs and of the output.
enum class ReductionType : std::uint8_t { kFloat32, kFloat16, kBFloat16 };

// Bytes of one element.
std::size_t ReductionTypeSize(ReductionType type) noexcept;

// What was wrong with a call, if anything.
enum class ReductionStatus : std::uint8_t {
  kOk,
  kNoInputs,       // K must be at least 1.
  kTooManyInputs,  // K is above kMaxReductionInputs.
  kBadChannels,    // `channels` must be at least 1.
  kBadRank,        // An input is not of rank 1, 2 or 4.
  kMixedRanks,     // All inputs must have the same rank.
  kMixedBatch,     // All inputs must have the same B.
  kNotDividing,    // Some C_k is not a positive divisor of `channels`.
  kEmptyMap,       // A feature map has no pixel (H_k or W_k is 0): its average does not exist.
  kNullPointer,    // A data pointer is null although its array is not empty.
  kCudaError,      // The launch failed; the cudaError_t says why.
  kNoWorkspace,    // ReduceCuda needs a workspace for this plan, and got none.
};

// How feature maps lie in memory. Their shape is written [B, C, H, W] in both cases, as in PyTorch.
enum class ReductionLayout : std::uint8_t {
  kNchw,  // pixels of a channel side by side
  kNhwc,  // channels of a pixel side by side (PyTorch's channels_last)
};

// How PlanReduction takes its inputs and makes its rows.
struct ReductionOptions {
  ReductionLayout layout = ReductionLayout::kNchw;  // of all inputs; ranks 1 and 2 have but one
  bool normalize = false;                           // divide every row by its Euclidean length
};

// The largest number of inputs; the number of output channels unless another one is given.
inline constexpr int kMaxReductionInputs = 32;
inline constexpr std::int64_t kDefaultReductionChannels = 512;

// The shape of one input. Dimensions past `rank` are ignored. A rank outside 1, 2, 4 may be stored (with at most 8
// dimensions) so that error messages can show it.
struct ReductionShape {
  int rank = 0;
  std::array<std::int64_t, 8> dims = {};
};

// Checked sizes of one call. Made by PlanReduction; plain data, free to copy to a GPU.
struct ReductionPlan {
  // Sizes of one input.
  struct Input {
    std::int64_t channels = 0;  // C_k
    std::int64_t repeats = 0;   // channels / C_k
    std::int64_t pixels = 0;    // H_k * W_k, or 1 for ranks 1 and 2
  };
  int input_count = 0;     // K
  int output_rank = 0;     // 1: [channels], 2: [batch, channels]
  std::int64_t batch = 0;  // B, or 1 for rank 1
  std::int64_t channels = 0;
  std::array<Input, kMaxReductionInputs> inputs = {};
  ReductionLayout layout = ReductionLayout::kNchw;
  bool normalize = false;
};

// Checks `count` shapes against `channels` and fills *plan. On an error *plan is unspecified.
ReductionStatus PlanReduction(const ReductionShape* shapes, int count, std::int64_t channels, ReductionPlan* plan,
                              const ReductionOptions& options = {}) noexcept;

// One line that says what is wrong and names `channels` and all shapes. For status kOk: "ok".
std::string DescribeReductionError(ReductionStatus status, const ReductionShape* shapes, int count,
                                   std::int64_t channels);

// Runs the plan on the CPU, on the calling thread.
//   inputs: plan.input_count pointers to contiguous row-major arrays of `type`, aligned to their element.
//   output: room for plan.batch * plan.channels elements of `type`; must not overlap an input.
ReductionStatus ReduceCpu(const ReductionPlan& plan, ReductionType type, const void* const* inputs,
                          void* output) noexcept;

// True if this library was compiled with the CUDA kernel. It does not say that a GPU or a driver is present.
bool ReductionHasCuda() noexcept;

// Device memory that ReduceCuda needs besides inputs and output: for normalised rows that several blocks share, and for
// maps in NHWC. The former take 4 bytes an output; the latter at most a third of the inputs' bytes, reached where
// pixels have 1000 channels or more, and 8 bytes a channel of every input and item. ResNet-18's maps at 224 pixels take
// 1/16. Both: 4 bytes an item besides, rounded up to a multiple of 16.
struct ReductionWorkspace {
  std::size_t bytes = 0;       // 0: none.
  std::size_t zero_bytes = 0;  // The first bytes, counters: zero before the first use, and zero again after each.
};

// How much of it a plan needs.
ReductionWorkspace ReductionWorkspaceSize(const ReductionPlan& plan, ReductionType type) noexcept;

// Enqueues the plan on a CUDA stream and returns without waiting; all arrays are device memory. One launch, no
// allocation, no synchronisation, so it can be captured in a CUDA graph.
//   inputs, output: as for ReduceCpu, in device memory. Reads are 16 bytes wide whatever the alignment.
//   stream: a cudaStream_t, passed as void* so that this header needs no CUDA; null is the default stream.
//   cuda_error: if not null, receives the launch's cudaError_t (0 is success).
//   workspace: ReductionWorkspaceSize(plan, type) bytes, aligned to 16, of which the caller has set the first
//   zero_bytes
//     to zero once. Calls that may run at the same time need one each. Null where no bytes are needed.
// Errors: those of ReduceCpu; kNoWorkspace; kCudaError (also when compiled without CUDA, or for over 2^28 channels).
ReductionStatus ReduceCuda(const ReductionPlan& plan, ReductionType type, const void* const* inputs, void* output,
                           void* stream, int* cuda_error = nullptr, void* workspace = nullptr) noexcept;

// What CUDA calls this cudaError_t; static text.
const char* ReductionCudaErrorText(int cuda_error) noexcept;

}  // namespace rrn

#endif  // RRN_REDUCTION_H_
