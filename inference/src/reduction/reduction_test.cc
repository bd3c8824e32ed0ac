#include "rrn/reduction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "reduction/half.h"
#include "reduction/reduction_cases.h"
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
  EXPECT_EQ(PlanReduction(shapes.data(), static_cast<int>(shapes.size()), c.channels, &plan), ReductionStatus::kOk);
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

// The CUDA kernel's tiles cover every output once, and the channels they read feed exactly these outputs.
TEST_P(ReductionTable, TilesCoverEveryOutputOnce) {
  const ReductionPlan plan = PlanOf(GetParam());
  const std::int64_t tile = internal::TileSize(plan);
  ASSERT_GE(tile, 1);
  ASSERT_LE(tile, internal::kMaxTile);
  for (int k = 0; k < plan.input_count; ++k) {
    const std::int64_t repeats = plan.inputs[static_cast<std::size_t>(k)].repeats;
    std::vector<std::int64_t> source(static_cast<std::size_t>(plan.channels), -1);
    for (std::int64_t first = 0; first < plan.channels; first += tile) {
      const std::int64_t count = std::min(tile, plan.channels - first);
      const auto channels = internal::ChannelsOfTile(first, count, repeats);
      for (std::int64_t channel = channels.first; channel < channels.last; ++channel) {
        const auto outputs = internal::OutputsOfChannel(channel, first, count, repeats);
        ASSERT_LT(outputs.first, outputs.last) << "a channel was read for nothing";
        for (std::int64_t o = outputs.first; o < outputs.last; ++o) {
          ASSERT_EQ(source[static_cast<std::size_t>(first + o)], -1) << "output written twice";
          source[static_cast<std::size_t>(first + o)] = channel;
        }
      }
    }
    for (std::int64_t o = 0; o < plan.channels; ++o) ASSERT_EQ(source[static_cast<std::size_t>(o)], o / repeats);
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
  int error = 0;
  ASSERT_EQ(ReduceCuda(PlanOf(c), c.type, pointers.data(), device_output.get(), nullptr, &error), ReductionStatus::kOk)
      << ReductionCudaErrorText(error);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  ASSERT_EQ(cudaMemcpy(output.bytes.data(), device_output.get(), output.bytes.size(), cudaMemcpyDeviceToHost),
            cudaSuccess);
  EXPECT_EQ(Compare(c, expected, output), "");
}
#endif

INSTANTIATE_TEST_SUITE_P(Table, ReductionTable, ValuesIn(AllReductionCases()), CaseName<ReductionCase>);

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

INSTANTIATE_TEST_SUITE_P(Table, BadReduction, ValuesIn(BadReductionCases()), CaseName<BadReductionCase>);

TEST(ReductionTest, NullPointersAreRefused) {
  const ReductionPlan plan = PlanOf({"", {{1, 64}, {1, 512}}});
  std::vector<float> output(512);
  const std::vector<float> data(512);
  const void* pointers[] = {data.data(), nullptr};
  EXPECT_EQ(ReduceCpu(plan, ReductionType::kFloat32, pointers, output.data()), ReductionStatus::kNullPointer);
  EXPECT_EQ(ReduceCpu(plan, ReductionType::kFloat32, nullptr, output.data()), ReductionStatus::kNullPointer);
  EXPECT_EQ(ReduceCpu(plan, ReductionType::kFloat32, pointers, nullptr), ReductionStatus::kNullPointer);
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
