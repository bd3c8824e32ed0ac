// librrn_tensorrt.so: the reduction operator for TensorRT 10 and newer, as an IPluginV3 over the CUDA kernel of
// rrn/reduction.h.
//
// Name "Reduction", version "1", namespace "rrn". Inputs: 1 to 32 tensors [C_k], [B, C_k] or [B, C_k, H_k, W_k] of one
// type, float32, float16 or bfloat16, in the linear format; B, H_k and W_k may be dynamic. Output: [channels] or
// [B, channels] of the same type. The one attribute, channels (int32, 512 where it is absent), is all that an engine
// stores of it.
//
// Load it with IPluginRegistry::loadLibrary or `trtexec --dynamicPlugins=`: it registers nothing by itself, and refers
// to no symbol of libnvinfer.so. Errors: methods return 1, or null, and TensorRT says which layer refused; nothing
// throws, because exceptions must not cross into a library that may have another C++ runtime.
//
// Thread-safety: a plugin object belongs to one network or one execution context at a time; the creator has no state.
#include <NvInferRuntime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "rrn/reduction.h"

namespace rrn::tensorrt {
namespace {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::PluginTensorDesc;

constexpr char kName[] = "Reduction";
constexpr char kVersion[] = "1";
constexpr char kNamespace[] = "rrn";
constexpr char kChannels[] = "channels";
constexpr std::int32_t kOk = 0;
constexpr std::int32_t kError = 1;
// What the CUDA kernel takes at most.
constexpr std::int64_t kMostChannels = std::int64_t{1} << 28;

bool ToReductionType(DataType from, ReductionType* to) noexcept {
  switch (from) {
    case DataType::kFLOAT:
      *to = ReductionType::kFloat32;
      return true;
    case DataType::kHALF:
      *to = ReductionType::kFloat16;
      return true;
    case DataType::kBF16:
      *to = ReductionType::kBFloat16;
      return true;
    default:
      return false;
  }
}

bool IsRank(std::int32_t rank) noexcept { return rank == 1 || rank == 2 || rank == 4; }

// The three capabilities of one node. TensorRT asks a plugin for each of them by getCapabilityInterface.
class ReductionPlugin final : public nvinfer1::IPluginV3,
                              public nvinfer1::IPluginV3OneCore,
                              public nvinfer1::IPluginV3OneBuild,
                              public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit ReductionPlugin(std::int32_t channels) noexcept
      : channels_(channels), field_(kChannels, &channels_, PluginFieldType::kINT32, 1), fields_{1, &field_} {}
  // The field points into the object.
  ReductionPlugin(const ReductionPlugin& other) noexcept : ReductionPlugin(other.channels_) {
    plan_ = other.plan_;
    type_ = other.type_;
    planned_ = other.planned_;
  }
  ReductionPlugin& operator=(const ReductionPlugin&) = delete;
  ~ReductionPlugin() override = default;

  // IPluginV3
  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
    switch (type) {
      case nvinfer1::PluginCapabilityType::kCORE:
        return static_cast<nvinfer1::IPluginV3OneCore*>(this);
      case nvinfer1::PluginCapabilityType::kBUILD:
        return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
      case nvinfer1::PluginCapabilityType::kRUNTIME:
        return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }
  // TensorRT deletes what it is given here.
  nvinfer1::IPluginV3* clone() noexcept override { return new (std::nothrow) ReductionPlugin(*this); }

  // IPluginV3OneCore
  const char* getPluginName() const noexcept override { return kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

  // IPluginV3OneBuild
  std::int32_t getNbOutputs() const noexcept override { return 1; }

  std::int32_t configurePlugin(const DynamicPluginTensorDesc* /*in*/, std::int32_t inputs,
                               const DynamicPluginTensorDesc* /*out*/, std::int32_t outputs) noexcept override {
    return inputs >= 1 && inputs <= kMaxReductionInputs && outputs == 1 ? kOk : kError;
  }

  std::int32_t getOutputDataTypes(DataType* output_types, std::int32_t outputs, const DataType* input_types,
                                  std::int32_t inputs) const noexcept override {
    ReductionType type;
    if (outputs != 1 || inputs < 1 || !ToReductionType(input_types[0], &type)) return kError;
    for (std::int32_t k = 1; k < inputs; ++k) {
      if (input_types[k] != input_types[0]) return kError;
    }
    output_types[0] = input_types[0];
    return kOk;
  }

  // What is known before the shapes are: ranks, and the channels where they are constants. The rest is checked by
  // onShapeChange.
  std::int32_t getOutputShapes(const DimsExprs* inputs, std::int32_t count, const DimsExprs* /*shape_inputs*/,
                               std::int32_t shape_count, DimsExprs* outputs, std::int32_t output_count,
                               nvinfer1::IExprBuilder& builder) noexcept override {
    if (count < 1 || count > kMaxReductionInputs || shape_count != 0 || output_count != 1) return kError;
    const std::int32_t rank = inputs[0].nbDims;
    if (!IsRank(rank)) return kError;
    for (std::int32_t k = 0; k < count; ++k) {
      if (inputs[k].nbDims != rank) return kError;
      const nvinfer1::IDimensionExpr* channels = inputs[k].d[rank == 1 ? 0 : 1];
      if (!channels->isConstant()) continue;
      const std::int64_t value = channels->getConstantValue();
      if (value < 1 || channels_ % value != 0) return kError;
    }
    outputs[0].nbDims = rank == 1 ? 1 : 2;
    outputs[0].d[0] = inputs[0].d[0];
    outputs[0].d[outputs[0].nbDims - 1] = builder.constant(channels_);
    return outputs[0].d[outputs[0].nbDims - 1] == nullptr ? kError : kOk;
  }

  bool supportsFormatCombination(std::int32_t at, const DynamicPluginTensorDesc* tensors, std::int32_t /*inputs*/,
                                 std::int32_t /*outputs*/) noexcept override {
    ReductionType type;
    return tensors[at].desc.format == nvinfer1::TensorFormat::kLINEAR &&
           tensors[at].desc.type == tensors[0].desc.type && ToReductionType(tensors[at].desc.type, &type);
  }

  // Rows that are not normalised need none, in this layout.
  std::size_t getWorkspaceSize(const DynamicPluginTensorDesc* /*in*/, std::int32_t /*inputs*/,
                               const DynamicPluginTensorDesc* /*out*/,
                               std::int32_t /*outputs*/) const noexcept override {
    return 0;
  }

  // There is one way to compute it, so TensorRT has nothing to time; types and shapes are in its key already.
  const char* getTimingCacheID() noexcept override { return ""; }

  // IPluginV3OneRuntime
  // Plans for these shapes; enqueue is not told how many inputs there are.
  std::int32_t onShapeChange(const PluginTensorDesc* in, std::int32_t inputs, const PluginTensorDesc* /*out*/,
                             std::int32_t outputs) noexcept override {
    planned_ = false;
    if (inputs < 1 || inputs > kMaxReductionInputs || outputs != 1) return kError;
    ReductionShape shapes[kMaxReductionInputs];
    for (std::int32_t k = 0; k < inputs; ++k) {
      const nvinfer1::Dims& dims = in[k].dims;
      if (!IsRank(dims.nbDims)) return kError;
      shapes[k].rank = dims.nbDims;
      for (std::int32_t i = 0; i < dims.nbDims; ++i) shapes[k].dims[static_cast<std::size_t>(i)] = dims.d[i];
    }
    planned_ =
        ToReductionType(in[0].type, &type_) && PlanReduction(shapes, inputs, channels_, &plan_) == ReductionStatus::kOk;
    return planned_ ? kOk : kError;
  }

  // One launch on the given stream; it can be captured in a CUDA graph.
  std::int32_t enqueue(const PluginTensorDesc* /*in*/, const PluginTensorDesc* /*out*/, const void* const* inputs,
                       void* const* outputs, void* /*workspace*/, cudaStream_t stream) noexcept override {
    if (!planned_) return kError;
    return ReduceCuda(plan_, type_, inputs, outputs[0], stream) == ReductionStatus::kOk ? kOk : kError;
  }

  std::int32_t setTactic(std::int32_t /*tactic*/) noexcept override { return kOk; }
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* /*context*/) noexcept override {
    return clone();
  }
  const PluginFieldCollection* getFieldsToSerialize() noexcept override { return &fields_; }

 private:
  std::int32_t channels_;
  PluginField field_;
  PluginFieldCollection fields_;
  ReductionPlan plan_ = {};
  ReductionType type_ = ReductionType::kFloat32;
  bool planned_ = false;
};

// Makes plugins from a node's attributes, and from what an engine stores of them.
class ReductionCreator final : public nvinfer1::IPluginCreatorV3One {
 public:
  nvinfer1::IPluginV3* createPlugin(const char* /*name*/, const PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase /*phase*/) noexcept override {
    std::int64_t channels = kDefaultReductionChannels;
    for (std::int32_t i = 0; fields != nullptr && i < fields->nbFields; ++i) {
      const PluginField& field = fields->fields[i];
      // Parsers hand over attributes of their own as well.
      if (field.name == nullptr || std::strcmp(field.name, kChannels) != 0) continue;
      if (field.data == nullptr || field.length != 1 || !ReadInteger(field, &channels)) return nullptr;
    }
    if (channels < 1 || channels > kMostChannels) return nullptr;
    return new (std::nothrow) ReductionPlugin(static_cast<std::int32_t>(channels));
  }
  const PluginFieldCollection* getFieldNames() noexcept override {
    static const PluginField kField(kChannels, nullptr, PluginFieldType::kINT32, 1);
    static const PluginFieldCollection kFields = {1, &kField};
    return &kFields;
  }
  const char* getPluginName() const noexcept override { return kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

 private:
  static bool ReadInteger(const PluginField& field, std::int64_t* value) noexcept {
    if (field.type == PluginFieldType::kINT64) {
      std::memcpy(value, field.data, sizeof *value);
      return true;
    }
    if (field.type != PluginFieldType::kINT32) return false;
    std::int32_t narrow = 0;
    std::memcpy(&narrow, field.data, sizeof narrow);
    *value = narrow;
    return true;
  }
};

}  // namespace
}  // namespace rrn::tensorrt

// The two functions that TensorRT looks up in a library of plugins.
extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* /*finder*/) {}

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(
    std::int32_t& count) {
  static rrn::tensorrt::ReductionCreator creator;
  static nvinfer1::IPluginCreatorInterface* const kCreators[] = {&creator};
  count = 1;
  return kCreators;
}
