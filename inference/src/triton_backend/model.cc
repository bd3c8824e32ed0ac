#include "triton_backend/model.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/parallel.h"

namespace rrn::triton_backend {
namespace {

// Counts a call as long as it runs.
class Active {
 public:
  explicit Active(std::atomic<int>* count) : count_(count), alone_(count->fetch_add(1) == 0) {}
  Active(const Active&) = delete;
  Active& operator=(const Active&) = delete;
  ~Active() { count_->fetch_sub(1); }
  bool alone() const { return alone_; }

 private:
  std::atomic<int>* count_;
  const bool alone_;
};

}  // namespace

Result<Model> OpenModel(const ModelConfig& config) {
  const std::size_t threads = ThreadCount(config.options.threads, std::numeric_limits<std::size_t>::max());
  Result<Embedder> embedder = Embedder::Create(config.options);
  if (!embedder.ok()) return embedder.status();
  const ModelInfo& info = embedder->info();
  if (info.dim != config.dim) {
    return Status(StatusCode::kInvalidArgument, "config.pbtxt: embedding has dims [" + std::to_string(config.dim) +
                                                    "], the model's is " + std::to_string(info.dim));
  }
  const bool second = config.low_latency && threads > 1 && info.provider == "cpu";
  Model model{*std::move(embedder), config.max_bytes, {}, threads, config.instances};
  if (!second) return model;
  EmbedderOptions few = config.options;
  few.provider = "cpu";
  // "auto" may have fallen back.
  few.precision = model.embedder.info().precision;
  few.batch = kMaxBatch;
  few.threads = 1;
  few.threads_per_call = static_cast<int>(threads);
  Result<Embedder> created = Embedder::Create(few);
  if (!created.ok()) return created.status();
  model.few = *std::move(created);
  return model;
}

Result<std::vector<Status>> Model::Embed(const std::vector<EncodedImage>& images,
                                         const std::vector<float*>& rows) const {
  const Active call(active.get());
  // A second picture is decoded after the first there, so with few cores it is better off on a core of its own.
  if (few.has_value() && call.alone() && (images.size() <= 1 || images.size() * 4 <= threads)) {
    return few->EmbedEncoded(images, rows);
  }
  const std::size_t share = call.alone() ? threads : std::max<std::size_t>(1, threads / instances);
  return embedder.EmbedEncoded(images, rows, {}, static_cast<int>(share));
}

}  // namespace rrn::triton_backend
