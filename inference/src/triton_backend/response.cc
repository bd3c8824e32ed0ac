// What goes into a response, and the form of strings in both directions.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "triton_backend/errors.h"
#include "triton_backend/model.h"
#include "triton_backend/request.h"

namespace rrn::triton_backend {

Result<std::vector<EncodedImage>> SplitBytes(const std::uint8_t* data, std::size_t size) {
  std::vector<EncodedImage> images;
  std::size_t at = 0;
  while (at < size) {
    std::array<std::uint8_t, 4> prefix = {};
    if (size - at < prefix.size()) return Status(StatusCode::kInvalidArgument, "image ends within the length of one");
    std::memcpy(prefix.data(), data + at, prefix.size());
    at += prefix.size();
    std::size_t length = 0;
    for (std::size_t k = prefix.size(); k > 0; --k) length = length << 8U | prefix[k - 1];
    if (size - at < length) {
      return Status(StatusCode::kInvalidArgument,
                    "image declares " + std::to_string(length) + " bytes, " + std::to_string(size - at) + " are there");
    }
    images.push_back({data + at, length});
    at += length;
  }
  return images;
}

std::string JoinBytes(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) {
    for (unsigned shift = 0; shift < 32; shift += 8) joined += static_cast<char>(text.size() >> shift & 0xFFU);
    joined += text;
  }
  return joined;
}

Result<void*> Request::MakeOutput(const char* name, TRITONSERVER_DataType type, std::int64_t width, std::size_t bytes) {
  TRITONBACKEND_Output* output = nullptr;
  const std::array<std::int64_t, 2> shape = {static_cast<std::int64_t>(images_.size()), width};
  Status status = FromTriton(TRITONBACKEND_ResponseOutput(response_, &output, name, type, shape.data(), 2));
  void* data = nullptr;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  std::int64_t memory_id = 0;
  if (status.ok()) status = FromTriton(TRITONBACKEND_OutputBuffer(output, &data, bytes, &memory, &memory_id));
  if (status.ok()) status = CheckMemory(name, memory);
  if (!status.ok()) return status;
  return data;
}

bool Request::WantsErrors() const {
  std::uint32_t count = 0;
  if (!FromTriton(TRITONBACKEND_RequestOutputCount(request_, &count)).ok()) return false;
  for (std::uint32_t k = 0; k < count; ++k) {
    const char* name = nullptr;
    if (FromTriton(TRITONBACKEND_RequestOutputName(request_, k, &name)).ok() && std::string(name) == kError) {
      return true;
    }
  }
  return false;
}

Status Request::MarkFailures(const Status* statuses) {
  const bool wanted = WantsErrors();
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < images_.size(); ++i) {
    texts.push_back(statuses[i].message());
    if (statuses[i].ok()) continue;
    if (images_.size() == 1) return statuses[i];
    std::fill_n(rows_[i], dim_, std::numeric_limits<float>::quiet_NaN());
    if (!wanted) {
      return {statuses[i].code(), "image " + std::to_string(i) + " of " + std::to_string(images_.size()) + ": " +
                                      statuses[i].message() + " (ask for the output 'error' to get the others)"};
    }
  }
  return wanted ? WriteErrors(texts) : Status();
}

Status Request::WriteErrors(const std::vector<std::string>& texts) {
  const std::string joined = JoinBytes(texts);
  Result<void*> data = MakeOutput(kError, TRITONSERVER_TYPE_BYTES, 1, joined.size());
  if (!data.ok()) return data.status();
  std::memcpy(*data, joined.data(), joined.size());
  return {};
}

}  // namespace rrn::triton_backend
