#include "triton_backend/request.h"

#include <algorithm>
#include <exception>

#include "triton_backend/errors.h"
#include "triton_backend/model.h"

namespace rrn::triton_backend {
namespace {

// Whatever happens to one request must not end those beside it.
template <typename Function>
Status Caught(Function function) {
  try {
    return function();
  } catch (const std::exception& error) {
    return {StatusCode::kRuntime, error.what()};
  }
}

}  // namespace

void Request::Begin(std::int64_t dim) {
  dim_ = static_cast<std::size_t>(dim);
  status_ = FromTriton(TRITONBACKEND_ResponseNew(&response_, request_));
  if (status_.ok()) status_ = Caught([this] { return ReadInput(); });
  pictures_ = std::max<std::size_t>(1, images_.size());
  if (status_.ok()) status_ = Caught([this, dim] { return MakeRows(dim); });
  if (!status_.ok()) images_.clear();
}

void Request::Fail(const Status& status) {
  if (status_.ok()) status_ = status;
}

Status Request::ReadInput() {
  TRITONBACKEND_Input* input = nullptr;
  Status status = FromTriton(TRITONBACKEND_RequestInput(request_, kImage, &input));
  if (!status.ok()) return status;
  std::uint32_t buffers = 0;
  std::uint32_t rank = 0;
  const std::int64_t* shape = nullptr;
  status = FromTriton(TRITONBACKEND_InputProperties(input, nullptr, nullptr, &shape, &rank, nullptr, &buffers));
  for (std::uint32_t k = 0; status.ok() && k < buffers; ++k) {
    const void* data = nullptr;
    std::uint64_t size = 0;
    TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
    std::int64_t memory_id = 0;
    status = FromTriton(TRITONBACKEND_InputBuffer(input, k, &data, &size, &memory, &memory_id));
    if (!status.ok()) break;
    status = CheckMemory(kImage, memory);
    if (!status.ok()) break;
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    if (buffers > 1) {
      joined_.insert(joined_.end(), bytes, bytes + size);
      if (k + 1 < buffers) continue;
      bytes = joined_.data();
      size = joined_.size();
    }
    Result<std::vector<EncodedImage>> images = SplitBytes(bytes, size);
    if (!images.ok()) return images.status();
    images_ = *std::move(images);
  }
  if (!status.ok()) return status;
  std::int64_t declared = 1;
  for (std::uint32_t d = 0; d < rank; ++d) declared *= shape[d];
  if (declared != static_cast<std::int64_t>(images_.size())) {
    return {StatusCode::kInvalidArgument, "image has the shape of " + std::to_string(declared) + " pictures, " +
                                              std::to_string(images_.size()) + " are there"};
  }
  return {};
}

Status Request::MakeRows(std::int64_t dim) {
  Result<void*> data = MakeOutput(kEmbedding, TRITONSERVER_TYPE_FP32, dim, images_.size() * dim_ * sizeof(float));
  if (!data.ok()) return data.status();
  for (std::size_t i = 0; i < images_.size(); ++i) rows_.push_back(static_cast<float*>(*data) + i * dim_);
  return {};
}

bool Request::Finish(const Status* statuses) {
  if (status_.ok()) status_ = Caught([this, statuses] { return MarkFailures(statuses); });
  TRITONSERVER_Error* error = ToTriton(status_);
  if (response_ != nullptr) Ignore(TRITONBACKEND_ResponseSend(response_, kTritonResponseFinal, error));
  Ignore(error);
  response_ = nullptr;
  return status_.ok();
}

void Request::Release() {
  Ignore(TRITONBACKEND_RequestRelease(request_, kTritonReleaseAll));
  request_ = nullptr;
}

}  // namespace rrn::triton_backend
