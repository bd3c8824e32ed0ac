// From images to embeddings: decode, preprocess and run the model, on all cores.
#ifndef RRN_EMBEDDER_H_
#define RRN_EMBEDDER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rrn/image.h"
#include "rrn/progress.h"
#include "rrn/status.h"

namespace rrn {

// Sides of the network's input square, in pixels.
inline constexpr int kMinImageSize = 32;
inline constexpr int kMaxImageSize = 4096;

// The greatest batch and number of threads of EmbedderOptions.
inline constexpr int kMaxBatch = 1024;
inline constexpr int kMaxThreads = 1024;

// The providers and precisions of EmbedderOptions.
inline constexpr std::array<const char*, 5> kProviderNames = {"auto", "cpu", "openvino", "cuda", "tensorrt"};
inline constexpr std::array<const char*, 5> kPrecisionNames = {"auto", "fp32", "fp16", "bf16", "int8"};

// What to run, on what, and how.
struct EmbedderOptions {
  // The ONNX file: one input [N, 3, H, W], first output [N, D], each float32 or float16. Empty: the default model, see
  // DefaultModelPath.
  std::string model;
  // libreduction_op.so. Empty: found by DefaultOpLibraryPath; without that file, the model must do without, as models
  // exported by rrn can (the operator's definition travels inside them).
  std::string op_library;
  // Side of the square that images are resized to, in pixels; 32 ... 4096. 0: the model's own (224 if it names none).
  int size = 0;
  // Images per inference call; 1 ... 1024. The embeddings do not depend on it. A model with a fixed batch of 1 gets 1.
  int batch = 8;
  // Worker threads; 0: one for each core. The embeddings do not depend on it.
  int threads = 0;
  // Who computes: "auto", "cpu", "openvino", "cuda" or "tensorrt" (ONNX Runtime's execution providers). "auto" takes
  // the first that works here and gains from the precision: tensorrt, openvino, cpu for bf16 and int8; tensorrt, cpu
  // for fp16; cpu for fp32. Another one is an error where it is not installed. Embeddings are the same bits only on the
  // same provider.
  std::string provider = "auto";
  // "auto", "fp32", "fp16", "bf16" or "int8". "auto" is fp32, with two exceptions: bf16 on a named "openvino" whose CPU
  // computes in it, and int8 for a model file that is called *.int8.onnx. "int8" runs STEM.int8.onnx beside STEM.onnx;
  // the default model has one, `rrn quantize` makes others. Where provider is "auto" and nothing here
  // gains from the precision, fp32 is computed and ModelInfo::note says so; a missing int8 file is an error.
  std::string precision = "auto";
  // May compiled models be kept for the next start, in $XDG_CACHE_HOME/rrn (~/.cache/rrn)? Used where compiling takes
  // longer than loading: openvino int8, and tensorrt. The folder may be deleted at any time.
  bool cache = true;
  // Its `target` is not looked at: files are decoded for `size`.
  DecodeOptions decode;
  // Decode all files at their full size, also where a fraction is enough (see DecodeOptions::target). Slower for large
  // JPEGs; cosines of photos change in the fourth decimal, those of dithered or very noisy pictures in the second.
  bool full_decode = false;
  // Threads that work on one inference call together; 1 ... 1024. With 1, calls are independent of each other, which
  // embeds many pictures fastest; more shorten the time of a call with fewer pictures than cores, where each call has
  // more cores than pictures. For provider "cpu"; the others decide themselves. The embeddings do not depend on it.
  int threads_per_call = 1;
};

// What a model says about itself.
struct ModelInfo {
  std::string file;            // the file's name without its folders
  std::string weights_origin;  // where the weights come from; empty if the file does not say
  std::string weights_sha256;  // of the weights file; empty if the file does not say
  int size = 0;                // side of the input square actually used, in pixels
  int dim = 0;                 // D, length of an embedding
  std::string provider;        // the one in use, as in EmbedderOptions, never "auto"
  std::string precision;       // the one in use, never "auto"
  std::string note;            // one line if "auto" could not give what was asked for, and why; otherwise empty
  bool custom_op = false;      // libreduction_op.so is registered

  // Identifies results: embeddings of two models with the same fingerprint may be compared and mixed, those of others
  // may not. 32 hexadecimal digits, a hash (XXH3) of files_fingerprint, `size`, the preprocessing, `provider`,
  // `precision`, and the versions of rrn, ONNX Runtime and the provider's plugin. Not a protection against a file that
  // was made to deceive.
  std::string fingerprint;
  std::string files_fingerprint;  // see FilesFingerprint
};

// Identifies a model's contents: 32 hexadecimal digits, a hash (XXH3) of the bytes of the ONNX file and of the files
// that it names as the place of its weights (external data). The same on every machine and under every name. Takes as
// long as reading the files: about 10 ms for 45 MB that the system has in memory.
// Errors: kUnreadable; the message does not repeat the path.
Result<std::string> FilesFingerprint(const std::string& model);

// How a model wants its input, as the ONNX file's metadata `rrn.preprocessing` says it.
struct ModelInput {
  int size = 224;  // side of the square that images are resized to, in pixels
  Preprocessing preprocessing;
};

// Reads `rrn.preprocessing`, a JSON object; empty text means the defaults, as a missing field does. Fields:
//   resize    "bilinear antialiased, aspect ratio not kept"
//   size      a whole number
//   channels  "RGB" or "BGR": the order of the network's channels
//   layout    "NCHW"
//   scale     what pixels from 0 to 255 are multiplied by: "1/255", another "1/N", or a number above 0
//   mean, std three numbers, in the order of `channels`; (pixel * scale - mean) / std is the network's input
//   comment, description   anything
// All others are refused, because they may say something about pixels that would not be done.
// Errors: kUnsupported, naming the field, what was expected and what was found.
Result<ModelInput> ParseModelInput(const std::string& text);

// A file that gave no embedding, and why (one line).
struct SkippedFile {
  std::string path;
  std::string reason;
  // Of DecodeImage, ReadImage or the listing. kUnsupported and kCorrupt are about the bytes of the file, and so stay as
  // long as those; the others may pass.
  StatusCode code = StatusCode::kUnreadable;
};

// Orders by the bytes of the path.
inline bool operator<(const SkippedFile& a, const SkippedFile& b) { return a.path < b.path; }

// The embeddings of a list of files.
struct FileEmbeddings {
  std::vector<float> rows;           // [read.size(), dim], raw (not normalized)
  std::vector<std::size_t> read;     // positions in the list that was asked for, ascending
  std::vector<SkippedFile> skipped;  // all others, in the order of the list
};

// The content of a picture's file in memory that the caller owns and keeps alive.
struct EncodedImage {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
};

// What else is done with the pixels of files that are embedded, so that a file is decoded once.
struct PixelUse {
  // Receives a picture right after it was decoded: its position in the list, the pixels (at a fraction of their number
  // where DecodeOptions::target allows that) and the file. Called for every file that was decoded, from several threads
  // at the same time; the picture is gone afterwards.
  std::function<void(std::size_t index, const Image& image, const FileProperties& file)> see;
  // Decode at full size, as EmbedderOptions::full_decode.
  bool full_size = false;
};

// A model, loaded and ready. Movable. Its const functions may be called from several threads at the same time.
class Embedder {
 public:
  // Errors: kInvalidArgument (an option out of range, or a precision that the provider never has), kNotFound (no such
  // file), kUnreadable, kUnsupported (the provider is not installed, this machine lacks the precision, or the model
  // wants its input in a way that ParseModelInput refuses), kRuntime (ONNX Runtime refuses the file, or its input and
  // outputs are not as described above).
  static Result<Embedder> Create(const EmbedderOptions& options);

  // After a move the source may only be assigned to or destroyed.
  Embedder(Embedder&& other) noexcept;
  Embedder& operator=(Embedder&& other) noexcept;
  ~Embedder();

  // What was loaded, and who computes it.
  const ModelInfo& info() const;

  // How files are decoded; embeddings depend on it. `target` is 0 for EmbedderOptions::full_decode.
  const DecodeOptions& decode() const;

  // Embeds files; unreadable ones are skipped with a reason. Memory: rows, plus `batch` inputs and one decoded picture
  // for each thread, whatever the number of files.
  //   progress: called after every file, never concurrently; `done` grows with every finished batch.
  //   use: what else needs the pixels.
  // Errors: kCancelled, kRuntime.
  Result<FileEmbeddings> EmbedFiles(const std::vector<std::string>& paths, const Progress& progress = {},
                                    const PixelUse& use = {}) const;

  // Embeds the contents of files, as EmbedFiles does; nothing is copied before it is decoded.
  //   rows: where each embedding goes, float32 [dim], owned by the caller; as many as `images`, none of them null. The
  //       row of a picture that failed has no defined value.
  //   threads: worker threads of this call; 0: as EmbedderOptions::threads says.
  // Returns a status a picture, so that one bad picture fails alone; its errors are those of DecodeImage and kRuntime.
  // Errors: kInvalidArgument (as many rows as images are needed), kCancelled, kRuntime.
  Result<std::vector<Status>> EmbedEncoded(const std::vector<EncodedImage>& images, const std::vector<float*>& rows,
                                           const Progress& progress = {}, int threads = 0) const;

  // Embeds pictures in memory: [images.size(), dim].
  // Errors: kInvalidArgument (an empty picture), kCancelled, kRuntime.
  Result<std::vector<float>> EmbedImages(const std::vector<ImageView>& images, const Progress& progress = {}) const;

  // The network's input for one picture: float32 [3, size, size] to `output`.
  Status Preprocess(const ImageView& image, float* output) const;

 private:
  struct State;
  explicit Embedder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Where the program's own files are: beside the executable (../models, ../lib), as in a build tree or an install tree.
// Empty if the file is not there.
std::string DefaultModelPath();
std::string DefaultOpLibraryPath();

}  // namespace rrn

#endif  // RRN_EMBEDDER_H_
