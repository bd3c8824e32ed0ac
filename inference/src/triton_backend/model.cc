#include "triton_backend/model.h"

#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "base/parallel.h"

namespace rrn::triton_backend {

Result<Model> OpenModel(const ModelConfig& config) {
  Result<Embedder> embedder = Embedder::Create(config.options);
  if (!embedder.ok()) return embedder.status();
  const int dim = embedder->info().dim;
  if (dim != config.dim) {
    return Status(StatusCode::kInvalidArgument, "config.pbtxt: embedding has dims [" + std::to_string(config.dim) +
                                                    "], the model's is " + std::to_string(dim));
  }
  Model model{*std::move(embedder), config.max_bytes, {}, 1};
  model.threads = ThreadCount(config.options.threads, std::numeric_limits<std::size_t>::max());
  if (!config.low_latency || model.threads == 1 || model.embedder.info().provider != "cpu") return model;
  EmbedderOptions few = config.options;
  few.provider = "cpu";
  few.batch = kMaxBatch;
  few.threads = 1;
  few.threads_per_call = static_cast<int>(model.threads);
  Result<Embedder> second = Embedder::Create(few);
  if (!second.ok()) return second.status();
  model.few = *std::move(second);
  return model;
}

const Embedder& Model::For(std::size_t pictures) const {
  // A second picture is decoded after the first there, so with few cores it is better off on a core of its own.
  return few.has_value() && (pictures <= 1 || pictures * 4 <= threads) ? *few : embedder;
}

}  // namespace rrn::triton_backend
