// The only place that talks to ONNX Runtime.
#ifndef RRN_ENGINE_SESSION_H_
#define RRN_ENGINE_SESSION_H_

#include <cstddef>
#include <memory>
#include <string>

#include "rrn/embedder.h"
#include "rrn/image.h"
#include "rrn/status.h"

namespace rrn::internal {

// An ONNX model with one image input and one embedding output. Run is thread-safe.
class Session {
 public:
  static Result<std::unique_ptr<Session>> Open(const EmbedderOptions& options);
  virtual ~Session() = default;

  virtual const ModelInfo& info() const = 0;
  virtual const Preprocessing& preprocessing() const = 0;

  // The most images that one Run takes; 1 for a model with a fixed batch of 1.
  virtual std::size_t max_batch() const = 0;

  // input: float32 [count, 3, info().size, info().size]; output: float32 [count, info().dim]. The call runs on the
  // calling thread.
  virtual Status Run(float* input, std::size_t count, float* output) const = 0;
};

}  // namespace rrn::internal

#endif  // RRN_ENGINE_SESSION_H_
