// A model of the store: what its config.pbtxt asks for, and the engine that does it.
#ifndef RRN_TRITON_BACKEND_MODEL_H_
#define RRN_TRITON_BACKEND_MODEL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/status.h"

namespace rrn::triton_backend {

// The tensors of every model of this backend.
inline constexpr const char* kImage = "image";          // BYTES [1]: the content of a picture's file
inline constexpr const char* kEmbedding = "embedding";  // FP32 [dim]; NaN where a picture of several failed
inline constexpr const char* kError = "error";          // BYTES [1]: why a picture failed, empty where it did not

// What a config.pbtxt says, with its `parameters`: size, batch, threads, provider, precision and op_library as in
// EmbedderOptions, max_pixels as in DecodeOptions, max_bytes and low_latency. Paths are relative to the model's folder.
struct ModelConfig {
  EmbedderOptions options;
  bool low_latency = true;               // "0" or "1": a second session for few pictures, see Model::few
  std::uint64_t max_bytes = 64U << 20U;  // longer files are refused before they are decoded
  std::size_t instances = 1;             // that embed batches at the same time
  std::int64_t dim = 0;                  // as the output `embedding` is declared
};

// json: the model's configuration as the server writes it.
// folder: the model's; the file is <folder>/<version>/<default_model_filename, or model.onnx>.
// Errors: kInvalidArgument, naming the field, what was expected and what was found.
Result<ModelConfig> ParseModelConfig(const std::string& json, const std::string& folder, std::uint64_t version);

// Thread-safe; all instances of a model share it, so its weights are in memory once (twice with `few`).
struct Model {
  // Embeds as EmbedEncoded. A call that is alone takes all threads, others take their share.
  Result<std::vector<Status>> Embed(const std::vector<EncodedImage>& images, const std::vector<float*>& rows) const;

  Embedder embedder;
  std::uint64_t max_bytes;
  // The same model for few pictures that are alone: all threads compute an inference call together. Not there with one
  // thread, without low_latency, or for another provider than the CPU.
  std::optional<Embedder> few;
  std::size_t threads = 1;
  std::size_t instances = 1;
  // Calls of Embed that have not returned.
  std::unique_ptr<std::atomic<int>> active = std::make_unique<std::atomic<int>>(0);
};

// Errors: those of Embedder::Create, and kInvalidArgument where the embedding is not as long as the config.pbtxt says.
Result<Model> OpenModel(const ModelConfig& config);

}  // namespace rrn::triton_backend

#endif  // RRN_TRITON_BACKEND_MODEL_H_
