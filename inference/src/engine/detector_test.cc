#include "rrn/detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace rrn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> Scores(const std::vector<Box>& boxes) {
  std::vector<float> scores;
  scores.reserve(boxes.size());
  for (const Box& box : boxes) scores.push_back(box.score);
  return scores;
}

TEST(SuppressOverlaps, KeepsTheBestOfEachObject) {
  // The second overlaps the first by 8 of 12 units, the third touches it, the fourth is the first once more.
  const std::vector<Box> boxes = {
      {0, 0, 10, 10, 0.5F}, {2, 0, 12, 10, 0.9F}, {12, 0, 20, 10, 0.7F}, {0, 0, 10, 10, 0.6F}};
  EXPECT_THAT(Scores(SuppressOverlaps(boxes, 0.5F, 10)), ElementsAre(0.9F, 0.7F));
  EXPECT_THAT(Scores(SuppressOverlaps(boxes, 0.67F, 10)), ElementsAre(0.9F, 0.7F, 0.6F));
  EXPECT_THAT(Scores(SuppressOverlaps(boxes, 1, 10)), ElementsAre(0.9F, 0.7F, 0.6F, 0.5F));
  EXPECT_THAT(Scores(SuppressOverlaps(boxes, 1, 2)), ElementsAre(0.9F, 0.7F));
}

TEST(SuppressOverlaps, EqualScoresStayInTheirOrder) {
  const std::vector<Box> kept = SuppressOverlaps({{5, 0, 9, 4, 0.5F}, {0, 0, 4, 4, 0.5F}}, 0.5F, 10);
  ASSERT_THAT(kept, SizeIs(2));
  EXPECT_EQ(kept[0].left, 5);
}

TEST(SuppressOverlaps, LeavesOutBoxesWithoutAnArea) {
  EXPECT_THAT(SuppressOverlaps({{3, 0, 3, 9, 0.9F}, {4, 0, 2, 9, 0.9F}, {0, kNan, 3, 9, 0.9F}}, 1, 10), IsEmpty());
  EXPECT_THAT(SuppressOverlaps({}, 0.5F, 10), IsEmpty());
}

TEST(PlaceImage, LetterboxKeepsTheProportions) {
  const InputLayout layout = {416, 416, true, {}};
  const Placement wide = PlaceImage(427, 240, layout);
  EXPECT_THAT((std::array{wide.x, wide.y, wide.width, wide.height}), ElementsAre(0, 91, 416, 234));
  const Placement thin = PlaceImage(1, 20'000, layout);
  EXPECT_THAT((std::array{thin.x, thin.y, thin.width, thin.height}), ElementsAre(207, 0, 1, 416));
  const Placement stretched = PlaceImage(427, 240, {300, 200, false, {}});
  EXPECT_THAT((std::array{stretched.x, stretched.y, stretched.width, stretched.height}), ElementsAre(0, 0, 300, 200));
}

TEST(PreprocessImage, LetterboxHasBarsOfTheFillColour) {
  const std::vector<std::uint8_t> red = {255, 0, 0, 255, 0, 0};
  Preprocessing pixels;
  pixels.mean = {0, 0, 0};
  pixels.stddev = {1, 1, 1};
  pixels.divisor = 1;
  pixels.bgr = true;
  std::vector<float> input(3 * 4 * 4);
  ASSERT_TRUE(PreprocessImage({red.data(), 2, 1}, {4, 4, true, {10, 20, 30}}, pixels, input.data()).ok());
  // Planes are blue, green, red; the picture is two rows in the middle.
  for (std::size_t row = 0; row < 4; ++row) {
    const bool bar = row == 0 || row == 3;
    EXPECT_EQ(input[row * 4], bar ? 30 : 0);
    EXPECT_EQ(input[16 + row * 4 + 3], bar ? 20 : 0);
    EXPECT_EQ(input[32 + row * 4 + 1], bar ? 10 : 255);
  }
}

TEST(ParseDetectorInput, ReadsEveryField) {
  const Result<DetectorInput> input = ParseDetectorInput(
      R"({"version": 1, "name": "fast", "resize": "letterbox", "fill": [1, 2, 3], "channels": "BGR", "scale": "1/2",
          "mean": [1, 2, 3], "std": [4, 5, 6], "nms": 0.6, "score": 0.25, "comment": "x"})");
  ASSERT_TRUE(input.ok()) << input.status().message();
  EXPECT_EQ(input->name, "fast");
  EXPECT_TRUE(input->layout.letterbox);
  EXPECT_THAT(input->layout.fill, ElementsAre(1, 2, 3));
  EXPECT_TRUE(input->pixels.bgr);
  EXPECT_EQ(input->pixels.divisor, 2);
  EXPECT_THAT(input->pixels.mean, ElementsAre(1, 2, 3));
  EXPECT_THAT(input->pixels.stddev, ElementsAre(4, 5, 6));
  EXPECT_FLOAT_EQ(input->iou, 0.6F);
  EXPECT_FLOAT_EQ(input->score, 0.25F);
}

TEST(ParseDetectorInput, WithoutMoreItIsPixelsFromZeroToOne) {
  const Result<DetectorInput> input = ParseDetectorInput(R"({"version": 1, "nms": null})");
  ASSERT_TRUE(input.ok()) << input.status().message();
  EXPECT_FALSE(input->layout.letterbox);
  EXPECT_EQ(input->pixels.divisor, 255);
  EXPECT_THAT(input->pixels.mean, ElementsAre(0, 0, 0));
  EXPECT_THAT(input->pixels.stddev, ElementsAre(1, 1, 1));
  EXPECT_EQ(input->iou, 1);
}

TEST(ParseDetectorInput, NamesWhatIsWrong) {
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"", "no metadata rrn.detector"},
           {"[1]", "not a JSON object"},
           {"{", "not a JSON object"},
           {"{}", "no version"},
           {R"({"version": 2})", "version 2, expected 1"},
           {R"({"version": 1, "name": 3})", "name 3"},
           {R"({"version": 1, "resize": "crop"})", "\"stretch\" or \"letterbox\""},
           {R"({"version": 1, "fill": [0, 0, 256]})", "from 0 to 255"},
           {R"({"version": 1, "fill": [0, 0]})", "from 0 to 255"},
           {R"({"version": 1, "fill": [0, 0, 0.5]})", "from 0 to 255"},
           {R"({"version": 1, "nms": 1.5})", "from 0 to 1, or null"},
           {R"({"version": 1, "score": -0.1})", "from 0 to 1"},
           {R"({"version": 1, "mean": [0, 0]})", "three numbers"},
           {R"({"version": 1, "std": [0, 1, 1]})", "a standard deviation (std) of 0"},
           {R"({"version": 1, "classes": 80})", "a field \"classes\""}}) {
    const Result<DetectorInput> input = ParseDetectorInput(text);
    EXPECT_EQ(input.status().code(), StatusCode::kUnsupported) << text;
    EXPECT_THAT(input.status().message(), HasSubstr(message));
  }
}

TEST(DetectorTest, RefusesWrongOptions) {
  DetectorOptions options;
  options.model = RRN_MODEL;
  const auto code = [](const DetectorOptions& wrong) { return Detector::Create(wrong).status().code(); };
  const auto with = [&options](auto member, auto value) {
    DetectorOptions wrong = options;
    wrong.*member = value;
    return wrong;
  };
  EXPECT_EQ(code(with(&DetectorOptions::threads, -1)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(with(&DetectorOptions::max_boxes, 0)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(with(&DetectorOptions::max_boxes, kMaxBoxes + 1)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(with(&DetectorOptions::score, 1.5F)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(with(&DetectorOptions::score, kNan)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(with(&DetectorOptions::iou, kNan)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(with(&DetectorOptions::provider, "tpu")), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(with(&DetectorOptions::model, "no/such.onnx")), StatusCode::kNotFound);
}

TEST(DetectorTest, AnEmbeddersModelIsNoDetector) {
  DetectorOptions options;
  options.model = RRN_MODEL;
  const Result<Detector> detector = Detector::Create(options);
  EXPECT_THAT(detector.status().message(), HasSubstr(RRN_MODEL));
}

}  // namespace
}  // namespace rrn
