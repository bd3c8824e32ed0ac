// A model that turns images into embeddings: found, opened and checked.
#ifndef RRN_ENGINE_EMBEDDER_MODEL_H_
#define RRN_ENGINE_EMBEDDER_MODEL_H_

#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "engine/session.h"
#include "rrn/embedder.h"
#include "rrn/image.h"
#include "rrn/status.h"

namespace rrn::internal {

// A session with one image input and one embedding output. Thread-safe.
class EmbedderModel {
 public:
  // Opens the model of the options, with the first provider and precision that works. Errors: as Embedder::Create.
  static Result<std::unique_ptr<EmbedderModel>> Open(const EmbedderOptions& options);

  const ModelInfo& info() const { return info_; }
  const Preprocessing& preprocessing() const { return input_.preprocessing; }

  // The most images that one Run takes; 1 for a model with a fixed batch of 1.
  std::size_t max_batch() const { return max_batch_; }

  // input: float32 [count, 3, info().size, info().size]; output: float32 [count, info().dim]. The call runs on the
  // calling thread. Errors: kRuntime.
  Status Run(const float* input, std::size_t count, float* output) const;

 private:
  explicit EmbedderModel(std::unique_ptr<Session> session) : session_(std::move(session)) {}

  // Is this an embedder, and one for images of info().size? Learns D by running one black picture.
  Status Check();
  Status CheckInput() const;
  Result<Array> RunOnce(const float* input, std::size_t count) const;

  friend class EmbedderOpener;

  std::unique_ptr<Session> session_;
  ModelInput input_;
  ModelInfo info_;
  std::size_t max_batch_ = std::numeric_limits<std::size_t>::max();
};

}  // namespace rrn::internal

#endif  // RRN_ENGINE_EMBEDDER_MODEL_H_
