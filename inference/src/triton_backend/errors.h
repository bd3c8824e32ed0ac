// Triton's errors as ours, and ours as Triton's.
#ifndef RRN_TRITON_BACKEND_ERRORS_H_
#define RRN_TRITON_BACKEND_ERRORS_H_

#include <string>

#include "rrn/status.h"
#include "triton_backend/triton_api.h"

namespace rrn::triton_backend {

// Takes an error of the server, null for success.
inline Status FromTriton(TRITONSERVER_Error* error) {
  if (error == nullptr) return {};
  Status status(StatusCode::kRuntime, TRITONSERVER_ErrorMessage(error));
  TRITONSERVER_ErrorDelete(error);
  return status;
}

// For calls whose failure changes nothing and can be told to nobody, such as reporting a failure.
inline void Ignore(TRITONSERVER_Error* error) {
  if (error != nullptr) TRITONSERVER_ErrorDelete(error);
}

// Can the backend read and write a tensor's memory?
inline Status CheckMemory(const char* tensor, TRITONSERVER_MemoryType memory) {
  if (memory == TRITONSERVER_MEMORY_CPU || memory == TRITONSERVER_MEMORY_CPU_PINNED) return {};
  return {StatusCode::kUnsupported, std::string(tensor) + " is in the memory of a GPU, expected the CPU's"};
}

// An error that the caller owns; null for success.
inline TRITONSERVER_Error* ToTriton(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return nullptr;
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnsupported:
    case StatusCode::kCorrupt:
    case StatusCode::kTooLarge:
      return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, status.message().c_str());
    case StatusCode::kNotFound:
    case StatusCode::kUnreadable:
      return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_NOT_FOUND, status.message().c_str());
    case StatusCode::kCancelled:
      return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_UNAVAILABLE, status.message().c_str());
    case StatusCode::kRuntime:
      return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, status.message().c_str());
  }
  return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, status.message().c_str());
}

}  // namespace rrn::triton_backend

#endif  // RRN_TRITON_BACKEND_ERRORS_H_
