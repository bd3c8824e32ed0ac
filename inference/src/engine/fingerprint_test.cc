#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "engine/external_data.h"
#include "rrn/embedder.h"
#include "testing/environment.h"
#include "testing/onnx_file.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using internal::ExternalDataLocations;
using test_support::ExternalTensor;
using test_support::Factors;
using test_support::MeanColourModel;
using test_support::Message;
using test_support::ScopedVariable;
using test_support::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string FilesOf(const std::string& model) {
  const Result<std::string> fingerprint = FilesFingerprint(model);
  EXPECT_TRUE(fingerprint.ok()) << fingerprint.status().message();
  return fingerprint.ok() ? *fingerprint : "";
}

std::vector<std::string> LocationsOf(const Message& model) {
  const TemporaryFolder folder;
  const Result<std::vector<std::string>> found = ExternalDataLocations(folder.Write("m.onnx", model.data()));
  EXPECT_TRUE(found.ok()) << found.status().message();
  return found.ok() ? *found : std::vector<std::string>();
}

TEST(ExternalDataTest, IsFoundWhereverATensorCanBe) {
  const auto tensor = [](const std::string& location) { return ExternalTensor("t", {3}, location); };
  const auto in_node = [](const Message& attribute) {
    return Message().Sub(7, Message().Sub(1, Message().Sub(5, attribute)));
  };
  EXPECT_THAT(LocationsOf(Message().Sub(7, Message().Sub(5, tensor("b")).Sub(5, tensor("a")).Sub(5, tensor("b")))),
              ElementsAre("a", "b"));
  EXPECT_THAT(LocationsOf(in_node(Message().Sub(5, tensor("attribute")))), ElementsAre("attribute"));
  EXPECT_THAT(LocationsOf(in_node(Message().Sub(10, tensor("list")))), ElementsAre("list"));
  EXPECT_THAT(LocationsOf(in_node(Message().Sub(6, Message().Sub(5, tensor("branch"))))), ElementsAre("branch"));
  EXPECT_THAT(LocationsOf(in_node(Message().Sub(22, Message().Sub(1, tensor("sparse"))))), ElementsAre("sparse"));
  EXPECT_THAT(LocationsOf(Message().Sub(25, Message().Sub(7, Message().Sub(5, Message().Sub(5, tensor("function")))))),
              ElementsAre("function"));
  EXPECT_THAT(LocationsOf(Message().Int(1, 8).Bytes(2, "producer")), IsEmpty());
}

TEST(ExternalDataTest, RefusesWhatIsNoModel) {
  const TemporaryFolder folder;
  Message deep;
  for (int i = 0; i < 200; ++i) deep = Message().Sub(1, Message().Sub(5, Message().Sub(6, deep)));
  const std::string whole = MeanColourModel("", "weights.bin");
  for (const std::string& content : {std::string(), std::string("text, not a model"), whole.substr(0, whole.size() - 9),
                                     std::string(20, '\xff'), Message().Sub(7, deep).data()}) {
    EXPECT_EQ(ExternalDataLocations(folder.Write("m.onnx", content)).status().code(), StatusCode::kCorrupt);
  }
  EXPECT_EQ(ExternalDataLocations(folder.Sub("missing")).status().code(), StatusCode::kUnreadable);
}

TEST(FilesFingerprintTest, IsTheBytesOfAllFiles) {
  const TemporaryFolder folder;
  const std::string model = folder.Write("a/m.onnx", MeanColourModel("", "weights.bin"));
  folder.Write("a/weights.bin", Factors({1, 2, 3}));
  const std::string fingerprint = FilesOf(model);
  EXPECT_EQ(fingerprint.size(), 32U);
  fs::copy(folder.Sub("a"), folder.Sub("b"));
  fs::rename(folder.Sub("b/m.onnx"), folder.Sub("b/other.onnx"));
  EXPECT_EQ(FilesOf(folder.Sub("b/other.onnx")), fingerprint) << "names do not matter";
  folder.Write("a/weights.bin", Factors({1, 2, 4}));
  EXPECT_NE(FilesOf(model), fingerprint);
  folder.Write("a/weights.bin", Factors({1, 2, 3}));
  EXPECT_EQ(FilesOf(model), fingerprint);
  fs::remove(folder.Sub("a/weights.bin"));
  EXPECT_NE(FilesOf(model), fingerprint);
  EXPECT_EQ(FilesOf(folder.Write("text", "no model")).size(), 32U);
  EXPECT_EQ(FilesFingerprint(folder.Sub("missing")).status().code(), StatusCode::kUnreadable);
}

class FingerprintTest : public ::testing::Test {
 protected:
  EmbedderOptions Options() const {
    EmbedderOptions options;
    options.model = folder_.Sub("m.onnx");
    options.provider = "cpu";
    options.size = 32;
    return options;
  }
  static std::string Of(const EmbedderOptions& options) {
    const Result<Embedder> embedder = Embedder::Create(options);
    EXPECT_TRUE(embedder.ok()) << embedder.status().message();
    return embedder.ok() ? embedder->info().fingerprint : "";
  }

  TemporaryFolder folder_;
};

TEST_F(FingerprintTest, IsWhatResultsDependOn) {
  folder_.Write("m.onnx", MeanColourModel("", "weights.bin"));
  folder_.Write("weights.bin", Factors({1, 2, 3}));
  EmbedderOptions options = Options();
  const std::string fingerprint = Of(options);
  EXPECT_EQ(fingerprint.size(), 32U);
  options.batch = 3;
  options.threads = 2;
  EXPECT_EQ(Of(options), fingerprint);
  options.size = 64;
  EXPECT_NE(Of(options), fingerprint);
  folder_.Write("weights.bin", Factors({1, 2, 4}));
  EXPECT_NE(Of(Options()), fingerprint) << "external data";
  folder_.Write("weights.bin", Factors({1, 2, 3}));
  EXPECT_EQ(Of(Options()), fingerprint);
  folder_.Write("m.onnx", MeanColourModel(R"({"channels": "BGR"})", "weights.bin"));
  EXPECT_NE(Of(Options()), fingerprint);
}

// A model whose weights were replaced must not be served from what was compiled for the old ones.
TEST_F(FingerprintTest, CompiledModelsFollowExternalData) {
  const ScopedVariable cache("XDG_CACHE_HOME", folder_.path().c_str());
  EmbedderOptions options = Options();
  options.provider = "openvino";
  options.precision = "int8";
  options.model = folder_.Write("m.int8.onnx", MeanColourModel(R"({"mean": [0, 0, 0], "std": [1, 1, 1]})", "w.bin"));
  const std::vector<std::uint8_t> white(std::size_t{3} * 32 * 32, 255);
  for (const float factor : {2.0F, 5.0F, 2.0F}) {
    folder_.Write("w.bin", Factors({factor, 1, 1}));
    const Result<Embedder> embedder = Embedder::Create(options);
    if (!embedder.ok() && factor == 2.0F) GTEST_SKIP() << embedder.status().message();
    const Result<std::vector<float>> rows = embedder->EmbedImages({{white.data(), 32, 32}});
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_NEAR((*rows)[0], factor, 1e-5F);
  }
  using Entries = fs::directory_iterator;
  EXPECT_EQ(std::distance(Entries(folder_.Sub("rrn/compiled")), Entries()), 2) << "one entry for each of the weights";
}

}  // namespace
}  // namespace rrn
