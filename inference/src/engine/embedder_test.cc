#include "rrn/embedder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "rrn/version.h"
#include "testing/default_embedder.h"
#include "testing/environment.h"
#include "testing/pictures.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::MakeEmbedder;
using test_support::MakePicture;
using test_support::ScopedVariable;
using test_support::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

StatusCode CreateCode(const EmbedderOptions& options) { return Embedder::Create(options).status().code(); }

TEST(EmbedderTest, RefusesWrongOptions) {
  EmbedderOptions options;
  options.model = RRN_MODEL;
  for (const auto& [size, batch, threads, provider] :
       {std::tuple{31, 1, 1, "cpu"}, std::tuple{4097, 1, 1, "cpu"}, std::tuple{64, 0, 1, "cpu"},
        std::tuple{64, 1025, 1, "cpu"}, std::tuple{64, 1, -1, "cpu"}, std::tuple{64, 1, 1, "tpu"},
        std::tuple{64, 1, 1, ""}}) {
    options.size = size;
    options.batch = batch;
    options.threads = threads;
    options.provider = provider;
    EXPECT_EQ(CreateCode(options), StatusCode::kInvalidArgument);
  }
}

EmbedderOptions OptionsFor(const std::string& provider, const std::string& precision) {
  EmbedderOptions options;
  options.model = RRN_MODEL;
  options.op_library = RRN_OP_LIBRARY;
  options.size = 64;
  options.provider = provider;
  options.precision = precision;
  return options;
}

TEST(EmbedderTest, SaysWhatIsMissingForAProvider) {
  for (const auto& [provider, package] : {std::pair{"cuda", "onnxruntime-gpu"}, {"tensorrt", "TensorRT"}}) {
    const Result<Embedder> embedder = Embedder::Create(OptionsFor(provider, "fp32"));
    if (embedder.ok()) continue;  // a machine with a GPU
    EXPECT_THAT(embedder.status().message(), HasSubstr(package));
  }
  const ScopedVariable variable("RRN_OPENVINO_EP", "/nowhere/plugin.so");
  const Status status = Embedder::Create(OptionsFor("openvino", "fp32")).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("pip install onnxruntime-ep-openvino"));
  const TemporaryFolder folder;
  fs::copy_file(RRN_MODEL, folder.Sub("m.onnx"));
  EmbedderOptions lonely = OptionsFor("cpu", "int8");
  lonely.model = folder.Sub("m.onnx");
  const Status int8 = Embedder::Create(lonely).status();
  EXPECT_EQ(int8.code(), StatusCode::kNotFound);
  EXPECT_THAT(int8.message(), HasSubstr("rrn quantize"));
}

TEST(EmbedderTest, AutomaticProviderFallsBackAndSaysSo) {
  const ScopedVariable variable("RRN_OPENVINO_EP", "/nowhere/plugin.so");
  const Result<Embedder> exact = Embedder::Create(OptionsFor("auto", "auto"));
  ASSERT_TRUE(exact.ok());
  EXPECT_EQ(exact->info().precision, "fp32");
  const Result<Embedder> fast = Embedder::Create(OptionsFor("auto", "bf16"));
  ASSERT_TRUE(fast.ok());
  if (fast->info().provider == "tensorrt") GTEST_SKIP() << "bf16 is here";
  EXPECT_EQ(fast->info().provider, "cpu");
  EXPECT_EQ(fast->info().precision, "fp32");
  EXPECT_THAT(fast->info().note, HasSubstr("instead of bf16 (openvino: "));
}

TEST(EmbedderTest, BrokenPluginIsAReasonNotACrash) {
  const TemporaryFolder folder;
  const std::string broken = folder.Write("plugin.so", "no library");
  const ScopedVariable variable("RRN_OPENVINO_EP", broken.c_str());
  const Result<Embedder> embedder = Embedder::Create(OptionsFor("auto", "bf16"));
  ASSERT_TRUE(embedder.ok());
  if (embedder->info().precision == "bf16") GTEST_SKIP() << "the plugin was loaded before";
  EXPECT_THAT(embedder->info().note, HasSubstr("openvino: "));
}

// On a real plugin; skipped where it is not installed.
class OpenVinoTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const Result<Embedder> embedder = Embedder::Create(OptionsFor("openvino", GetParam()));
    if (!embedder.ok()) GTEST_SKIP() << embedder.status().message();
  }
  static std::vector<float> Embed(int batch, int threads, const std::vector<ImageView>& views) {
    EmbedderOptions options = OptionsFor("openvino", GetParam());
    options.batch = batch;
    options.threads = threads;
    const Result<Embedder> embedder = Embedder::Create(options);
    EXPECT_TRUE(embedder.ok()) << embedder.status().message();
    EXPECT_EQ(embedder->info().provider, "openvino");
    EXPECT_EQ(embedder->info().precision, GetParam());
    EXPECT_EQ(embedder->info().note, "");
    const Result<std::vector<float>> rows = embedder->EmbedImages(views);
    EXPECT_TRUE(rows.ok()) << rows.status().message();
    return *rows;
  }
};

TEST_P(OpenVinoTest, SameBitsWhateverBatchAndThreadsAndCloseToTheCpu) {
  std::vector<Image> pictures;
  std::vector<ImageView> views;
  pictures.reserve(11);
  views.reserve(11);
  for (int i = 0; i < 11; ++i) pictures.push_back(MakePicture(40 + 13 * i, 30 + 7 * i, static_cast<std::uint32_t>(i)));
  for (const Image& picture : pictures) views.push_back({picture.rgb.data(), picture.width, picture.height});
  const std::vector<float> one = Embed(1, 1, views);
  for (const auto& [batch, threads] : {std::pair{3, 1}, {4, 2}, {8, 2}, {16, 3}}) {
    EXPECT_EQ(one, Embed(batch, threads, views)) << batch << " images, " << threads << " threads";
  }
  const Result<std::vector<float>> cpu = MakeEmbedder(4, 2).EmbedImages(views);
  ASSERT_TRUE(cpu.ok());
  // bf16 keeps 8 bits, fp16 11, fp32 24; errors of rounded weights and activations mostly average out. A float's own
  // rounding would be seen at the fp32 bound, so the cosine is computed in double.
  const double least = std::string(GetParam()) == "fp32" ? 0.9999999 : 0.9990;
  for (std::size_t i = 0; i < views.size(); ++i) {
    const auto product = [i](const std::vector<float>& a, const std::vector<float>& b) {
      const auto from = static_cast<std::ptrdiff_t>(512 * i);
      return std::inner_product(a.begin() + from, a.begin() + from + 512, b.begin() + from, 0.0);
    };
    EXPECT_GT(product(one, *cpu) / std::sqrt(product(one, one) * product(*cpu, *cpu)), least) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, OpenVinoTest, ::testing::Values("fp32", "fp16", "bf16"));

TEST(EmbedderTest, RefusesMissingAndForeignFiles) {
  const TemporaryFolder folder;
  EmbedderOptions options;
  options.model = folder.Sub("missing.onnx");
  EXPECT_EQ(CreateCode(options), StatusCode::kNotFound);
  options.provider = "cpu";
  options.model = folder.Write("text.onnx", "this is no model\nat all");
  const Result<Embedder> text = Embedder::Create(options);
  EXPECT_EQ(text.status().code(), StatusCode::kRuntime);
  EXPECT_THAT(text.status().message(), HasSubstr("text.onnx"));
  EXPECT_EQ(text.status().message().find('\n'), std::string::npos) << "one line";
  options.model = RRN_MODEL;
  options.op_library = folder.Sub("missing.so");
  EXPECT_EQ(CreateCode(options), StatusCode::kNotFound);
  options.op_library = folder.Write("text.so", "no library");
  EXPECT_EQ(CreateCode(options), StatusCode::kRuntime);
}

TEST(EmbedderTest, KnowsItsModel) {
  const Embedder embedder = MakeEmbedder();
  EXPECT_EQ(embedder.info().file, "reduction_resnet18.onnx");
  EXPECT_EQ(embedder.info().dim, 512);
  EXPECT_EQ(embedder.info().size, 64);
  EXPECT_TRUE(embedder.info().custom_op);
  EXPECT_EQ(embedder.info().weights_sha256.size(), 64U);
}

TEST(EmbedderTest, EmbeddingsDoNotDependOnBatchOrThreads) {
  std::vector<Image> pictures;
  std::vector<ImageView> views;
  pictures.reserve(11);
  views.reserve(11);
  for (int i = 0; i < 11; ++i) pictures.push_back(MakePicture(40 + 13 * i, 30 + 7 * i, static_cast<std::uint32_t>(i)));
  for (const Image& picture : pictures) views.push_back({picture.rgb.data(), picture.width, picture.height});
  const Result<std::vector<float>> one = MakeEmbedder(1, 1).EmbedImages(views);
  ASSERT_TRUE(one.ok());
  for (const auto& [batch, threads] : {std::pair{3, 1}, {8, 2}, {16, 3}}) {
    const Result<std::vector<float>> other = MakeEmbedder(batch, threads).EmbedImages(views);
    ASSERT_TRUE(other.ok());
    ASSERT_EQ(one->size(), other->size());
    EXPECT_EQ(std::memcmp(one->data(), other->data(), one->size() * sizeof(float)), 0);
  }
}

// The operator's definition inside the model and the operator's library give the same embedding.
TEST(EmbedderTest, LibraryAndModelFunctionAgree) {
  const Image picture = MakePicture(80, 60, 1);
  const ImageView view{picture.rgb.data(), picture.width, picture.height};
  const Embedder without = MakeEmbedder(1, 1, "");
  EXPECT_FALSE(without.info().custom_op) << "a test program has no library beside it";
  const Result<std::vector<float>> a = MakeEmbedder(1, 1).EmbedImages({view});
  const Result<std::vector<float>> b = without.EmbedImages({view});
  ASSERT_TRUE(a.ok() && b.ok());
  for (std::size_t i = 0; i < a->size(); ++i) EXPECT_NEAR((*a)[i], (*b)[i], 1e-6F);
}

TEST(EmbedderTest, BadPicturesInMemoryAreNamed) {
  const Image picture = MakePicture(10, 10, 1);
  const Result<std::vector<float>> rows =
      MakeEmbedder().EmbedImages({{picture.rgb.data(), 10, 10}, {picture.rgb.data(), 0, 10}});
  EXPECT_EQ(rows.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(rows.status().message(), HasSubstr("image 1"));
  EXPECT_THAT(*MakeEmbedder().EmbedImages({}), IsEmpty());
}

TEST(VersionTest, IsThere) {
  EXPECT_THAT(Version(), HasSubstr("."));
  EXPECT_THAT(OnnxRuntimeVersion(), HasSubstr("1."));
}

}  // namespace
}  // namespace rrn
