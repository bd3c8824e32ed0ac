// The operator called from C++, against its definition written with PyTorch's own operations.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "reduction/reduction_cases.h"
#include "torch_op/reduction.h"

namespace rrn::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

template <typename Case>
std::string Name(const ::testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

at::ScalarType ToTorch(ReductionType type) {
  switch (type) {
    case ReductionType::kFloat32:
      return at::kFloat;
    case ReductionType::kFloat16:
      return at::kHalf;
    case ReductionType::kBFloat16:
      return at::kBFloat16;
  }
  return at::ScalarType::Undefined;
}

std::vector<at::Tensor> ToTensors(const ReductionCase& c, const std::vector<Array>& arrays) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(arrays.size());
  for (const Array& array : arrays) {
    const Dims& d = array.dims;
    const bool channels_last = c.options.layout == ReductionLayout::kNhwc;
    at::Tensor tensor = at::empty(channels_last ? Dims{d[0], d[2], d[3], d[1]} : d, ToTorch(c.type));
    if (tensor.numel() > 0) {
      std::memcpy(tensor.mutable_data_ptr(), array.bytes.data(), array.bytes.size());
    }
    tensors.push_back(channels_last ? tensor.permute({0, 3, 1, 2}) : tensor);
  }
  return tensors;
}

Array ToArray(const at::Tensor& tensor) {
  Array array{tensor.sizes().vec(), std::vector<std::uint8_t>(tensor.nbytes())};
  if (tensor.numel() > 0) {
    std::memcpy(array.bytes.data(), tensor.const_data_ptr(), array.bytes.size());
  }
  return array;
}

class TorchOpTable : public ::testing::TestWithParam<ReductionCase> {};

TEST_P(TorchOpTable, EqualsScalarReference) {
  const std::vector<Array> inputs = MakeInputs(GetParam());
  const at::Tensor output =
      reduceLayers(ToTensors(GetParam(), inputs), GetParam().channels, GetParam().options.normalize);
  EXPECT_EQ(output.scalar_type(), ToTorch(GetParam().type));
  EXPECT_EQ(Compare(GetParam(), ScalarReference(GetParam(), inputs), ToArray(output)), "");
}

TEST_P(TorchOpTable, TakesInputsThatAreNotContiguous) {
  if (GetParam().options.layout == ReductionLayout::kNhwc) {
    GTEST_SKIP() << "copied to NCHW, which sums in another order";
  }
  const std::vector<at::Tensor> layers = ToTensors(GetParam(), MakeInputs(GetParam()));
  std::vector<at::Tensor> strided;
  strided.reserve(layers.size());
  for (const at::Tensor& layer : layers) {
    strided.push_back(at::stack({layer, layer}, -1).select(-1, 1));
  }
  EXPECT_TRUE(at::equal(reduceLayers(strided, GetParam().channels), reduceLayers(layers, GetParam().channels)));
}

INSTANTIATE_TEST_SUITE_P(All, TorchOpTable, ::testing::ValuesIn(AllReductionCases()), Name<ReductionCase>);

TEST(TorchOpTest, FourLayersAreTheListOfFourToTheBit) {
  for (const ReductionCase& c : AllReductionCases()) {
    const std::vector<at::Tensor> layers = ToTensors(c, MakeInputs(c));
    if (layers.size() == 4 && c.channels == 512 && !c.options.normalize) {
      EXPECT_TRUE(at::equal(reduction(layers[0], layers[1], layers[2], layers[3]), reduceLayers(layers))) << c.name;
    }
  }
}

// Runs `call` and returns what it throws, without the C++ stack trace.
template <typename Call>
std::string MessageOf(const Call& call) {
  try {
    call();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "no error";
}

class TorchOpRefuses : public ::testing::TestWithParam<BadReductionCase> {};

TEST_P(TorchOpRefuses, AndSaysWhy) {
  for (const at::Device device : {at::Device("cpu"), at::Device("meta")}) {
    std::vector<at::Tensor> layers;
    for (const Dims& dims : GetParam().shapes) {
      layers.push_back(at::zeros(dims, device));
    }
    EXPECT_THAT(MessageOf([&] { reduceLayers(layers, GetParam().channels); }), HasSubstr(GetParam().words));
  }
}

INSTANTIATE_TEST_SUITE_P(All, TorchOpRefuses, ::testing::ValuesIn(BadReductionCases()), Name<BadReductionCase>);

TEST(RepeatInterleaveTest, EqualsTorch) {
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{64}, {3, 128}, {0, 256}, {2, 512}, {1}}) {
    const at::Tensor input = at::randn(shape);
    EXPECT_TRUE(at::equal(repeatInterleave(input), input.repeat_interleave(512 / shape.back(), -1)));
  }
}

TEST(TorchOpGradientTest, EqualsThatOfTheDefinition) {
  at::manual_seed(7);
  std::vector<at::Tensor> maps;
  at::Tensor definition;
  for (const std::int64_t channels : {64, 128, 256, 512}) {
    const at::Tensor map = at::randn({2, channels, 1024 / channels, 3}).requires_grad_(true);
    const at::Tensor repeated = map.mean(at::IntArrayRef{2, 3}).repeat_interleave(512 / channels, 1);
    definition = definition.defined() ? definition + repeated : repeated;
    maps.push_back(map);
  }
  const at::Tensor weight = at::randn({2, 512});
  const at::Tensor actual = reduction(maps[0], maps[1], maps[2], maps[3]);
  const auto gradients = torch::autograd::grad({(actual * weight).sum()}, maps);
  const auto expected = torch::autograd::grad({(definition / 4 * weight).sum()}, maps);
  for (std::size_t k = 0; k < maps.size(); ++k) {
    EXPECT_TRUE(at::allclose(gradients[k], expected[k], 1e-5, 1e-6)) << "layer " << k;
  }
}

TEST(TorchOpErrorTest, NamesAllTypes) {
  const auto mixed = [] { reduceLayers({at::zeros({2, 64}), at::zeros({2, 128}, at::kHalf)}); };
  EXPECT_THAT(MessageOf(mixed), AllOf(HasSubstr("one type"), HasSubstr("float32 [2, 64]"), HasSubstr("float16")));
  const auto wide = [] { repeatInterleave(at::zeros({64}, at::kDouble)); };
  EXPECT_THAT(MessageOf(wide), AllOf(HasSubstr("float32, float16 or bfloat16"), HasSubstr("float64 [64] on cpu")));
}

TEST(TorchOpErrorTest, RefusesMapsToRepeat) {
  EXPECT_THAT(MessageOf([] { repeatInterleave(at::zeros({1, 64, 2, 2})); }), HasSubstr("[1, 64, 2, 2]"));
}

}  // namespace
}  // namespace rrn::testing
