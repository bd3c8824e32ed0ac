// The reduction kernels on a real GPU, without any framework: the whole table of cases, and measurements.
//
//   reduction_check table [--small]      compares every case with the scalar reference; at two alignments, each twice,
//                                        with equal bytes. --small: small ones that go every way (for
//                                        compute-sanitizer)
//   reduction_check bench SECONDS        the kernels by type, layout, batch and size, a line {"rows+": {...}} each as
//   soon
//                                        as it is measured; before and after them a JSON object with the ceilings
//
// Exit status: 0 all is well, 1 something is wrong (one line each), 2 wrong arguments, 3 no GPU.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cub/device/device_segmented_reduce.cuh>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "reduction/reduction_cases.h"
#include "rrn/reduction.h"

namespace {

using rrn::ReductionLayout;
using rrn::ReductionPlan;
using rrn::ReductionType;
using rrn::testing::Array;
using rrn::testing::Dims;
using rrn::testing::ReductionCase;

// A failed CUDA call ends the program: nothing after it could be trusted.
void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "reduction_check: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

struct Free {
  void operator()(void* pointer) const { cudaFree(pointer); }
};
using DeviceMemory = std::unique_ptr<void, Free>;

DeviceMemory Allocate(std::size_t bytes) {
  void* pointer = nullptr;
  Check(cudaMalloc(&pointer, bytes + 64), "cudaMalloc");
  return DeviceMemory(pointer);
}

ReductionPlan PlanOf(const ReductionCase& c) {
  std::vector<rrn::ReductionShape> shapes;
  for (const Dims& dims : c.shapes) shapes.push_back(rrn::testing::ToShape(dims));
  ReductionPlan plan;
  const auto status = PlanReduction(shapes.data(), static_cast<int>(shapes.size()), c.channels, &plan, c.options);
  if (status != rrn::ReductionStatus::kOk) {
    std::fprintf(stderr, "reduction_check: %s cannot be planned\n", c.name.c_str());
    std::exit(1);
  }
  return plan;
}

void Launch(const ReductionPlan& plan, ReductionType type, const std::vector<const void*>& inputs, void* output,
            void* workspace, cudaStream_t stream) {
  int error = 0;
  const auto status = ReduceCuda(plan, type, inputs.data(), output, stream, &error, workspace);
  if (status == rrn::ReductionStatus::kOk) return;
  std::fprintf(stderr, "reduction_check: launch failed, status %d: %s\n", static_cast<int>(status),
               rrn::ReductionCudaErrorText(error));
  std::exit(1);
}

// ------------------------------------------------------------------------------------------------------------- table

// Runs one case twice with inputs that begin `offset` elements past a multiple of 16 bytes; the second run's bytes.
Array RunCase(const ReductionCase& c, const std::vector<Array>& inputs, std::size_t offset, std::string* problem) {
  const ReductionPlan plan = PlanOf(c);
  const std::size_t size = ReductionTypeSize(c.type);
  std::vector<DeviceMemory> memory;
  std::vector<const void*> pointers;
  for (const Array& input : inputs) {
    memory.push_back(Allocate(input.bytes.size()));
    auto* begin = static_cast<unsigned char*>(memory.back().get()) + offset * size;
    Check(cudaMemcpy(begin, input.bytes.data(), input.bytes.size(), cudaMemcpyHostToDevice), "copy to the GPU");
    pointers.push_back(begin);
  }
  Array output;
  output.dims = plan.output_rank == 1 ? Dims{plan.channels} : Dims{plan.batch, plan.channels};
  output.bytes.resize(static_cast<std::size_t>(plan.batch * plan.channels) * size);
  const DeviceMemory device_output = Allocate(output.bytes.size());
  const auto needed = ReductionWorkspaceSize(plan, c.type);
  const DeviceMemory workspace = Allocate(needed.bytes);
  Check(cudaMemset(workspace.get(), 0, needed.zero_bytes), "cudaMemset");  // the rest stays as it is: initcheck looks
  std::vector<std::uint8_t> first;
  for (int run = 0; run < 2; ++run) {
    Check(cudaMemset(device_output.get(), 0xcd, output.bytes.size() + 64), "cudaMemset");
    Launch(plan, c.type, pointers, device_output.get(), workspace.get(), nullptr);
    Check(cudaDeviceSynchronize(), c.name.c_str());
    Check(cudaMemcpy(output.bytes.data(), device_output.get(), output.bytes.size(), cudaMemcpyDeviceToHost),
          "copy back");
    if (run == 0) first = output.bytes;
  }
  if (first != output.bytes) *problem = c.name + ": two runs differ";
  std::vector<std::uint8_t> guard(64);
  Check(cudaMemcpy(guard.data(), static_cast<unsigned char*>(device_output.get()) + output.bytes.size(), guard.size(),
                   cudaMemcpyDeviceToHost),
        "copy back");
  for (const std::uint8_t byte : guard) {
    if (byte != 0xcd) *problem = c.name + ": written past the output";
  }
  return output;
}

int RunTable(bool small) {
  int failures = 0;
  int count = 0;
  std::vector<ReductionCase> cases;
  if (small) {
    cases = rrn::testing::SmallReductionCases();
  } else {
    cases = rrn::testing::AllReductionCases();
    for (const ReductionCase& c : rrn::testing::LongBatchCases()) cases.push_back(c);
  }
  for (const ReductionCase& c : cases) {
    ++count;
    const std::vector<Array> inputs = MakeInputs(c);
    std::string problem;
    const Array aligned = RunCase(c, inputs, 0, &problem);
    const Array shifted = RunCase(c, inputs, 1, &problem);
    if (problem.empty()) problem = Compare(c, ScalarReference(c, inputs), aligned);
    if (problem.empty() && aligned.bytes != shifted.bytes) problem = c.name + ": depends on the alignment";
    if (problem.empty()) continue;
    std::printf("FAILED %s\n", problem.c_str());
    ++failures;
  }
  std::printf("{\"cases\": %d, \"failed\": %d}\n", count, failures);
  return failures == 0 ? 0 : 1;
}

// ------------------------------------------------------------------------------------------------------------- bench

struct Spread {
  double median = 0;
  double low = 0;  // quartiles
  double high = 0;
};

// Microseconds of one call of `enqueue`, out of a graph of `calls` of them (call i gets i), replayed `rounds` times.
Spread Measure(int calls, int rounds, cudaStream_t stream, const std::function<void(int)>& enqueue) {
  enqueue(0);
  Check(cudaStreamSynchronize(stream), "warm-up");
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replay = nullptr;
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin capture");
  for (int i = 0; i < calls; ++i) enqueue(i);
  Check(cudaStreamEndCapture(stream, &graph), "end capture");
  Check(cudaGraphInstantiate(&replay, graph, 0), "instantiate");
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  Check(cudaEventCreate(&begin), "event");
  Check(cudaEventCreate(&end), "event");
  std::vector<double> times;
  for (int round = -2; round < rounds; ++round) {
    Check(cudaEventRecord(begin, stream), "event");
    Check(cudaGraphLaunch(replay, stream), "graph launch");
    Check(cudaEventRecord(end, stream), "event");
    Check(cudaEventSynchronize(end), "graph");
    float milliseconds = 0;
    Check(cudaEventElapsedTime(&milliseconds, begin, end), "event");
    if (round >= 0) times.push_back(static_cast<double>(milliseconds) * 1000 / calls);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() / 4], times[times.size() * 3 / 4]};
}

__global__ void ReadAll(const uint4* data, std::size_t count, unsigned* sink) {
  unsigned sum = 0;
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    const uint4 a = data[i];
    const uint4 b = data[i + stride];
    const uint4 c = data[i + 2 * stride];
    const uint4 d = data[i + 3 * stride];
    sum += a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
  }
  if (sum == 0x12345678U) *sink = sum;  // Never, but the compiler cannot know.
}

// Pseudo-random bits that are small finite numbers in every type: zeros would be unlike real data.
__global__ void Fill(std::uint32_t* data, std::size_t count) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    data[i] = (static_cast<std::uint32_t>(i) * 2654435761U & 0x83ff83ffU) | 0x38003800U;
  }
}

DeviceMemory Filled(std::size_t bytes) {
  DeviceMemory memory = Allocate(bytes);
  Fill<<<1024, 256>>>(static_cast<std::uint32_t*>(memory.get()), (bytes + 3) / 4);
  Check(cudaGetLastError(), "fill");
  Check(cudaDeviceSynchronize(), "fill");
  return memory;
}

struct AsFloat {
  __device__ float operator()(float value) const { return value; }
  __device__ float operator()(__half value) const { return __half2float(value); }
  __device__ float operator()(__nv_bfloat16 value) const { return __bfloat162float(value); }
};

struct SegmentBegin {
  std::int64_t pixels;
  __host__ __device__ std::int64_t operator()(std::int64_t i) const { return i * pixels; }
};

// The usual two passes: sums of all channels, one library call an input, then the combination (our own pooled kernel;
// the sums are not divided by the pixels, which would only add work).
template <typename T>
void TwoPasses(const ReductionPlan& plan, const std::vector<const void*>& inputs, const std::vector<DeviceMemory>& sums,
               void* scratch, std::size_t scratch_bytes, const ReductionPlan& pooled, void* output,
               cudaStream_t stream) {
  std::vector<const void*> pointers;
  for (int k = 0; k < plan.input_count; ++k) {
    const auto& input = plan.inputs[static_cast<std::size_t>(k)];
    const thrust::transform_iterator<AsFloat, const T*> values(static_cast<const T*>(inputs[k]), AsFloat{});
    const thrust::transform_iterator<SegmentBegin, thrust::counting_iterator<std::int64_t>> begins(
        thrust::counting_iterator<std::int64_t>(0), SegmentBegin{input.pixels});
    std::size_t bytes = scratch_bytes;
    Check(cub::DeviceSegmentedReduce::Sum(scratch, bytes, values, static_cast<float*>(sums[k].get()),
                                          plan.batch * input.channels, begins, begins + 1, stream),
          "cub");
    pointers.push_back(sums[k].get());
  }
  Launch(pooled, ReductionType::kFloat32, pointers, output, nullptr, stream);
}

const char* const kTypeNames[] = {"float32", "float16", "bfloat16"};

// A graph of that many calls is enough, and is captured and made in well under a second.
constexpr std::size_t kMaxSets = 16384;

int RunBench(double seconds) {
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  cudaDeviceProp properties = {};
  Check(cudaGetDeviceProperties(&properties, 0), "properties");
  cudaStream_t stream = nullptr;
  Check(cudaStreamCreate(&stream), "stream");
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  Check(cudaMemGetInfo(&free_bytes, &total_bytes), "memory");

  // Ceilings, with buffers far above any L2.
  const std::size_t large = std::min<std::size_t>(std::size_t{2} << 30, free_bytes / 4);
  double copy = 0;
  double read = 0;
  {
    const DeviceMemory from = Filled(large);
    const DeviceMemory to = Filled(large);
    const Spread copied = Measure(2, 10, stream, [&](int /*i*/) {
      Check(cudaMemcpyAsync(to.get(), from.get(), large, cudaMemcpyDeviceToDevice, stream), "copy");
    });
    copy = 2.0 * static_cast<double>(large) / copied.median / 1e3;
    const int blocks = properties.multiProcessorCount * 16;
    const Spread all = Measure(2, 10, stream, [&](int /*i*/) {
      ReadAll<<<blocks, 256, 0, stream>>>(static_cast<const uint4*>(from.get()), large / 16,
                                          static_cast<unsigned*>(to.get()));
    });
    read = static_cast<double>(large) / all.median / 1e3;
  }
  const auto print_ceilings = [&](const std::string& skipped) {
    std::printf(
        "{\"multiprocessors\": %d, \"l2_bytes\": %d, \"copy_gb_s\": %.1f, \"read_gb_s\": %.1f, \"skipped\": %s}\n",
        properties.multiProcessorCount, properties.l2CacheSize, copy, read, skipped.c_str());
    std::fflush(stdout);
  };
  print_ceilings("null");
  std::fprintf(stderr, "copy %.0f GB/s, read %.0f GB/s\n", copy, read);

  int skipped = 0;
  for (const std::int64_t batch : {8, 32, 128, 1}) {
    for (const std::int64_t size : {224, 416}) {
      for (const ReductionType type : {ReductionType::kFloat16, ReductionType::kBFloat16, ReductionType::kFloat32}) {
        for (const char* form : {"nchw", "nhwc", "pooled"}) {
          if (std::string(form) == "pooled" && size != 224) continue;
          for (const bool normalize : {false, true}) {
            if (elapsed() > seconds) {
              ++skipped;
              continue;
            }
            ReductionCase c;
            c.name = form;
            c.type = type;
            c.options.normalize = normalize;
            c.options.layout = c.name == "nhwc" ? ReductionLayout::kNhwc : ReductionLayout::kNchw;
            for (std::int64_t k = 0; k < 4; ++k) {
              const std::int64_t side = (size / 4 + (1 << k) - 1) >> k;
              if (c.name == "pooled") {
                c.shapes.push_back({batch, 64 << k});
              } else {
                c.shapes.push_back({batch, 64 << k, side, side});
              }
            }
            const ReductionPlan plan = PlanOf(c);
            const std::size_t element = ReductionTypeSize(type);
            const std::size_t output_bytes = static_cast<std::size_t>(batch * c.channels) * element;
            std::size_t bytes = output_bytes;
            std::vector<std::size_t> input_bytes;
            for (const Dims& dims : c.shapes) {
              input_bytes.push_back(static_cast<std::size_t>(rrn::testing::ElementCount(dims)) * element);
              bytes += input_bytes.back();
            }
            // Sets of inputs in turn, slices of one buffer. They are four times the L2 together, so that no call finds
            // its inputs there, unless that took more calls than a graph should have: "turn_bytes" is what they are.
            const auto l2 = static_cast<std::size_t>(properties.l2CacheSize);
            std::vector<std::size_t> strides;
            std::size_t set_bytes = 0;
            for (const std::size_t b : input_bytes) {
              strides.push_back((b + 255) / 256 * 256);
              set_bytes += strides.back();
            }
            const int sets =
                static_cast<int>(std::clamp<std::size_t>(4 * l2 / (bytes - output_bytes) + 1, 2, kMaxSets));
            const std::size_t turn_bytes = static_cast<std::size_t>(sets) * (bytes - output_bytes);
            const DeviceMemory memory = Filled(static_cast<std::size_t>(sets) * set_bytes);
            std::vector<std::vector<const void*>> pointers(static_cast<std::size_t>(sets));
            const auto* next = static_cast<const unsigned char*>(memory.get());
            for (auto& set : pointers) {
              for (const std::size_t stride : strides) {
                set.push_back(next);
                next += stride;
              }
            }
            const DeviceMemory output = Allocate(static_cast<std::size_t>(batch * c.channels) * sizeof(float));
            const auto needed = ReductionWorkspaceSize(plan, type);
            const DeviceMemory workspace = Allocate(needed.bytes);
            Check(cudaMemset(workspace.get(), 0, needed.zero_bytes), "cudaMemset");
            const int calls = std::max(sets, 20);
            const auto ours = [&](int i) {
              Launch(plan, type, pointers[static_cast<std::size_t>(i % sets)], output.get(), workspace.get(), stream);
            };
            Spread two = {};
            if (c.name == "nchw" && !normalize) {
              ReductionCase pooled_case = c;
              for (Dims& dims : pooled_case.shapes) dims.resize(2);
              const ReductionPlan pooled = PlanOf(pooled_case);
              std::vector<DeviceMemory> sums;
              for (const Dims& dims : pooled_case.shapes) {
                sums.push_back(Allocate(static_cast<std::size_t>(rrn::testing::ElementCount(dims)) * sizeof(float)));
              }
              const std::size_t scratch_bytes = std::size_t{16} << 20;
              const DeviceMemory scratch = Allocate(scratch_bytes);
              two = Measure(calls, 15, stream, [&](int i) {
                const auto& in = pointers[static_cast<std::size_t>(i % sets)];
                switch (type) {
                  case ReductionType::kFloat32:
                    return TwoPasses<float>(plan, in, sums, scratch.get(), scratch_bytes, pooled, output.get(), stream);
                  case ReductionType::kFloat16:
                    return TwoPasses<__half>(plan, in, sums, scratch.get(), scratch_bytes, pooled, output.get(),
                                             stream);
                  case ReductionType::kBFloat16:
                    return TwoPasses<__nv_bfloat16>(plan, in, sums, scratch.get(), scratch_bytes, pooled, output.get(),
                                                    stream);
                }
              });
            }
            const Spread time = Measure(calls, 15, stream, ours);
            const Spread again = Measure(calls, 15, stream, ours);
            const double rate = static_cast<double>(bytes) / time.median / 1e3;
            std::printf(
                "{\"rows+\": {\"form\": \"%s\", \"type\": \"%s\", \"batch\": %d, \"size\": %d, \"normalize\": %s, "
                "\"bytes\": %zu, \"turn_bytes\": %zu, \"us\": %.3f, \"us_quartiles\": [%.3f, %.3f], \"us_again\": "
                "%.3f, "
                "\"gb_s\": %.1f, \"share_of_copy\": %.4f, \"share_of_read\": %.4f, \"two_pass_us\": %s}}\n",
                form, kTypeNames[static_cast<int>(type)], static_cast<int>(batch), static_cast<int>(size),
                normalize ? "true" : "false", bytes, turn_bytes, time.median, time.low, time.high, again.median, rate,
                rate / copy, rate / read, two.median > 0 ? std::to_string(two.median).c_str() : "null");
            std::fflush(stdout);
            std::fprintf(stderr, "%s %s batch %d size %d%s: %.2f us, %.0f GB/s\n", form,
                         kTypeNames[static_cast<int>(type)], static_cast<int>(batch), static_cast<int>(size),
                         normalize ? " normalised" : "", time.median, rate);
          }
        }
      }
    }
  }
  print_ceilings(std::to_string(skipped));
  Check(cudaStreamDestroy(stream), "stream");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const bool table = mode == "table" && (argc == 2 || (argc == 3 && std::strcmp(argv[2], "--small") == 0));
  const bool bench = mode == "bench" && argc == 3 && std::atof(argv[2]) > 0;
  if (!table && !bench) {
    std::fprintf(stderr, "reduction_check: expected 'table [--small]' or 'bench SECONDS'\n");
    return 2;
  }
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::fprintf(stderr, "reduction_check: no GPU on this machine\n");
    return 3;
  }
  return table ? RunTable(argc == 3) : RunBench(std::atof(argv[2]));
}
