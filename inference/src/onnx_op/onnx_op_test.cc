// Runs the operator inside real ONNX Runtime sessions, over the same table of cases as the plain kernels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "reduction/reduction_cases.h"
#include "rrn/reduction.h"
#include "testing/onnx_file.h"

namespace rrn::testing {
namespace {

using test_support::Message;
using test_support::ValueInfo;
using ::testing::HasSubstr;
using ::testing::ValuesIn;

// A model whose only node is rrn.Reduction. channels 0 leaves the attribute out.
std::string OneNodeModel(ONNXTensorElementDataType type, const std::vector<std::vector<std::string>>& inputs,
                         std::int64_t channels) {
  Message node;
  for (std::size_t k = 0; k < inputs.size(); ++k) node.Bytes(1, "x" + std::to_string(k));
  node.Bytes(2, "y").Bytes(3, "reduction").Bytes(4, "Reduction");
  if (channels > 0) {
    node.Sub(5, Message().Bytes(1, "channels").Int(3, static_cast<std::uint64_t>(channels)).Int(20, 2));
  }
  node.Bytes(7, "rrn");
  Message graph;
  graph.Sub(1, node).Bytes(2, "g");
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    graph.Sub(11, ValueInfo("x" + std::to_string(k), type, inputs[k]));
  }
  graph.Sub(12, ValueInfo("y", type, {}));
  return Message()
      .Int(1, 8)
      .Sub(8, Message().Bytes(1, "").Int(2, 17))
      .Sub(8, Message().Bytes(1, "rrn").Int(2, 1))
      .Sub(7, graph)
      .data();
}

ONNXTensorElementDataType OnnxType(ReductionType type) {
  return type == ReductionType::kFloat32   ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
         : type == ReductionType::kFloat16 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                                           : ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
}

class OnnxOpTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { Ort::InitApi(OrtGetApiBase()->GetApi(20)); }

  Ort::Session Open(const std::string& model) {
    Ort::SessionOptions options;
    options.SetLogSeverityLevel(4);
    options.SetIntraOpNumThreads(1);
    options.RegisterCustomOpsLibrary(RRN_OP_LIBRARY);
    return {env_, model.data(), model.size(), options};
  }

  Ort::Env env_{ORT_LOGGING_LEVEL_FATAL, "test"};
};

// Runs one case; the output, or what ONNX Runtime said.
Array RunCase(Ort::Session& session, ReductionType type, std::vector<Array> inputs) {
  const Ort::MemoryInfo cpu = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  std::vector<std::string> names;
  std::vector<Ort::Value> values;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    names.push_back("x" + std::to_string(k));
    inputs[k].bytes.reserve(1);  // an empty tensor needs a pointer too
    values.push_back(Ort::Value::CreateTensor(cpu, inputs[k].bytes.data(), inputs[k].bytes.size(),
                                              inputs[k].dims.data(), inputs[k].dims.size(), OnnxType(type)));
  }
  std::vector<const char*> name_pointers;
  name_pointers.reserve(names.size());
  for (const std::string& name : names) name_pointers.push_back(name.c_str());
  const char* output_name = "y";
  const auto outputs =
      session.Run(Ort::RunOptions{}, name_pointers.data(), values.data(), values.size(), &output_name, 1);
  Array output;
  output.dims = outputs[0].GetTensorTypeAndShapeInfo().GetShape();
  const auto* data = static_cast<const std::uint8_t*>(outputs[0].GetTensorRawData());
  output.bytes.assign(data, data + static_cast<std::size_t>(ElementCount(output.dims)) * ReductionTypeSize(type));
  return output;
}

class OnnxOpTable : public OnnxOpTest, public ::testing::WithParamInterface<ReductionCase> {};

TEST_P(OnnxOpTable, EqualsScalarReference) {
  const ReductionCase& c = GetParam();
  const std::vector<Array> inputs = MakeInputs(c);
  Ort::Session session = Open(OneNodeModel(OnnxType(c.type), std::vector<std::vector<std::string>>(inputs.size()),
                                           c.channels == kDefaultReductionChannels ? 0 : c.channels));
  EXPECT_EQ(Compare(c, ScalarReference(c, inputs), RunCase(session, c.type, inputs)), "");
}

// The ONNX operator takes maps in NCHW, as all of ONNX does, and does not normalise.
std::vector<ReductionCase> OnnxCases() {
  std::vector<ReductionCase> cases = AllReductionCases();
  cases.erase(std::remove_if(cases.begin(), cases.end(),
                             [](const ReductionCase& c) {
                               return c.options.layout != ReductionLayout::kNchw || c.options.normalize;
                             }),
              cases.end());
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Table, OnnxOpTable, ValuesIn(OnnxCases()), CaseName{});

class BadOnnxOp : public OnnxOpTest, public ::testing::WithParamInterface<BadReductionCase> {};

TEST_P(BadOnnxOp, IsRefusedWithAllShapes) {
  const BadReductionCase& c = GetParam();
  if (c.shapes.empty() || c.channels == 0) GTEST_SKIP() << "cannot be written as a node";
  ReductionCase good{c.name, c.shapes};
  Ort::Session session = Open(OneNodeModel(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                           std::vector<std::vector<std::string>>(c.shapes.size()), c.channels));
  try {
    RunCase(session, ReductionType::kFloat32, MakeInputs(good));
    FAIL() << "accepted";
  } catch (const Ort::Exception& error) {
    EXPECT_THAT(error.what(), HasSubstr(c.words));
    EXPECT_EQ(error.GetOrtErrorCode(), ORT_INVALID_ARGUMENT);
  }
}

INSTANTIATE_TEST_SUITE_P(Table, BadOnnxOp, ValuesIn(BadReductionCases()), CaseName{});

// How much a model says about the shapes of its inputs.
enum class Declared { kKnown, kSymbolic, kNothing };

using InferenceCase = std::tuple<ReductionType, Declared, int>;  // and the rank

class InferenceTable : public OnnxOpTest, public ::testing::WithParamInterface<InferenceCase> {};

TEST_P(InferenceTable, InfersTypeAndShapeAndRuns) {
  const auto& [type, declared, rank] = GetParam();
  const Dims shape = rank == 1 ? Dims{64} : rank == 2 ? Dims{3, 64} : Dims{3, 64, 2, 5};
  std::vector<std::string> dims;
  const char* names[] = {"batch", "", "height", "width"};
  for (std::size_t d = 0; d < shape.size() && declared != Declared::kNothing; ++d) {
    const bool free = declared == Declared::kSymbolic && rank > 1 && d != 1;
    dims.push_back(free ? names[d] : std::to_string(shape[d]));
  }
  Ort::Session session = Open(OneNodeModel(OnnxType(type), {dims, dims}, 128));
  const Ort::TypeInfo output = session.GetOutputTypeInfo(0);
  const auto info = output.GetTensorTypeAndShapeInfo();
  EXPECT_EQ(info.GetElementType(), OnnxType(type));
  if (declared != Declared::kNothing) {
    std::vector<std::int64_t> expected = {declared == Declared::kKnown ? 3 : -1, 128};
    if (rank == 1) expected.erase(expected.begin());
    EXPECT_EQ(info.GetShape(), expected);
    std::vector<const char*> symbols(expected.size());
    info.GetSymbolicDimensions(symbols.data(), symbols.size());
    EXPECT_STREQ(symbols[0], expected[0] < 0 ? "batch" : "");
  }
  const ReductionCase c{"inference", {shape, shape}, 128, type};
  const std::vector<Array> inputs = MakeInputs(c);
  EXPECT_EQ(Compare(c, ScalarReference(c, inputs), RunCase(session, type, inputs)), "");
}

INSTANTIATE_TEST_SUITE_P(
    All, InferenceTable,
    ::testing::Combine(ValuesIn({ReductionType::kFloat32, ReductionType::kFloat16, ReductionType::kBFloat16}),
                       ValuesIn({Declared::kKnown, Declared::kSymbolic, Declared::kNothing}), ValuesIn({1, 2, 4})));

TEST_F(OnnxOpTest, InfersFromWhateverInputIsKnown) {
  const auto shape = [this](const std::vector<std::vector<std::string>>& inputs) {
    return Open(OneNodeModel(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, inputs, 0))
        .GetOutputTypeInfo(0)
        .GetTensorTypeAndShapeInfo()
        .GetShape();
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(shape({{}, {"3", "64"}}), ElementsAre(3, 512));
  EXPECT_THAT(shape({{"batch", "64"}, {"3", "512"}}), ElementsAre(3, 512)) << "a number says more than a name";
  EXPECT_THAT(shape({{"batch", "64"}, {"n", "channels"}}), ElementsAre(-1, 512));
  EXPECT_THAT(shape({{"0", "64"}, {"0", "512"}}), ElementsAre(0, 512));
}

// ONNX Runtime drops what shape inference says against a model, so such models open, and the kernel says it.
TEST_F(OnnxOpTest, WrongDeclaredShapesAreRefusedWithAllShapes) {
  for (const BadReductionCase& c : BadReductionCases()) {
    if (c.shapes.empty() || c.channels == 0) continue;
    std::vector<std::vector<std::string>> declared;
    for (const Dims& shape : c.shapes) {
      std::vector<std::string>& dims = declared.emplace_back();
      for (const std::int64_t dim : shape) dims.push_back(std::to_string(dim));
    }
    for (const ReductionType type : {ReductionType::kFloat32, ReductionType::kFloat16}) {
      Ort::Session session = Open(OneNodeModel(OnnxType(type), declared, c.channels));
      ReductionCase good{c.name, c.shapes};
      good.type = type;
      try {
        RunCase(session, type, MakeInputs(good));
        ADD_FAILURE() << c.name << ": accepted";
      } catch (const Ort::Exception& error) {
        EXPECT_THAT(error.what(), HasSubstr(c.words)) << c.name;
      }
    }
  }
}

TEST_F(OnnxOpTest, MixedTypesAreRefusedWhenTheModelIsOpened) {
  Message node;
  node.Bytes(1, "a").Bytes(1, "b").Bytes(2, "y").Bytes(4, "Reduction").Bytes(7, "rrn");
  Message graph;
  graph.Sub(1, node).Bytes(2, "g");
  graph.Sub(11, ValueInfo("a", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {"64"}));
  graph.Sub(11, ValueInfo("b", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, {"64"}));
  graph.Sub(12, ValueInfo("y", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {}));
  Message model;
  model.Int(1, 8).Sub(8, Message().Bytes(1, "").Int(2, 17)).Sub(8, Message().Bytes(1, "rrn").Int(2, 1)).Sub(7, graph);
  EXPECT_THROW(Open(model.data()), Ort::Exception);
}

TEST_F(OnnxOpTest, CanBeRegisteredAgainAndAgain) {
  const std::string model = OneNodeModel(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {{"64"}}, 64);
  for (int i = 0; i < 3; ++i) EXPECT_NO_THROW(Open(model));
}

}  // namespace
}  // namespace rrn::testing
