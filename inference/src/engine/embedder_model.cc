#include "engine/embedder_model.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <future>
#include <limits>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "engine/fingerprint.h"
#include "engine/open_first.h"
#include "engine/provider.h"

namespace rrn::internal {
namespace {

bool IsFloat(ElementType element) { return element == ElementType::kFloat32 || element == ElementType::kFloat16; }

}  // namespace

Status EmbedderModel::CheckInput() const {
  const auto runtime = [](const std::string& message) { return Status(StatusCode::kRuntime, message); };
  if (info_.size < kMinImageSize || info_.size > kMaxImageSize) {
    return runtime("its metadata asks for images of size " + std::to_string(info_.size) + ", expected " +
                   std::to_string(kMinImageSize) + " ... " + std::to_string(kMaxImageSize));
  }
  const std::vector<ValueInfo>& inputs = session_->inputs();
  if (inputs.size() != 1) return runtime("expected a model with one input, got " + std::to_string(inputs.size()));
  const std::vector<std::int64_t>& shape = inputs[0].shape;
  if (!IsFloat(inputs[0].element) || shape.size() != 4 || (shape[1] != 3 && shape[1] >= 0)) {
    return runtime("expected an input of float32 or float16 [N, 3, H, W]");
  }
  if (shape[0] > 1) {
    return runtime("the model takes exactly " + std::to_string(shape[0]) +
                   " images at a time; export it with a free batch size");
  }
  for (const std::size_t axis : {2U, 3U}) {
    if (shape[axis] > 0 && shape[axis] != info_.size) {
      return runtime("the model takes images of " + std::to_string(shape[3]) + " x " + std::to_string(shape[2]) +
                     " pixels, not " + std::to_string(info_.size) + " (set --size)");
    }
  }
  return {};
}

Status EmbedderModel::Check() {
  Status status = CheckInput();
  if (!status.ok()) return status;
  if (session_->inputs()[0].shape[0] == 1) max_batch_ = 1;
  const auto side = static_cast<std::size_t>(info_.size);
  const std::vector<float> black(3 * side * side);
  const Result<Array> output = RunOnce(black.data(), 1);
  if (!output.ok()) return output.status();
  const std::vector<std::int64_t>& shape = output->shape;
  if (output->element != ElementType::kFloat32 || shape.size() != 2 || shape[0] != 1 || shape[1] < 1) {
    return {StatusCode::kRuntime, "expected a first output of float32 or float16 [N, D]"};
  }
  info_.dim = static_cast<int>(shape[1]);
  return {};
}

Result<Array> EmbedderModel::RunOnce(const float* input, std::size_t count) const {
  const std::vector<std::int64_t> shape = {static_cast<std::int64_t>(count), 3, info_.size, info_.size};
  if (session_->outputs().empty()) return Status(StatusCode::kRuntime, "expected a model with an output");
  Result<std::vector<Array>> outputs =
      session_->Run({{session_->inputs()[0].name, shape, input}}, {session_->outputs()[0].name});
  if (!outputs.ok()) return outputs.status();
  return std::move((*outputs)[0]);
}

Status EmbedderModel::Run(const float* input, std::size_t count, float* output) const {
  const Result<Array> result = RunOnce(input, count);
  if (!result.ok()) return result.status();
  const std::vector<std::int64_t> expected = {static_cast<std::int64_t>(count), info_.dim};
  if (result->element != ElementType::kFloat32 || result->shape != expected) {
    return {StatusCode::kRuntime, "the model gave an output of another size than before"};
  }
  std::copy_n(result->floats(), count * static_cast<std::size_t>(info_.dim), output);
  return {};
}

// Opens one model with one choice after the other.
class EmbedderOpener {
 public:
  // files: the fingerprint of the model's files.
  EmbedderOpener(const EmbedderOptions& options, std::shared_future<Result<std::string>> files)
      : options_(options), files_(std::move(files)) {}

  // Errors: kNotFound where the provider is not installed, kUnsupported, kRuntime.
  Result<std::unique_ptr<EmbedderModel>> Open(const Choice& choice) const {
    SessionSettings settings;
    settings.model = options_.model;
    settings.op_library = options_.op_library;
    settings.choice = choice;
    settings.threads = ThreadCount(options_.threads, std::numeric_limits<std::size_t>::max());
    settings.threads_per_run = options_.threads_per_call;
    settings.cache = options_.cache;
    settings.fingerprint = [this] { return files_.get().ok() ? *files_.get() : std::string(); };
    Result<std::unique_ptr<Session>> session = Session::Open(settings);
    if (!session.ok()) return session.status();
    std::unique_ptr<EmbedderModel> model(new EmbedderModel(*std::move(session)));
    Status status = Describe(choice, model.get());
    if (status.ok()) status = model->Check();
    if (!status.ok()) return Status(status.code(), options_.model + ": " + status.message());
    return model;
  }

 private:
  Status Describe(const Choice& choice, EmbedderModel* model) const {
    const Session& session = *model->session_;
    const Result<std::string>& files = files_.get();
    if (!files.ok()) return files.status();
    Result<ModelInput> input = ParseModelInput(session.Metadata("rrn.preprocessing"));
    if (!input.ok()) return input.status();
    model->input_ = *std::move(input);
    ModelInfo& info = model->info_;
    info.file = std::filesystem::path(options_.model).filename().string();
    info.weights_origin = session.Metadata("rrn.weights.origin");
    info.weights_sha256 = session.Metadata("rrn.weights.sha256");
    info.size = options_.size > 0 ? options_.size : model->input_.size;
    info.provider = choice.provider;
    info.precision = choice.precision;
    info.custom_op = !options_.op_library.empty();
    info.files_fingerprint = *files;
    info.fingerprint = Fingerprint(FingerprintFields(*files, choice), info.size, model->preprocessing());
    return {};
  }

  const EmbedderOptions& options_;
  const std::shared_future<Result<std::string>> files_;
};

Result<std::unique_ptr<EmbedderModel>> EmbedderModel::Open(const EmbedderOptions& options) {
  const Result<std::vector<Choice>> choices = ChoicesFor(options);
  if (!choices.ok()) return choices.status();
  EmbedderOptions resolved = options;
  resolved.model = ModelFileFor(options.model, choices->back().precision);
  if (resolved.op_library.empty()) resolved.op_library = DefaultOpLibraryPath();
  std::error_code error;
  if (!std::filesystem::is_regular_file(resolved.model, error)) {
    return Status(StatusCode::kNotFound,
                  resolved.model + ": no such file" +
                      (resolved.model == options.model ? "" : "; rrn quantize makes the int8 model"));
  }
  // Hashed while ONNX Runtime loads it, where there is a second core.
  const EmbedderOpener opener(resolved, std::async(FilesFingerprint, resolved.model));
  std::string note;
  Result<std::unique_ptr<EmbedderModel>> model = OpenFirst<EmbedderModel>(
      options, *choices, [&opener](const Choice& choice) { return opener.Open(choice); }, &note);
  if (model.ok()) (*model)->info_.note = std::move(note);
  return model;
}

}  // namespace rrn::internal
