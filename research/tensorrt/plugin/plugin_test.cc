// Calls the plugin as TensorRT does, in host memory: ReduceCuda is the one below, which lets the CPU compute. So all
// but the CUDA launch is tested without TensorRT's libraries and without a GPU; the launch has tests of its own
// (research/gpu). The last line says how many expectations failed; the exit status is 1 if any did.
#include <NvInferRuntime.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "rrn/reduction.h"

extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder);
extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count);

namespace rrn {

ReductionStatus ReduceCuda(const ReductionPlan& plan, ReductionType type, const void* const* inputs, void* output,
                           void* /*stream*/, int* /*cuda_error*/, void* /*workspace*/) noexcept {
  return ReduceCpu(plan, type, inputs, output);
}

}  // namespace rrn

namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::IPluginV3;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorFormat;
using nvinfer1::TensorRTPhase;

int failures = 0;

void Expect(bool good, const char* what) {
  if (!good) std::printf("FAILED  %s\n", what);
  failures += good ? 0 : 1;
}

// A dimension: a constant, or -1 for one that is not known yet.
class Dimension final : public nvinfer1::IDimensionExpr {
 public:
  explicit Dimension(std::int64_t value) : impl_(value) { mImpl = &impl_; }

 private:
  struct Impl final : nvinfer1::apiv::VDimensionExpr {
    explicit Impl(std::int64_t v) : value(v) {}
    bool isConstant() const override { return value >= 0; }
    std::int64_t getConstantValue() const override {
      return value >= 0 ? value : std::numeric_limits<std::int64_t>::min();
    }
    bool isSizeTensor() const override { return false; }
    std::int64_t value;
  };
  Impl impl_;
};

// Keeps all dimensions that it has made.
class Dimensions final : public nvinfer1::IExprBuilder {
 public:
  Dimensions() : impl_(this) { mImpl = &impl_; }
  const nvinfer1::IDimensionExpr* Make(std::int64_t value) {
    made_.push_back(std::make_unique<Dimension>(value));
    return made_.back().get();
  }
  nvinfer1::DimsExprs Shape(std::initializer_list<std::int64_t> dims) {
    nvinfer1::DimsExprs shape = {};
    for (const std::int64_t dim : dims) shape.d[shape.nbDims++] = Make(dim);
    return shape;
  }

 private:
  struct Impl final : nvinfer1::apiv::VExprBuilder {
    explicit Impl(Dimensions* o) : owner(o) {}
    const nvinfer1::IDimensionExpr* constant(std::int64_t value) override { return owner->Make(value); }
    const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation /*operation*/,
                                              const nvinfer1::IDimensionExpr& /*first*/,
                                              const nvinfer1::IDimensionExpr& /*second*/) override {
      return nullptr;
    }
    const nvinfer1::IDimensionExpr* declareSizeTensor(std::int32_t /*index*/, const nvinfer1::IDimensionExpr& /*opt*/,
                                                      const nvinfer1::IDimensionExpr& /*upper*/) override {
      return nullptr;
    }
    Dimensions* owner;
  };
  Impl impl_;
  std::vector<std::unique_ptr<Dimension>> made_;
};

nvinfer1::IPluginCreatorV3One* Creator() {
  std::int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const* creators = getCreators(count);
  Expect(count == 1, "one creator");
  return static_cast<nvinfer1::IPluginCreatorV3One*>(creators[0]);
}

std::unique_ptr<IPluginV3> Make(const PluginFieldCollection* fields, TensorRTPhase phase = TensorRTPhase::kBUILD) {
  return std::unique_ptr<IPluginV3>(Creator()->createPlugin("reduction", fields, phase));
}

std::unique_ptr<IPluginV3> MakeWith(PluginField field) {
  const PluginFieldCollection fields = {1, &field};
  return Make(&fields);
}

std::unique_ptr<IPluginV3> MakeWith(std::int32_t channels) {
  return MakeWith(PluginField("channels", &channels, PluginFieldType::kINT32, 1));
}

nvinfer1::IPluginV3OneBuild* Build(IPluginV3* plugin) {
  return static_cast<nvinfer1::IPluginV3OneBuild*>(
      plugin->getCapabilityInterface(nvinfer1::PluginCapabilityType::kBUILD));
}

nvinfer1::IPluginV3OneRuntime* Runtime(IPluginV3* plugin) {
  return static_cast<nvinfer1::IPluginV3OneRuntime*>(
      plugin->getCapabilityInterface(nvinfer1::PluginCapabilityType::kRUNTIME));
}

// The number of channels of the output for these inputs, or -1 where the plugin refuses them.
std::int64_t Channels(IPluginV3* plugin, std::initializer_list<std::initializer_list<std::int64_t>> shapes,
                      std::int32_t rank = 2) {
  Dimensions builder;
  std::vector<nvinfer1::DimsExprs> inputs;
  for (const auto& shape : shapes) inputs.push_back(builder.Shape(shape));
  nvinfer1::DimsExprs output = {};
  const auto count = static_cast<std::int32_t>(inputs.size());
  if (Build(plugin)->getOutputShapes(inputs.data(), count, nullptr, 0, &output, 1, builder) != 0) return -1;
  Expect(output.nbDims == rank, "rank of the output");
  if (rank == 2) Expect(output.d[0] == inputs[0].d[0], "the batch is that of the first input");
  return output.d[rank - 1]->getConstantValue();
}

nvinfer1::PluginTensorDesc Described(std::initializer_list<std::int64_t> dims, DataType type) {
  nvinfer1::PluginTensorDesc desc = {};
  for (const std::int64_t dim : dims) desc.dims.d[desc.dims.nbDims++] = dim;
  desc.type = type;
  desc.format = TensorFormat::kLINEAR;
  return desc;
}

void TestCreator() {
  setLoggerFinder(nullptr);
  nvinfer1::IPluginCreatorV3One* creator = Creator();
  Expect(std::strcmp(creator->getPluginName(), "Reduction") == 0, "name");
  Expect(std::strcmp(creator->getPluginVersion(), "1") == 0, "version");
  Expect(std::strcmp(creator->getPluginNamespace(), "rrn") == 0, "namespace");
  Expect(std::strcmp(creator->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") == 0, "kind of the creator");
  const PluginFieldCollection* fields = creator->getFieldNames();
  Expect(fields->nbFields == 1 && std::strcmp(fields->fields[0].name, "channels") == 0, "fields");

  const std::int64_t wide = 100;
  const std::int32_t others[2] = {1, 2};
  const float number = 512;
  Expect(Channels(Make(nullptr).get(), {{-1, 64}}) == 512, "channels by default");
  Expect(Channels(MakeWith(100).get(), {{-1, 50}}) == 100, "channels, int32");
  Expect(Channels(MakeWith(PluginField("channels", &wide, PluginFieldType::kINT64, 1)).get(), {{-1, 50}}) == 100,
         "channels, int64");
  Expect(Channels(MakeWith(PluginField("other", &number, PluginFieldType::kFLOAT32, 1)).get(), {{-1, 64}}) == 512,
         "other fields mean nothing");
  Expect(MakeWith(PluginField("channels", &number, PluginFieldType::kFLOAT32, 1)) == nullptr, "channels of float");
  Expect(MakeWith(PluginField("channels", others, PluginFieldType::kINT32, 2)) == nullptr, "two channels");
  Expect(MakeWith(PluginField("channels", nullptr, PluginFieldType::kINT32, 1)) == nullptr, "channels of nothing");
  Expect(MakeWith(0) == nullptr, "no channels");
}

void TestShapes() {
  const auto plugin = Make(nullptr);
  Expect(Channels(plugin.get(), {{-1, 64}, {-1, 128}, {-1, 256}, {-1, 512}}) == 512, "pooled");
  Expect(Channels(plugin.get(), {{-1, 64, -1, -1}, {-1, 512, 7, 7}}) == 512, "maps");
  Expect(Channels(plugin.get(), {{64}, {512}}, 1) == 512, "vectors");
  Expect(Channels(plugin.get(), {{-1, -1}}) == 512, "channels that are not known yet");
  Expect(Channels(plugin.get(), {{-1, 64}, {512}}) == -1, "ranks differ");
  Expect(Channels(plugin.get(), {{-1, 64, 7}}) == -1, "rank 3");
  Expect(Channels(plugin.get(), {{-1, 100}}) == -1, "100 does not divide 512");
  Expect(Channels(plugin.get(), {{-1, 0}}) == -1, "no channels in an input");
  Expect(Channels(plugin.get(), {}) == -1, "no inputs");
}

void TestTypesAndFormats() {
  const auto plugin = Make(nullptr);
  const auto output = [&](std::initializer_list<DataType> types) {
    DataType made = DataType::kBOOL;
    const std::vector<DataType> inputs(types);
    const auto count = static_cast<std::int32_t>(inputs.size());
    return Build(plugin.get())->getOutputDataTypes(&made, 1, inputs.data(), count) == 0 ? made : DataType::kBOOL;
  };
  for (const DataType type : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
    Expect(output({type, type}) == type, "the output has the inputs' type");
  }
  Expect(output({DataType::kFLOAT, DataType::kHALF}) == DataType::kBOOL, "types differ");
  Expect(output({DataType::kINT8}) == DataType::kBOOL, "int8");

  const auto supported = [&](DataType type, TensorFormat format) {
    nvinfer1::DynamicPluginTensorDesc tensors[2] = {};
    tensors[0].desc.type = DataType::kHALF;
    tensors[1].desc.type = type;
    tensors[1].desc.format = format;
    return Build(plugin.get())->supportsFormatCombination(1, tensors, 1, 1);
  };
  Expect(supported(DataType::kHALF, TensorFormat::kLINEAR), "linear float16");
  Expect(!supported(DataType::kHALF, TensorFormat::kHWC8), "channels in groups of 8");
  Expect(!supported(DataType::kFLOAT, TensorFormat::kLINEAR), "the output of another type than the input");
  Expect(Build(plugin.get())->getNbOutputs() == 1, "one output");
}

// Runs inputs of one value each, k + 1 for the k-th, and returns the first and the last number of the output.
std::pair<float, float> RunConstants(IPluginV3* plugin, std::int64_t batch, bool maps) {
  std::vector<nvinfer1::PluginTensorDesc> in;
  std::vector<std::vector<float>> data;
  std::vector<const void*> inputs;
  for (const std::int64_t channels : {64, 128, 256, 512}) {
    in.push_back(maps ? Described({batch, channels, 3, 2}, DataType::kFLOAT)
                      : Described({batch, channels}, DataType::kFLOAT));
    const auto count = static_cast<std::size_t>(batch * channels * (maps ? 6 : 1));
    data.emplace_back(count, static_cast<float>(data.size() + 1));
  }
  for (const auto& each : data) inputs.push_back(each.data());
  const nvinfer1::PluginTensorDesc out = Described({batch, 512}, DataType::kFLOAT);
  std::vector<float> output(static_cast<std::size_t>(batch * 512), -1.0F);
  void* outputs[1] = {output.data()};
  if (Runtime(plugin)->onShapeChange(in.data(), 4, &out, 1) != 0) return {-2.0F, -2.0F};
  if (Runtime(plugin)->enqueue(in.data(), &out, inputs.data(), outputs, nullptr, nullptr) != 0) return {-3.0F, -3.0F};
  return {output.front(), output.back()};
}

void TestRuns() {
  const auto plugin = Make(nullptr);
  void* outputs[1] = {nullptr};
  Expect(Runtime(plugin.get())->enqueue(nullptr, nullptr, nullptr, outputs, nullptr, nullptr) != 0,
         "nothing runs before its shapes are known");
  const std::pair<float, float> mean = {2.5F, 2.5F};
  Expect(RunConstants(plugin.get(), 1, false) == mean, "batch 1");
  Expect(RunConstants(plugin.get(), 33, false) == mean, "then batch 33");
  Expect(RunConstants(plugin.get(), 2, true) == mean, "then maps");
  const std::vector<float> data(4 * 512);
  std::vector<float> made(512);
  const void* inputs[4] = {data.data(), data.data(), data.data(), data.data()};
  outputs[0] = made.data();
  for (const auto& wrong : {Described({1, 100}, DataType::kFLOAT), Described({1, 64, 7}, DataType::kFLOAT)}) {
    Expect(RunConstants(plugin.get(), 1, false) == mean, "good shapes");
    Expect(Runtime(plugin.get())->onShapeChange(&wrong, 1, nullptr, 1) != 0, "bad shapes");
    Expect(Runtime(plugin.get())->enqueue(&wrong, nullptr, inputs, outputs, nullptr, nullptr) != 0,
           "nothing runs with shapes that were refused");
  }
}

// Channels 0 and 1 of two become outputs 0, 1 and 2, 3; float16 by its bits: 1.0 and 2.0.
void TestHalf() {
  const auto plugin = MakeWith(4);
  const std::uint16_t input[2] = {0x3C00, 0x4000};
  const void* inputs[1] = {input};
  std::uint16_t output[4] = {};
  void* outputs[1] = {output};
  const auto in = Described({1, 2}, DataType::kHALF);
  const auto out = Described({1, 4}, DataType::kHALF);
  Expect(Runtime(plugin.get())->onShapeChange(&in, 1, &out, 1) == 0, "float16, shapes");
  Expect(Runtime(plugin.get())->enqueue(&in, &out, inputs, outputs, nullptr, nullptr) == 0, "float16, run");
  const std::uint16_t expected[4] = {0x3C00, 0x3C00, 0x4000, 0x4000};
  Expect(std::memcmp(output, expected, sizeof output) == 0, "float16, each channel twice in a row");
}

void TestCopies() {
  auto plugin = MakeWith(100);
  const PluginFieldCollection* stored = Runtime(plugin.get())->getFieldsToSerialize();
  Expect(Channels(Make(stored, TensorRTPhase::kRUNTIME).get(), {{-1, 50}}) == 100, "from an engine");
  std::unique_ptr<IPluginV3> copy(plugin->clone());
  std::unique_ptr<IPluginV3> attached(Runtime(plugin.get())->attachToContext(nullptr));
  Expect(Runtime(copy.get())->getFieldsToSerialize()->fields[0].data != stored->fields[0].data,
         "a copy's field is its own");
  plugin.reset();
  Expect(Channels(copy.get(), {{-1, 50}}) == 100, "a copy outlives the original");
  Expect(Channels(attached.get(), {{-1, 50}}) == 100, "so does that of a context");
}

}  // namespace

int main() {
  TestCreator();
  TestShapes();
  TestTypesAndFormats();
  TestRuns();
  TestHalf();
  TestCopies();
  std::printf("%d failed\n", failures);
  return failures > 0 ? 1 : 0;
}
