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

void Infer(const OrtApi& api, OrtShapeInferContext* context) {
  const std::int64_t channels = ReadChannels(api, context);
  std::size_t count = 0;
  Check(api.ShapeInferContext_GetInputCount(context, &count));
  std::size_t rank = 0;
  std::int64_t batch = -1;  // -1: unknown
  std::string symbol;
  for (std::size_t k = 0; k < count; ++k) {
    OrtTensorTypeAndShapeInfo* info = nullptr;  // owned by the context
    Check(api.ShapeInferContext_GetInputTypeShape(context, k, &info));
    std::size_t input_rank = 0;
    Check(api.GetDimensionsCount(info, &input_rank));
    if (input_rank == 0) continue;  // ONNX Runtime gives an unknown shape as rank 0.
    rank = input_rank;
    if (rank == 1) continue;
    std::vector<std::int64_t> dims(rank);
    std::vector<const char*> symbols(rank);
    Check(api.GetDimensions(info, dims.data(), rank));
    Check(api.GetSymbolicDimensions(info, symbols.data(), rank));
    if (dims[0] >= 0) batch = dims[0];
    if (symbol.empty() && symbols[0] != nullptr) symbol = symbols[0];
  }
  if (rank == 0) return;  // Nothing is known, so nothing is said.

  OrtTensorTypeAndShapeInfo* raw = nullptr;
  Check(api.CreateTensorTypeAndShapeInfo(&raw));
  const Info output(raw);
  const std::array<std::int64_t, 2> dims = {batch, channels};
  const std::size_t output_rank = rank == 1 ? 1 : 2;
  Check(api.SetDimensions(output.get(), dims.data() + (2 - output_rank), output_rank));
  if (output_rank == 2 && batch < 0 && !symbol.empty()) {
    std::array<const char*, 2> symbols = {symbol.c_str(), ""};
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
