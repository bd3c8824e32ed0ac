#include "rrn/detector.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "engine/open_first.h"
#include "engine/provider.h"
#include "engine/session.h"

namespace rrn {

struct Detector::State {
  std::unique_ptr<internal::Session> session;
  DetectorInfo info;
  InputLayout layout;
  Preprocessing pixels;
  std::size_t max_boxes = 0;
};

namespace {

using internal::Array;
using internal::ElementType;
using Clock = std::chrono::steady_clock;

constexpr const char* kBoxes = "boxes";
constexpr const char* kScores = "scores";
constexpr int kMaxInputSide = 4096;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Status CheckOptions(const DetectorOptions& options) {
  const auto wrong = [](const std::string& name, const std::string& value, const std::string& expected) {
    return Status(StatusCode::kInvalidArgument, name + " is " + value + ", expected " + expected);
  };
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return wrong("threads", std::to_string(options.threads), "0 ... " + std::to_string(kMaxThreads));
  }
  if (options.max_boxes < 1 || options.max_boxes > kMaxBoxes) {
    return wrong("max_boxes", std::to_string(options.max_boxes), "1 ... " + std::to_string(kMaxBoxes));
  }
  // Written so that NaN is refused.
  if (!(options.score <= 1)) return wrong("score", std::to_string(options.score), "0 ... 1");
  if (!(options.iou <= 1)) return wrong("iou", std::to_string(options.iou), "0 ... 1");
  return {};
}

// The choices are those of an embedder.
EmbedderOptions ForChoices(const DetectorOptions& options) {
  EmbedderOptions wanted;
  wanted.model = options.model;
  wanted.provider = options.provider;
  wanted.precision = options.precision;
  return wanted;
}

// Is the input one picture of a fixed size? Takes the size.
Status ReadInputSize(const internal::Session& session, InputLayout* layout) {
  const auto& inputs = session.inputs();
  if (inputs.size() != 1 || inputs[0].shape.size() != 4) {
    return {StatusCode::kRuntime, "expected a detector with one input [1, 3, H, W]"};
  }
  const auto& shape = inputs[0].shape;
  const bool floats = inputs[0].element == ElementType::kFloat32 || inputs[0].element == ElementType::kFloat16;
  const auto side = [](std::int64_t length) { return length >= 1 && length <= kMaxInputSide; };
  if (!floats || shape[0] > 1 || (shape[1] != 3 && shape[1] >= 0) || !side(shape[2]) || !side(shape[3])) {
    return {StatusCode::kRuntime,
            "expected an input of float32 or float16 [1, 3, H, W] with fixed H and W of at most " +
                std::to_string(kMaxInputSide)};
  }
  layout->height = static_cast<int>(shape[2]);
  layout->width = static_cast<int>(shape[3]);
  return {};
}

// Boxes of the network's input become boxes of the picture, and stay inside it.
class ToPicture {
 public:
  ToPicture(const ImageView& image, const InputLayout& layout)
      : place_(PlaceImage(image.width, image.height, layout)),
        width_(static_cast<float>(image.width)),
        height_(static_cast<float>(image.height)) {}

  Box operator()(const float* corners, float score) const {
    return {X(corners[0]), Y(corners[1]), X(corners[2]), Y(corners[3]), std::min(score, 1.0F)};
  }

 private:
  float X(float x) const { return Inside(x, place_.x, place_.width, width_); }
  float Y(float y) const { return Inside(y, place_.y, place_.height, height_); }
  static float Inside(float position, int offset, int length, float side) {
    return std::clamp((position - static_cast<float>(offset)) * side / static_cast<float>(length), 0.0F, side);
  }

  Placement place_;
  float width_;
  float height_;
};

bool AllFinite(const float* corners) {
  return std::all_of(corners, corners + 4, [](float value) { return std::isfinite(value); });
}

// How many boxes there are; negative where the outputs are something else.
std::int64_t CountBoxes(const Array& boxes, const Array& scores) {
  const bool right = boxes.element == ElementType::kFloat32 && scores.element == ElementType::kFloat32 &&
                     boxes.shape.size() == 3 && boxes.shape[0] == 1 && boxes.shape[2] == 4 &&
                     scores.shape == std::vector<std::int64_t>{1, boxes.shape[1]};
  return right ? boxes.shape[1] : -1;
}

}  // namespace

Detector::Detector(std::unique_ptr<State> state) : state_(std::move(state)) {}
Detector::Detector(Detector&& other) noexcept = default;
Detector& Detector::operator=(Detector&& other) noexcept = default;
Detector::~Detector() = default;

Result<Detector> Detector::Create(const DetectorOptions& options) {
  Status status = CheckOptions(options);
  if (!status.ok()) return status;
  const EmbedderOptions wanted = ForChoices(options);
  const auto choices = internal::ChoicesFor(wanted);
  if (!choices.ok()) return choices.status();
  const std::string file = internal::ModelFileFor(options.model, choices->back().precision);
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) return Status(StatusCode::kNotFound, file + ": no such file");

  auto state = std::make_unique<State>();
  const auto open = [&](const internal::Choice& choice) {
    internal::SessionSettings settings;
    settings.model = file;
    settings.choice = choice;
    settings.threads_per_run = static_cast<int>(ThreadCount(options.threads, std::numeric_limits<std::size_t>::max()));
    settings.cache = options.cache;
    settings.fingerprint = [&file] {
      const Result<std::string> fingerprint = FilesFingerprint(file);
      return fingerprint.ok() ? *fingerprint : std::string();
    };
    state->info.provider = choice.provider;
    state->info.precision = choice.precision;
    return internal::Session::Open(settings);
  };
  auto session = internal::OpenFirst<internal::Session>(wanted, *choices, open, &state->info.note);
  if (!session.ok()) return session.status();
  state->session = *std::move(session);

  const auto name_it = [&file](const Status& problem) {
    return Status(problem.code(), file + ": " + problem.message());
  };
  const Result<DetectorInput> input = ParseDetectorInput(state->session->Metadata("rrn.detector"));
  if (!input.ok()) return name_it(input.status());
  state->layout = input->layout;
  state->pixels = input->pixels;
  state->max_boxes = static_cast<std::size_t>(options.max_boxes);
  status = ReadInputSize(*state->session, &state->layout);
  if (!status.ok()) return name_it(status);
  DetectorInfo& info = state->info;
  info.name = input->name;
  info.file = std::filesystem::path(file).filename().string();
  info.width = state->layout.width;
  info.height = state->layout.height;
  info.score = options.score < 0 ? input->score : options.score;
  info.model_score = input->score;
  info.iou = options.iou < 0 ? input->iou : options.iou;

  // The first run of a session is slow, and shows whether it is a detector.
  Detector detector(std::move(state));
  const std::vector<std::uint8_t> grey(3, 127);
  const Result<BoxesOfImage> tried = detector.Detect({grey.data(), 1, 1});
  if (!tried.ok()) return name_it(tried.status());
  return detector;
}

const DetectorInfo& Detector::info() const { return state_->info; }

Result<BoxesOfImage> Detector::Detect(const ImageView& image) const {
  const State& state = *state_;
  BoxesOfImage result;
  Clock::time_point start = Clock::now();
  const auto pixels = static_cast<std::size_t>(state.layout.width) * static_cast<std::size_t>(state.layout.height);
  std::vector<float> input(3 * pixels);
  Status status = PreprocessImage(image, state.layout, state.pixels, input.data());
  if (!status.ok()) return status;
  result.preprocess_seconds = SecondsSince(start);

  start = Clock::now();
  const std::vector<std::int64_t> shape = {1, 3, state.layout.height, state.layout.width};
  const auto outputs = state.session->Run({{state.session->inputs()[0].name, shape, input.data()}}, {kBoxes, kScores});
  if (!outputs.ok()) return outputs.status();
  const Array& boxes = (*outputs)[0];
  const Array& scores = (*outputs)[1];
  const std::int64_t count = CountBoxes(boxes, scores);
  if (count < 0) {
    return Status(StatusCode::kRuntime, "expected the outputs boxes, float32 [1, K, 4], and scores, float32 [1, K]");
  }
  const ToPicture to_picture(image, state.layout);
  std::vector<Box> candidates;
  for (std::int64_t i = 0; i < count; ++i) {
    const float score = scores.floats()[i];
    const float* corners = boxes.floats() + i * 4;
    if (score >= state.info.score && AllFinite(corners)) candidates.push_back(to_picture(corners, score));
  }
  result.boxes = SuppressOverlaps(std::move(candidates), state.info.iou, state.max_boxes);
  result.detect_seconds = SecondsSince(start);
  return result;
}

}  // namespace rrn
