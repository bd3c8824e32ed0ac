// A model of the store: what its config.pbtxt asks for, and the engine that does it.
#ifndef RRN_TRITON_BACKEND_MODEL_H_
#define RRN_TRITON_BACKEND_MODEL_H_

#include <cstdint>
#include <string>

#include "rrn/embedder.h"
#include "rrn/status.h"

namespace rrn::triton_backend {

// The tensors of every model of this backend.
inline constexpr const char* kImage = "image";          // BYTES [1]: the content of a picture's file
inline constexpr const char* kEmbedding = "embedding";  // FP32 [dim]; NaN where a picture of several failed
inline constexpr const char* kError = "error";          // BYTES [1]: why a picture failed, empty where it did not

// What a config.pbtxt says, with its `parameters`: size, batch, threads, provider, precision and op_library as in
// EmbedderOptions, max_pixels as in DecodeOptions, and max_bytes. Paths are relative to the model's folder.
struct ModelConfig {
  EmbedderOptions options;
  std::uint64_t max_bytes = 64U << 20U;  // longer files are refused before they are decoded
  std::int64_t dim = 0;                  // as the output `embedding` is declared
};

// json: the model's configuration as the server writes it.
// folder: the model's; the file is <folder>/<version>/<default_model_filename, or model.onnx>.
// Errors: kInvalidArgument, naming the field, what was expected and what was found.
Result<ModelConfig> ParseModelConfig(const std::string& json, const std::string& folder, std::uint64_t version);

// Thread-safe; all instances of a model share it, so its weights are in memory once.
struct Model {
  Embedder embedder;
  std::uint64_t max_bytes;
};

// Errors: those of Embedder::Create, and kInvalidArgument where the embedding is not as long as the config.pbtxt says.
Result<Model> OpenModel(const ModelConfig& config);

}  // namespace rrn::triton_backend

#endif  // RRN_TRITON_BACKEND_MODEL_H_
