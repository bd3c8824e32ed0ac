#include "rrn/reduction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "reduction/half.h"
#include "reduction/reduction_cases.h"
#include "reduction/reduction_emulator.h"
#include "reduction/reduction_index.h"

#ifdef RRN_HAVE_CUDA
#include <cuda_runtime_api.h>
#endif

namespace rrn::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::TestWithParam;
using ::testing::ValuesIn;

std::vector<ReductionShape> ToShapes(const std::vector<Dims>& shapes) {
  std::vector<ReductionShape> result;
  result.reserve(shapes.size());
  for (const Dims& dims : shapes) result.push_back(ToShape(dims));
  return result;
}

ReductionPlan PlanOf(const ReductionCase& c) {
  ReductionPlan plan;
  const auto shapes = ToShapes(c.shapes);
  EXPECT_EQ(PlanReduction(shapes.data(), static_cast<int>(shapes.size()), c.channels, &plan, c.options),
            ReductionStatus::kOk);
  return plan;
}

std::vector<const void*> Pointers(const std::vector<Array>& arrays) {
  std::vector<const void*> pointers;
  pointers.reserve(arrays.size());
  for (const Array& array : arrays) pointers.push_back(array.bytes.data());
  return pointers;
}

class ReductionTable : public TestWithParam<ReductionCase> {};

TEST_P(ReductionTable, CpuEqualsScalarReference) {
  const ReductionCase& c = GetParam();
  const std::vector<Array> inputs = MakeInputs(c);
  const Expected expected = ScalarReference(c, inputs);
  Array output{expected.dims, {}};
  output.bytes.assign(expected.values.size() * ReductionTypeSize(c.type), 0xcd);
  ASSERT_EQ(ReduceCpu(PlanOf(c), c.type, Pointers(inputs).data(), output.bytes.data()), ReductionStatus::kOk);
  EXPECT_EQ(Compare(c, expected, output), "");
}

TEST_P(ReductionTable, RowsDoNotDependOnTheBatch) {
  const ReductionCase& c = GetParam();
  const std::vector<Array> inputs = MakeInputs(c);
  const ReductionPlan plan = PlanOf(c);
  const std::size_t row = static_cast<std::size_t>(c.channels) * ReductionTypeSize(c.type);
  std::vector<std::uint8_t> whole(static_cast<std::size_t>(plan.batch) * row);
  ASSERT_EQ(ReduceCpu(plan, c.type, Pointers(inputs).data(), whole.data()), ReductionStatus::kOk);
  ReductionPlan single = plan;
  single.batch = 1;
  for (std::int64_t b = 0; b < plan.batch; ++b) {
    std::vector<const void*> pointers;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      const auto item = static_cast<std::size_t>(plan.inputs[k].channels * plan.inputs[k].pixels);
      pointers.push_back(inputs[k].bytes.data() + static_cast<std::size_t>(b) * item * ReductionTypeSize(c.type));
    }
    std::vector<std::uint8_t> alone(row);
    ASSERT_EQ(ReduceCpu(single, c.type, pointers.data(), alone.data()), ReductionStatus::kOk);
    EXPECT_EQ(std::memcmp(alone.data(), whole.data() + static_cast<std::size_t>(b) * row, row), 0) << "row " << b;
  }
}

class EmulatedReduction : public TestWithParam<ReductionCase> {};

// One emulated launch of the CUDA kernel.
//   offset: elements between a multiple of 16 bytes and the beginning of every input.
struct Emulated {
  EmulatedMemory memory;
  Array output;
  ReductionWorkspace size;
  std::vector<float> workspace;  // of floats, for the alignment of what is in it
};

Emulated Emulate(const ReductionCase& c, const std::vector<Array>& inputs, std::size_t offset, bool backwards) {
  const ReductionPlan plan = PlanOf(c);
  const std::size_t element = ReductionTypeSize(c.type);
  Emulated result;
  std::vector<std::vector<std::uint8_t>> bytes;
  std::vector<const void*> pointers;
  for (const Array& input : inputs) {
    bytes.emplace_back(input.bytes.size() + 64);
    auto* begin = bytes.back().data();
    begin += (16 - reinterpret_cast<std::uintptr_t>(begin) % 16) % 16 + offset * element;
    std::copy(input.bytes.begin(), input.bytes.end(), begin);  // memcpy may not be given the null of an empty vector
    pointers.push_back(begin);
    result.memory.inputs.push_back({begin, input.bytes.size(), std::vector<std::uint8_t>(input.bytes.size())});
  }
  const std::size_t outputs = static_cast<std::size_t>(plan.batch * plan.channels) * element;
  result.output.dims = plan.output_rank == 1 ? Dims{plan.channels} : Dims{plan.batch, plan.channels};
  result.output.bytes.assign(outputs, 0xcd);
  result.memory.output = {result.output.bytes.data(), outputs, std::vector<std::uint8_t>(outputs)};
  result.size = ReductionWorkspaceSize(plan, c.type);
  EXPECT_EQ(result.size.bytes % sizeof(float), 0U);
  result.workspace.assign(result.size.bytes / sizeof(float), std::numeric_limits<float>::quiet_NaN());
  unsigned char* workspace = nullptr;
  if (result.size.bytes > 0) {
    workspace = reinterpret_cast<unsigned char*>(result.workspace.data());
    std::memset(workspace, 0, result.size.zero_bytes);
  }
  result.memory.workspace = {workspace, result.size.bytes, std::vector<std::uint8_t>(result.size.bytes)};
  result.memory.written.resize(result.workspace.size());
  // One block of every column takes two items.
  const std::int64_t rows = plan.batch > 1 ? plan.batch - 1 : 1;
  switch (c.type) {
    case ReductionType::kFloat32:
      EmulateReduction<float>(plan, c.type, pointers, result.output.bytes.data(), workspace, rows, backwards,
                              &result.memory);
      break;
    case ReductionType::kFloat16:
      EmulateReduction<internal::Half>(plan, c.type, pointers, result.output.bytes.data(), workspace, rows, backwards,
                                       &result.memory);
      break;
    case ReductionType::kBFloat16:
      EmulateReduction<internal::BFloat16>(plan, c.type, pointers, result.output.bytes.data(), workspace, rows,
                                           backwards, &result.memory);
      break;
  }
  return result;
}

TEST_P(EmulatedReduction, EqualsScalarReference) {
  const ReductionCase& c = GetParam();
  const std::vector<Array> inputs = MakeInputs(c);
  const Emulated result = Emulate(c, inputs, 0, false);
  EXPECT_EQ(result.memory.error, "");
  EXPECT_EQ(Compare(c, ScalarReference(c, inputs), result.output), "");
  for (const std::uint8_t writes : result.memory.output.accesses) ASSERT_EQ(writes, 1);
  for (std::size_t i = 0; i < result.size.bytes; ++i) ASSERT_LE(result.memory.workspace.accesses[i], 1);
  for (std::size_t i = 0; i < result.size.zero_bytes / sizeof(float); ++i) ASSERT_EQ(result.workspace[i], 0.0F);
  // Only where tiles end inside channels are these read again.
  const bool cut = c.name.find("CutTiles") != std::string::npos && c.options.layout == ReductionLayout::kNchw;
  bool again = false;
  for (const WatchedArray& input : result.memory.inputs) {
    for (const std::uint8_t reads : input.accesses) {
      ASSERT_GE(reads, 1);
      again = again || reads > 1;
    }
  }
  EXPECT_EQ(again, cut);
  EXPECT_LE(result.memory.worst_conflict, 4);
}

// Other blocks and threads first, other addresses: the same bytes.
TEST_P(EmulatedReduction, DependsOnNeitherOrderNorAlignment) {
  const ReductionCase& c = GetParam();
  const std::vector<Array> inputs = MakeInputs(c);
  const Emulated first = Emulate(c, inputs, 0, false);
  for (const std::size_t offset : {std::size_t{1}, 16 / ReductionTypeSize(c.type) - 1}) {
    const Emulated other = Emulate(c, inputs, offset, true);
    EXPECT_EQ(other.memory.error, "");
    EXPECT_EQ(other.output.bytes, first.output.bytes) << offset;
  }
}

// A row is the same whether it is alone or in a batch of any size, at any place.
TEST_P(EmulatedReduction, RowsDoNotDependOnTheBatch) {
  const ReductionCase& c = GetParam();
  const std::vector<Array> inputs = MakeInputs(c);
  const Emulated whole = Emulate(c, inputs, 0, false);
  if (whole.output.dims.size() == 1 || whole.output.dims[0] == 0) return;
  for (const std::int64_t b : {std::int64_t{0}, whole.output.dims[0] - 1}) {
    ReductionCase single = c;
    std::vector<Array> items;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      single.shapes[k][0] = 1;
      const std::size_t size = inputs[k].bytes.size() / static_cast<std::size_t>(c.shapes[k][0]);
      const auto begin = inputs[k].bytes.begin() + static_cast<std::ptrdiff_t>(size) * b;
      items.push_back({single.shapes[k], {begin, begin + static_cast<std::ptrdiff_t>(size)}});
    }
    const Emulated alone = Emulate(single, items, 0, false);
    const auto row = static_cast<std::ptrdiff_t>(alone.output.bytes.size());
    EXPECT_TRUE(std::equal(alone.output.bytes.begin(), alone.output.bytes.end(), whole.output.bytes.begin() + b * row));
  }
}

// What the GPU likes: at 224 and 416 pixels nearly everything goes by 16 bytes, warps read without conflicts, and two
// blocks or more fit a multiprocessor of 100 KiB.
TEST(ReductionGeometryTest, IsWideAndFreeOfConflicts) {
  for (const ReductionCase& c : AllReductionCases()) {
    if (c.name.find("Maps224") == std::string::npos && c.name.find("Maps416") == std::string::npos) continue;
    const Emulated result = Emulate(c, MakeInputs(c), 1, false);
    EXPECT_EQ(result.memory.worst_conflict, 1) << c.name;
    EXPECT_LT(result.memory.other_bytes * 50, result.memory.wide_bytes) << c.name;
    const ReductionPlan plan = PlanOf(c);
    const std::int32_t shared = internal::TakesPixelsKernel(plan)
                                    ? LayOut(internal::MakePixelsGeometry(plan, c.type)).bytes
                                    : LayOut(internal::MakeMapsGeometry(plan, c.type)).bytes;
    EXPECT_LE(shared, 40 * 1024) << c.name;
    if (c.options.layout == ReductionLayout::kNhwc) {
      std::size_t bytes = 0;
      for (const Dims& dims : c.shapes) {
        bytes += static_cast<std::size_t>(ElementCount(dims)) * ReductionTypeSize(c.type);
      }
      EXPECT_LE(result.size.bytes * 16, bytes) << c.name;
    } else if (!c.options.normalize) {
      EXPECT_EQ(result.size.bytes, 0U) << c.name;
    }
  }
}

// The bounds that ReductionWorkspace promises.
TEST(ReductionGeometryTest, WorkspaceIsBounded) {
  std::vector<ReductionCase> cases = AllReductionCases();
  for (ReductionCase& c : LongBatchCases()) cases.push_back(std::move(c));
  for (const ReductionType type : {ReductionType::kFloat32, ReductionType::kFloat16}) {
    for (const std::int64_t channels : {1, 127, 129, 512, 1023, 1024, 1025, 2048, 5000}) {
      for (const std::int64_t side : {1, 2, 7, 14, 56}) {
        cases.push_back({"", {{8, channels, side, side}}, channels, type, {ReductionLayout::kNhwc, false}});
      }
    }
  }
  for (const ReductionCase& c : cases) {
    const ReductionPlan plan = PlanOf(c);
    const ReductionWorkspace size = ReductionWorkspaceSize(plan, c.type);
    const auto batch = static_cast<std::size_t>(plan.batch);
    std::size_t inputs = 0;
    std::size_t channels = 0;
    for (const Dims& dims : c.shapes) {
      inputs += static_cast<std::size_t>(ElementCount(dims)) * ReductionTypeSize(c.type);
      channels += static_cast<std::size_t>(dims.size() == 1 ? dims[0] : dims[1]);
    }
    EXPECT_LE(size.zero_bytes, (4 * batch + 15) / 16 * 16) << c.name;
    const std::size_t floats = size.bytes - size.zero_bytes;
    if (c.options.layout == ReductionLayout::kNhwc) {
      EXPECT_LE(floats, inputs / 3 + 1 + 8 * channels * batch)
          << c.name << " of " << c.shapes[0][1] << " channels, side " << c.shapes[0][2];
    } else {
      EXPECT_LE(floats, 4 * batch * static_cast<std::size_t>(plan.channels)) << c.name;
    }
  }
}

// Normalised rows of pooled inputs are made by one block, without a workspace.
TEST(ReductionGeometryTest, PooledRowsNeedNoWorkspace) {
  for (const std::int64_t batch : {1, 8, 100000}) {
    const ReductionPlan plan =
        PlanOf({"", {{batch, 64}, {batch, 128}, {batch, 256}, {batch, 512}}, 512, ReductionType::kFloat32, {{}, true}});
    EXPECT_EQ(ReductionWorkspaceSize(plan, ReductionType::kFloat32).bytes, 0U);
    EXPECT_EQ(internal::MakeMapsGeometry(plan, ReductionType::kFloat32).tiles, 1);
  }
}

#ifdef RRN_HAVE_CUDA
struct CudaFree {
  void operator()(void* pointer) const { EXPECT_EQ(cudaFree(pointer), cudaSuccess); }
};
using DeviceMemory = std::unique_ptr<void, CudaFree>;

DeviceMemory ToDevice(const std::vector<std::uint8_t>& bytes) {
  void* pointer = nullptr;
  EXPECT_EQ(cudaMalloc(&pointer, bytes.size() + 1), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(pointer, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), cudaSuccess);
  return DeviceMemory(pointer);
}

TEST_P(ReductionTable, CudaEqualsScalarReference) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) GTEST_SKIP() << "no GPU on this machine";
  const ReductionCase& c = GetParam();
  const std::vector<Array> inputs = MakeInputs(c);
  const Expected expected = ScalarReference(c, inputs);
  Array output{expected.dims, {}};
  output.bytes.assign(expected.values.size() * ReductionTypeSize(c.type), 0xcd);
  std::vector<DeviceMemory> device_inputs;
  std::vector<const void*> pointers;
  for (const Array& input : inputs) {
    device_inputs.push_back(ToDevice(input.bytes));
    pointers.push_back(device_inputs.back().get());
  }
  const DeviceMemory device_output = ToDevice(output.bytes);
  const ReductionPlan plan = PlanOf(c);
  const DeviceMemory workspace = ToDevice(std::vector<std::uint8_t>(ReductionWorkspaceSize(plan, c.type).bytes));
  // Twice: the first run must leave the workspace's counters as it found them.
  for (int run = 0; run < 2; ++run) {
    int error = 0;
    ASSERT_EQ(ReduceCuda(plan, c.type, pointers.data(), device_output.get(), nullptr, &error, workspace.get()),
              ReductionStatus::kOk)
        << ReductionCudaErrorText(error);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  ASSERT_EQ(cudaMemcpy(output.bytes.data(), device_output.get(), output.bytes.size(), cudaMemcpyDeviceToHost),
            cudaSuccess);
  EXPECT_EQ(Compare(c, expected, output), "");
}
#endif

INSTANTIATE_TEST_SUITE_P(Table, ReductionTable, ValuesIn(AllReductionCases()), CaseName{});
INSTANTIATE_TEST_SUITE_P(LongBatch, ReductionTable, ValuesIn(LongBatchCases()), CaseName{});
INSTANTIATE_TEST_SUITE_P(Table, EmulatedReduction, ValuesIn(AllReductionCases()), CaseName{});

// compute-sanitizer sees the small cases only, so these must go every way that the large ones go.
TEST(SmallReductionCasesTest, GoEveryWay) {
  std::set<std::string> all;
  for (const ReductionCase& c : AllReductionCases()) all.insert(PathOf(c));
  for (const ReductionCase& c : LongBatchCases()) all.insert(PathOf(c));
  std::set<std::string> small;
  for (const ReductionCase& c : SmallReductionCases()) {
    small.insert(PathOf(c));
    for (const Dims& dims : c.shapes) EXPECT_LE(ElementCount(dims), 600000) << c.name;
  }
  EXPECT_EQ(small, all);
  for (const char* type : {"float32", "float16", "bfloat16"}) {
    for (const std::string unit : {"", ", normalised"}) {
      for (const char* way :
           {"maps, two stages", "maps, one stage, cut tiles", "pixels, one stage, slices", "pixels, two stages"}) {
        const bool workspace = std::string(way)[0] == 'm' && !unit.empty();
        EXPECT_EQ(small.count(way + std::string(workspace ? ", workspace" : "") + unit + ", " + type), 1U)
            << way << unit << ' ' << type;
      }
    }
  }
  for (const char* way : {"maps, one stage", "pixels, one stage"}) {
    EXPECT_EQ(small.count(std::string(way) + ", normalised, long batch"), 1U) << way;
  }
}

class BadReduction : public TestWithParam<BadReductionCase> {};

TEST_P(BadReduction, IsRefusedWithAllShapes) {
  const BadReductionCase& c = GetParam();
  const auto shapes = ToShapes(c.shapes);
  const int count = static_cast<int>(shapes.size());
  ReductionPlan plan;
  const ReductionStatus status = PlanReduction(shapes.data(), count, c.channels, &plan);
  EXPECT_EQ(status, c.status);
  EXPECT_THAT(DescribeReductionError(status, shapes.data(), count, c.channels), HasSubstr(c.words));
}

INSTANTIATE_TEST_SUITE_P(Table, BadReduction, ValuesIn(BadReductionCases()), CaseName{});

TEST(ReductionTest, NullPointersAreRefused) {
  const ReductionPlan plan = PlanOf({"", {{1, 64}, {1, 512}}});
  std::vector<float> output(512);
  const std::vector<float> data(512);
  const void* pointers[] = {data.data(), nullptr};
  EXPECT_EQ(ReduceCpu(plan, ReductionType::kFloat32, pointers, output.data()), ReductionStatus::kNullPointer);
  EXPECT_EQ(ReduceCpu(plan, ReductionType::kFloat32, nullptr, output.data()), ReductionStatus::kNullPointer);
  EXPECT_EQ(ReduceCpu(plan, ReductionType::kFloat32, pointers, nullptr), ReductionStatus::kNullPointer);
}

TEST(ReductionTest, NormalizesToUnitLength) {
  const std::vector<float> values = {0x3p100F, 0x4p100F, 0, 0};  // whose squares float32 does not hold
  const void* pointers[] = {values.data()};
  std::vector<float> output(4);
  const ReductionPlan plan = PlanOf({"", {{4}}, 4, ReductionType::kFloat32, {{}, true}});
  ASSERT_EQ(ReduceCpu(plan, ReductionType::kFloat32, pointers, output.data()), ReductionStatus::kOk);
  EXPECT_THAT(output, ::testing::ElementsAre(0.6F, 0.8F, 0.0F, 0.0F));
}

TEST(ReductionTest, InterleavesInOrder) {
  const std::vector<float> two = {1, 3};
  const std::vector<float> four = {10, 20, 30, 40};
  const void* pointers[] = {two.data(), four.data()};
  std::vector<float> output(4);
  const ReductionPlan plan = PlanOf({"", {{2}, {4}}, 4});
  ASSERT_EQ(ReduceCpu(plan, ReductionType::kFloat32, pointers, output.data()), ReductionStatus::kOk);
  EXPECT_THAT(output, ::testing::ElementsAre(5.5F, 10.5F, 16.5F, 21.5F));
}

TEST(ReductionTest, NotANumberStaysInItsOwnOutputs) {
  std::vector<float> two = {std::numeric_limits<float>::quiet_NaN(), 1};
  const void* pointers[] = {two.data()};
  std::vector<float> output(4);
  const ReductionPlan plan = PlanOf({"", {{2}}, 4});
  ASSERT_EQ(ReduceCpu(plan, ReductionType::kFloat32, pointers, output.data()), ReductionStatus::kOk);
  EXPECT_TRUE(std::isnan(output[0]));
  EXPECT_TRUE(std::isnan(output[1]));
  EXPECT_EQ(output[2], 1.0F);
}

TEST(ReductionTest, MisalignedByOneElementIsFine) {
  std::vector<float> data(65, 2.0F);
  std::vector<float> output(513, 7.0F);
  const void* pointers[] = {data.data() + 1};
  const ReductionPlan plan = PlanOf({"", {{64}}});
  ASSERT_EQ(ReduceCpu(plan, ReductionType::kFloat32, pointers, output.data() + 1), ReductionStatus::kOk);
  EXPECT_EQ(output[0], 7.0F);
  EXPECT_EQ(output[1], 2.0F);
  EXPECT_EQ(output[512], 2.0F);
}

TEST(HalfTest, EveryFloat16SurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits <= 0xffffU; ++bits) {
    const internal::Half half{static_cast<std::uint16_t>(bits)};
    const float value = internal::ToFloat(half);
    internal::Half back;
    internal::FromFloat(value, &back);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(internal::ToFloat(back)));
    } else {
      ASSERT_EQ(back.bits, half.bits);
    }
  }
}

TEST(HalfTest, RoundsToNearestEven) {
  const auto half = [](float value) {
    internal::Half result;
    internal::FromFloat(value, &result);
    return result.bits;
  };
  EXPECT_EQ(half(1.0F), 0x3c00);
  EXPECT_EQ(half(1.0F + 0x1p-11F), 0x3c00);             // a tie, to even
  EXPECT_EQ(half(1.0F + 3 * 0x1p-11F), 0x3c02);         // a tie, to even
  EXPECT_EQ(half(1.0F + 0x1p-11F + 0x1p-20F), 0x3c01);  // just above the tie
  EXPECT_EQ(half(65504.0F), 0x7bff);
  EXPECT_EQ(half(65519.0F), 0x7bff);
  EXPECT_EQ(half(65520.0F), 0x7c00);  // rounds up to infinity
  EXPECT_EQ(half(1e30F), 0x7c00);
  EXPECT_EQ(half(-std::numeric_limits<float>::infinity()), 0xfc00);
  EXPECT_EQ(half(0x1p-24F), 0x0001);
  EXPECT_EQ(half(0x1p-25F), 0x0000);  // a tie, to even
  EXPECT_EQ(half(3 * 0x1p-25F), 0x0002);
  EXPECT_EQ(half(-0.0F), 0x8000);
  internal::BFloat16 brain;
  internal::FromFloat(1.0F + 0x1p-8F, &brain);
  EXPECT_EQ(brain.bits, 0x3f80);
  internal::FromFloat(1.0F + 3 * 0x1p-8F, &brain);
  EXPECT_EQ(brain.bits, 0x3f82);
  internal::FromFloat(std::numeric_limits<float>::quiet_NaN(), &brain);
  EXPECT_TRUE(std::isnan(internal::ToFloat(brain)));
}

}  // namespace
}  // namespace rrn::testing
