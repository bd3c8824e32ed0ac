// Shape inference through the C API: the C++ wrapper (Ort::ShapeInferContext) drops symbolic dimension names.
#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "onnx_op/reduction_op.h"
#include "rrn/reduction.h"

namespace rrn::onnx_op {
namespace {

struct ReleaseInfo {
  void operator()(OrtTensorTypeAndShapeInfo* info) const { Ort::GetApi().ReleaseTensorTypeAndShapeInfo(info); }
};
using Info = std::unique_ptr<OrtTensorTypeAndShapeInfo, ReleaseInfo>;

void Check(OrtStatusPtr status) { Ort::ThrowOnError(status); }

std::int64_t ReadChannels(const OrtApi& api, OrtShapeInferContext* context) {
  const OrtOpAttr* attribute = nullptr;
  std::int64_t channels = kDefaultReductionChannels;
  OrtStatusPtr absent = api.ShapeInferContext_GetAttribute(context, "channels", &attribute);
  if (absent != nullptr || attribute == nullptr) {
    api.ReleaseStatus(absent);
    return channels;
  }
  std::size_t written = 0;
  Check(api.ReadOpAttr(attribute, ORT_OP_ATTR_INT, &channels, sizeof channels, &written));
  return channels;
}

// What is known of the inputs, and so of the output.
struct Known {
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  std::size_t rank = 0;     // 0: unknown
  std::int64_t batch = -1;  // -1: unknown
  std::string symbol;       // its name, where it has one
  bool contradictory = false;
};

void Look(const OrtApi& api, const OrtTensorTypeAndShapeInfo* info, Known* known) {
  // ONNX Runtime asks one of the operators of all element types, so the type is that of the inputs, not of the
  // operator.
  if (known->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED) Check(api.GetTensorElementType(info, &known->type));
  std::size_t rank = 0;
  Check(api.GetDimensionsCount(info, &rank));
  if (rank == 0) return;  // ONNX Runtime gives an unknown shape as rank 0.
  if (known->rank != 0 && known->rank != rank) known->contradictory = true;
  known->rank = rank;
  if (rank == 1) return;
  std::vector<std::int64_t> dims(rank);
  std::vector<const char*> symbols(rank);
  Check(api.GetDimensions(info, dims.data(), rank));
  Check(api.GetSymbolicDimensions(info, symbols.data(), rank));
  if (dims[0] >= 0) {
    if (known->batch >= 0 && known->batch != dims[0]) known->contradictory = true;
    known->batch = dims[0];
  }
  if (known->symbol.empty() && symbols[0] != nullptr) known->symbol = symbols[0];
}

void Infer(const OrtApi& api, OrtShapeInferContext* context) {
  const std::int64_t channels = ReadChannels(api, context);
  std::size_t count = 0;
  Check(api.ShapeInferContext_GetInputCount(context, &count));
  Known known;
  for (std::size_t k = 0; k < count; ++k) {
    OrtTensorTypeAndShapeInfo* info = nullptr;  // owned by the context
    Check(api.ShapeInferContext_GetInputTypeShape(context, k, &info));
    Look(api, info, &known);
  }
  // Nothing is known, so nothing is said. Nor of what the kernel will refuse with a message: one from here is lost.
  if (known.contradictory || (known.rank != 1 && known.rank != 2 && known.rank != 4)) return;

  OrtTensorTypeAndShapeInfo* raw = nullptr;
  Check(api.CreateTensorTypeAndShapeInfo(&raw));
  const Info output(raw);
  // Without a type ONNX Runtime takes it for float32.
  Check(api.SetTensorElementType(output.get(), known.type));
  const std::array<std::int64_t, 2> dims = {known.batch, channels};
  const std::size_t rank = known.rank == 1 ? 1 : 2;
  Check(api.SetDimensions(output.get(), dims.data() + (2 - rank), rank));
  if (rank == 2 && known.batch < 0 && !known.symbol.empty()) {
    std::array<const char*, 2> symbols = {known.symbol.c_str(), ""};
    Check(api.SetSymbolicDimensions(output.get(), symbols.data(), symbols.size()));
  }
  Check(api.ShapeInferContext_SetOutputTypeShape(context, 0, output.get()));
}

}  // namespace

OrtStatusPtr InferReductionShape(const OrtCustomOp* /*op*/, OrtShapeInferContext* context) noexcept {
  const OrtApi& api = Ort::GetApi();
  try {
    Infer(api, context);
    return nullptr;
  } catch (const std::exception& error) {
    return api.CreateStatus(ORT_FAIL, error.what());
  }
}

}  // namespace rrn::onnx_op
