#include "rrn/embedder.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "engine/embedder_model.h"
#include "engine/provider.h"

namespace rrn {

struct Embedder::State {
  std::unique_ptr<internal::EmbedderModel> model;
  std::size_t batch = 1;
  int threads = 0;
  DecodeOptions decode;
};

namespace {

using internal::EmbedderModel;

// Writes the network input of item `index`, or says why it is missing.
using LoadInput = std::function<Status(std::size_t index, float* input)>;
// Where the embedding of item `index` goes: [dim].
using RowOf = std::function<float*(std::size_t index)>;

// Rows one after the other.
RowOf InMatrix(float* rows, std::size_t dim) {
  return [rows, dim](std::size_t index) { return rows + index * dim; };
}

// Fills rows: workers claim chunks of items, decode each item into its place in the batch, then run the network on the
// batch themselves. So decoding and inference overlap at every ratio of their costs, and memory is one batch for each
// worker.
class Pipeline {
 public:
  Pipeline(const EmbedderModel& model, std::size_t batch, int threads, std::size_t count, LoadInput load,
           const Progress& progress)
      : model_(model),
        threads_(ThreadCount(threads, count)),
        batch_(batch),
        count_(count),
        load_(std::move(load)),
        progress_(progress),
        failures_(count) {}

  // An item that failed has no defined row; its failure is in failures().
  Status Run(const RowOf& row_of) {
    Status status = RunOnThreads(
        threads_, [this, &row_of] { Work(row_of); }, [this] { stop_ = true; });
    return status.ok() ? error_ : status;
  }

  const std::vector<Status>& failures() const { return failures_; }

 private:
  void Work(const RowOf& row_of) {
    const auto side = static_cast<std::size_t>(model_.info().size);
    const std::size_t most = ChunkSize(0);
    std::vector<float> input(most * 3 * side * side);
    std::vector<float> output(most * static_cast<std::size_t>(model_.info().dim));
    while (!stop_) {
      std::size_t begin = next_;
      while (begin < count_ && !next_.compare_exchange_weak(begin, begin + ChunkSize(begin))) {
      }
      if (begin >= count_) return;
      const std::size_t end = begin + ChunkSize(begin);
      Status status = RunChunk(begin, end, &input, &output, row_of);
      if (!status.ok()) return Stop(std::move(status));
      Report(end - begin);
    }
  }

  // How many items a worker takes when `begin` are taken: full batches at first, halves of halves towards the end, so
  // that the workers finish together.
  std::size_t ChunkSize(std::size_t begin) const {
    const std::size_t share = (count_ - begin) / (2 * threads_);
    std::size_t size = batch_;
    while (size > 1 && size > share) size /= 2;
    return std::min(size, count_ - begin);
  }

  Status RunChunk(std::size_t begin, std::size_t end, std::vector<float>* input, std::vector<float>* output,
                  const RowOf& row_of) {
    const auto side = static_cast<std::size_t>(model_.info().size);
    const std::size_t input_size = 3 * side * side;
    const auto dim = static_cast<std::size_t>(model_.info().dim);
    std::vector<std::size_t> loaded;
    for (std::size_t i = begin; i < end && !stop_; ++i) {
      failures_[i] = Load(i, input->data() + loaded.size() * input_size);
      if (failures_[i].ok()) loaded.push_back(i);
      Report(0);  // a chance to cancel
    }
    if (loaded.empty() || stop_) return {};
    Status status = model_.Run(input->data(), loaded.size(), output->data());
    if (!status.ok()) return status;
    for (std::size_t slot = 0; slot < loaded.size(); ++slot) {
      const float* row = output->data() + slot * dim;
      if (std::all_of(row, row + dim, [](float v) { return std::isfinite(v); })) {
        std::copy_n(row, dim, row_of(loaded[slot]));
      } else {
        failures_[loaded[slot]] = {StatusCode::kRuntime, "the model's embedding is not finite"};
      }
    }
    return {};
  }

  // One picture too big for the memory must not end the job.
  Status Load(std::size_t index, float* input) const {
    try {
      return load_(index, input);
    } catch (const std::bad_alloc&) {
      return {StatusCode::kTooLarge, "not enough memory to decode it"};
    }
  }

  void Report(std::size_t items) {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ += items;
    if (stop_ || !progress_ || progress_(done_, count_)) return;
    error_ = {StatusCode::kCancelled, "cancelled"};
    stop_ = true;
  }

  void Stop(Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!stop_) error_ = std::move(status);
    stop_ = true;
  }

  const EmbedderModel& model_;
  const std::size_t threads_;
  const std::size_t batch_;
  const std::size_t count_;
  const LoadInput load_;
  const Progress& progress_;
  std::atomic<std::size_t> next_ = 0;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::size_t done_ = 0;
  Status error_;
  std::vector<Status> failures_;
};

Status CheckOptions(const EmbedderOptions& options) {
  const auto range = [](const char* name, int value, int low, int high) {
    return Status(StatusCode::kInvalidArgument, std::string(name) + " is " + std::to_string(value) + ", expected " +
                                                    std::to_string(low) + " ... " + std::to_string(high));
  };
  if (options.size != 0 && (options.size < kMinImageSize || options.size > kMaxImageSize)) {
    return range("size", options.size, kMinImageSize, kMaxImageSize);
  }
  if (options.batch < 1 || options.batch > kMaxBatch) return range("batch", options.batch, 1, kMaxBatch);
  if (options.threads < 0 || options.threads > kMaxThreads) return range("threads", options.threads, 0, kMaxThreads);
  if (options.threads_per_call < 1 || options.threads_per_call > kMaxThreads) {
    return range("threads_per_call", options.threads_per_call, 1, kMaxThreads);
  }
  return internal::ChoicesFor(options).status();
}

}  // namespace

Embedder::Embedder(std::unique_ptr<State> state) : state_(std::move(state)) {}
Embedder::Embedder(Embedder&& other) noexcept = default;
Embedder& Embedder::operator=(Embedder&& other) noexcept = default;
Embedder::~Embedder() = default;

Result<Embedder> Embedder::Create(const EmbedderOptions& options) {
  Status status = CheckOptions(options);
  if (!status.ok()) return status;
  EmbedderOptions resolved = options;
  if (resolved.model.empty()) {
    resolved.model = DefaultModelPath();
    if (resolved.model.empty()) {
      return Status(StatusCode::kNotFound,
                    "no default model beside this program (looked for models/reduction_resnet18.onnx); name one");
    }
  }
  for (const std::string& file : {resolved.model, resolved.op_library}) {
    std::error_code error;
    if (!file.empty() && !std::filesystem::is_regular_file(file, error)) {
      return Status(StatusCode::kNotFound, file + ": no such file");
    }
  }
  Result<std::unique_ptr<EmbedderModel>> model = EmbedderModel::Open(resolved);
  if (!model.ok()) return model.status();
  auto state = std::make_unique<State>();
  state->model = *std::move(model);
  state->batch = std::min(static_cast<std::size_t>(options.batch), state->model->max_batch());
  state->threads = options.threads;
  state->decode = options.decode;
  state->decode.target = options.full_decode ? 0 : state->model->info().size;
  return Embedder(std::move(state));
}

const ModelInfo& Embedder::info() const { return state_->model->info(); }
const DecodeOptions& Embedder::decode() const { return state_->decode; }

Status Embedder::Preprocess(const ImageView& image, float* output) const {
  return PreprocessImage(image, info().size, state_->model->preprocessing(), output);
}

Result<FileEmbeddings> Embedder::EmbedFiles(const std::vector<std::string>& paths, const Progress& progress,
                                            const PixelUse& use) const {
  const auto dim = static_cast<std::size_t>(info().dim);
  FileEmbeddings result;
  result.rows.resize(paths.size() * dim);
  DecodeOptions decode = state_->decode;
  if (use.full_size) decode.target = 0;
  const auto load = [&](std::size_t i, float* input) -> Status {
    FileProperties file;
    const Result<Image> image = ReadImage(paths[i], decode, &file);
    if (!image.ok()) return image.status();
    if (use.see) use.see(i, *image, file);
    return Preprocess({image->rgb.data(), image->width, image->height}, input);
  };
  Pipeline pipeline(*state_->model, state_->batch, state_->threads, paths.size(), load, progress);
  Status status = pipeline.Run(InMatrix(result.rows.data(), dim));
  if (!status.ok()) return status;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const Status& failure = pipeline.failures()[i];
    if (!failure.ok()) {
      result.skipped.push_back({paths[i], failure.message(), failure.code()});
      continue;
    }
    // Close the gaps that skipped files left.
    const std::size_t to = result.read.size();
    if (to != i) std::copy_n(result.rows.data() + i * dim, dim, result.rows.data() + to * dim);
    result.read.push_back(i);
  }
  result.rows.resize(result.read.size() * dim);
  return result;
}

Result<std::vector<Status>> Embedder::EmbedEncoded(const std::vector<EncodedImage>& images,
                                                   const std::vector<float*>& rows, const Progress& progress,
                                                   int threads) const {
  if (rows.size() != images.size()) {
    return Status(StatusCode::kInvalidArgument, std::to_string(images.size()) + " pictures and " +
                                                    std::to_string(rows.size()) + " rows, expected as many");
  }
  const auto load = [&](std::size_t i, float* input) -> Status {
    const Result<Image> image = DecodeImage(images[i].data, images[i].size, state_->decode);
    if (!image.ok()) return image.status();
    return Preprocess({image->rgb.data(), image->width, image->height}, input);
  };
  Pipeline pipeline(*state_->model, state_->batch, threads == 0 ? state_->threads : threads, images.size(), load,
                    progress);
  Status status = pipeline.Run([&](std::size_t i) { return rows[i]; });
  if (!status.ok()) return status;
  return pipeline.failures();
}

Result<std::vector<float>> Embedder::EmbedImages(const std::vector<ImageView>& images, const Progress& progress) const {
  const auto dim = static_cast<std::size_t>(info().dim);
  std::vector<float> rows(images.size() * dim);
  const auto load = [&](std::size_t i, float* input) { return Preprocess(images[i], input); };
  Pipeline pipeline(*state_->model, state_->batch, state_->threads, images.size(), load, progress);
  Status status = pipeline.Run(InMatrix(rows.data(), dim));
  if (!status.ok()) return status;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const Status& failure = pipeline.failures()[i];
    if (!failure.ok()) return Status(failure.code(), "image " + std::to_string(i) + ": " + failure.message());
  }
  return rows;
}

}  // namespace rrn
