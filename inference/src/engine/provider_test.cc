#include "engine/provider.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "rrn/embedder.h"

namespace rrn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Choices(const std::string& provider, const std::string& precision,
                                 const std::string& model = "m.onnx") {
  EmbedderOptions options;
  options.model = model;
  options.provider = provider;
  options.precision = precision;
  const Result<std::vector<internal::Choice>> choices = internal::ChoicesFor(options);
  if (!choices.ok()) return {choices.status().message()};
  std::vector<std::string> texts;
  for (const internal::Choice& choice : *choices) texts.push_back(choice.provider + " " + choice.precision);
  return texts;
}

TEST(ProviderTest, ChoosesByWhatWasAskedFor) {
  EXPECT_THAT(Choices("auto", "auto"), ElementsAre("cpu fp32"));
  EXPECT_THAT(Choices("auto", "bf16"), ElementsAre("tensorrt bf16", "openvino bf16", "cpu fp32"));
  EXPECT_THAT(Choices("auto", "fp16"), ElementsAre("tensorrt fp16", "cpu fp32"));
  EXPECT_THAT(Choices("auto", "int8"), ElementsAre("tensorrt int8", "openvino int8", "cpu int8"));
  EXPECT_THAT(Choices("openvino", "auto"), ElementsAre("openvino bf16", "openvino fp32"));
  EXPECT_THAT(Choices("cpu", "auto"), ElementsAre("cpu fp32"));
  EXPECT_THAT(Choices("cpu", "auto", "m.int8.onnx"), ElementsAre("cpu int8"));
  EXPECT_THAT(Choices("cpu", "bf16"), ElementsAre(HasSubstr("does not compute in bf16")));
  EXPECT_THAT(Choices("cuda", "int8"), ElementsAre(HasSubstr("does not compute in int8")));
  EXPECT_THAT(Choices("auto", "fp32", "m.int8.onnx"), ElementsAre(HasSubstr("is an int8 model")));
  EXPECT_THAT(Choices("tpu", "auto"), ElementsAre(HasSubstr("'tpu', expected one of auto, cpu")));
  EXPECT_THAT(Choices("auto", "int4"), ElementsAre(HasSubstr("'int4', expected one of auto, fp32")));
}

TEST(ProviderTest, FindsTheInt8Model) {
  EXPECT_EQ(internal::ModelFileFor("a/m.onnx", "fp32"), "a/m.onnx");
  EXPECT_EQ(internal::ModelFileFor("a/m.onnx", "int8"), "a/m.int8.onnx");
  EXPECT_EQ(internal::ModelFileFor("a/m.int8.onnx", "int8"), "a/m.int8.onnx");
  EXPECT_EQ(internal::ModelFileFor("a/model", "int8"), "a/model.int8.onnx");
}

TEST(ProviderTest, SaysWhatCouldNotBeHad) {
  EmbedderOptions options;
  const internal::Choice cpu{"cpu", "fp32"};
  const internal::Refusal missing{{"openvino", "bf16"}, {StatusCode::kNotFound, "not installed"}};
  const internal::Refusal failed{{"cuda", "fp32"}, {StatusCode::kRuntime, "no driver"}};
  EXPECT_EQ(internal::FallbackNote(options, cpu, {}), "");
  EXPECT_EQ(internal::FallbackNote(options, cpu, {missing}), "") << "nothing is lost in fp32";
  EXPECT_EQ(internal::FallbackNote(options, cpu, {failed}), "computing in fp32 on cpu (cuda: no driver)");
  options.precision = "bf16";
  EXPECT_EQ(internal::FallbackNote(options, cpu, {missing}),
            "computing in fp32 on cpu instead of bf16 (openvino: not installed)");
  options.provider = "openvino";
  EXPECT_EQ(internal::FallbackNote(options, cpu, {missing}), "");
}

}  // namespace
}  // namespace rrn
