// The requests that the server's batcher gives at once.
#ifndef RRN_TRITON_BACKEND_BATCH_H_
#define RRN_TRITON_BACKEND_BATCH_H_

#include <cstdint>

#include "rrn/status.h"
#include "triton_backend/triton_api.h"

namespace rrn::triton_backend {

// Answers and releases the requests. The instances of a model may call this at the same time.
// Errors: the model cannot be found; the requests are then the server's, as it expects.
Status Execute(TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request** requests, std::uint32_t count);

}  // namespace rrn::triton_backend

#endif  // RRN_TRITON_BACKEND_BATCH_H_
