// What a model's metadata says about its input is done, or refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "rrn/embedder.h"
#include "testing/onnx_file.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

using test_support::MeanColourModel;
using test_support::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;

constexpr const char* kFull =
    R"({"resize": "bilinear antialiased, aspect ratio not kept", "size": 160, "channels": "RGB", "layout": "NCHW",
        "scale": "1/255", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "comment": ["anything"]})";

TEST(ModelInputTest, ReadsAllFields) {
  const Result<ModelInput> full = ParseModelInput(kFull);
  ASSERT_TRUE(full.ok()) << full.status().message();
  EXPECT_EQ(full->size, 160);
  EXPECT_THAT(full->preprocessing.mean, ElementsAre(0.1F, 0.2F, 0.3F));
  EXPECT_THAT(full->preprocessing.stddev, ElementsAre(0.4F, 0.5F, 0.6F));
  EXPECT_EQ(full->preprocessing.divisor, 255.0F);
  EXPECT_FALSE(full->preprocessing.bgr);
  for (const char* nothing : {"", "{}"}) {
    const Result<ModelInput> defaults = ParseModelInput(nothing);
    ASSERT_TRUE(defaults.ok());
    EXPECT_EQ(defaults->size, 224);
    EXPECT_THAT(defaults->preprocessing.mean, ElementsAre(0.485F, 0.456F, 0.406F));
  }
  EXPECT_TRUE(ParseModelInput(R"({"channels": "BGR"})")->preprocessing.bgr);
}

TEST(ModelInputTest, ReadsScales) {
  for (const auto& [scale, divisor] : {std::pair{R"("1/255")", 255.0F},
                                       {"0.00392156862745098", 255.0F},
                                       {"1", 1.0F},
                                       {R"("1/1")", 1.0F},
                                       {R"("1/127.5")", 127.5F},
                                       {"2.0", 0.5F}}) {
    const Result<ModelInput> input = ParseModelInput(std::string(R"({"scale": )") + scale + "}");
    ASSERT_TRUE(input.ok()) << input.status().message();
    EXPECT_EQ(input->preprocessing.divisor, divisor) << scale;
  }
}

TEST(ModelInputTest, RefusesTheRestWithExpectedAndGot) {
  for (const auto& [text, got, expected] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {R"({"channels": "GRAY"})", R"(channels "GRAY")", R"(expected "RGB" or "BGR")"},
           {R"({"channels": 3})", "channels 3", R"(expected "RGB" or "BGR")"},
           {R"({"layout": "NHWC"})", R"(layout "NHWC")", R"(expected "NCHW")"},
           {R"({"resize": "bicubic"})", R"(resize "bicubic")", R"(expected "bilinear antialiased, aspect)"},
           {R"({"resize": null})", "resize null", "expected"},
           {R"({"scale": "1/0"})", R"(scale "1/0")", R"("1/255")"},
           {R"({"scale": "-1"})", R"(scale "-1")", R"("1/255")"},
           {R"({"scale": 0})", "scale 0", "above 0"},
           {R"({"scale": 1e-60})", "scale 1e-60", "above 0"},
           {R"({"scale": -1})", "scale -1", "above 0"},
           {R"({"mean": 0.5})", "mean 0.5", "three numbers"},
           {R"({"mean": [0, 0]})", "mean [0,0]", "three numbers"},
           {R"({"mean": [0, 0, "0"]})", "mean [0,0,\"0\"]", "three numbers"},
           {R"({"mean": [0, 0, 1e300]})", "mean [0,0,1e+300]", "three numbers"},
           {R"({"std": [1, 0, 1]})", "standard deviation (std) of 0 in [1,0,1]", "expected"},
           {R"({"size": "large"})", R"(size "large")", "whole number"},
           {R"({"size": 224.5})", "size 224.5", "whole number"},
           {R"({"size": [224, 224]})", "size [224,224]", "whole number"},
           {R"({"crop": 0.875})", R"(a field "crop")", "expected none but resize"},
           {R"({"a\nb": 0})", R"(a field "a\nb")", "expected none but resize"},
           {"[]", "not a JSON object", ""},
           {"{", "not a JSON object", ""}}) {
    const Status status = ParseModelInput(text).status();
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << text;
    EXPECT_THAT(status.message(), HasSubstr(got)) << text;
    EXPECT_THAT(status.message(), HasSubstr(expected)) << text;
    EXPECT_EQ(status.message().find('\n'), std::string::npos) << text;
  }
}

// The embedding of a picture of one colour, (200, 100, 50), by a model whose embedding is the mean of its input.
Result<std::vector<float>> EmbedColour(const std::string& metadata, int type = 1) {
  const TemporaryFolder folder;
  EmbedderOptions options;
  options.model = folder.Write("m.onnx", MeanColourModel(metadata, "", type));
  options.size = 32;
  const Result<Embedder> embedder = Embedder::Create(options);
  if (!embedder.ok()) return embedder.status();
  std::vector<std::uint8_t> rgb;
  for (int i = 0; i < 6 * 5; ++i) rgb.insert(rgb.end(), {200, 100, 50});
  return embedder->EmbedImages({{rgb.data(), 6, 5}});
}

TEST(ModelInputTest, EmbeddingsFollowTheMetadata) {
  using Row = std::vector<float>;
  for (const auto& [metadata, expected] : std::vector<std::pair<std::string, Row>>{
           {R"({"mean": [0, 0, 0], "std": [1, 1, 1]})", {200 / 255.0F, 100 / 255.0F, 50 / 255.0F}},
           {R"({"mean": [0, 0, 0], "std": [1, 1, 1], "channels": "BGR"})", {50 / 255.0F, 100 / 255.0F, 200 / 255.0F}},
           {R"({"mean": [0, 0, 0], "std": [1, 1, 1], "scale": 1})", {200, 100, 50}},
           {R"({"mean": [104, 117, 124], "std": [1, 2, 4], "scale": 1, "channels": "BGR"})", {-54, -8.5F, 19}},
           {R"({"mean": [1, 1, 1], "std": [1, 1, 1], "scale": "1/127.5"})",
            {200 / 127.5F - 1, 100 / 127.5F - 1, 50 / 127.5F - 1}}}) {
    const Result<Row> rows = EmbedColour(metadata);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    ASSERT_EQ(rows->size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR((*rows)[i], expected[i], 1e-5F * 255) << metadata;
  }
  const Status refused = EmbedColour(R"({"layout": "NHWC"})").status();
  EXPECT_EQ(refused.code(), StatusCode::kUnsupported);
  EXPECT_THAT(refused.message(), HasSubstr("m.onnx: its metadata rrn.preprocessing has layout"));
}

TEST(ModelInputTest, Float16ModelsAreEmbedders) {
  constexpr int kFloat16 = 10;
  const Result<std::vector<float>> rows = EmbedColour(R"({"mean": [0, 0, 0], "std": [1, 1, 1], "scale": 1})", kFloat16);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_THAT(*rows, ElementsAre(FloatEq(200), FloatEq(100), FloatEq(50)));
}

}  // namespace
}  // namespace rrn
