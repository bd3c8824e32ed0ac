#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "engine/compiled_cache.h"
#include "engine/keep.h"
#include "engine/provider.h"
#include "rrn/embedder.h"
#include "rrn/search.h"
#include "rrn/similarity.h"
#include "rrn/version.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// A picture of coloured squares; other seeds look different.
Image MakePicture(int width, int height, std::uint32_t seed) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const auto cell = static_cast<std::uint32_t>(x * 5 / width + 7 * (y * 5 / height));
      for (std::uint32_t c = 0; c < 3; ++c) {
        const std::uint32_t hash = (cell * 2654435761U) ^ (seed * 40503U) ^ (c * 97U);
        image.rgb.push_back(static_cast<std::uint8_t>((hash * 2246822519U) >> 24));
      }
    }
  }
  return image;
}

// 24-bit BMP.
std::string EncodeBmp(const Image& image) {
  const auto stride = static_cast<std::uint32_t>(image.width * 3 + 3) / 4 * 4;
  const std::uint32_t size = 54 + stride * static_cast<std::uint32_t>(image.height);
  std::string bmp = "BM";
  const auto put = [&bmp](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bmp += static_cast<char>((value >> (8 * i)) & 0xffU);
  };
  put(size, 4);
  put(0, 4);
  put(54, 4);
  put(40, 4);
  put(static_cast<std::uint32_t>(image.width), 4);
  put(static_cast<std::uint32_t>(image.height), 4);
  put(1, 2);
  put(24, 2);
  for (int i = 0; i < 6; ++i) put(0, 4);
  for (int y = image.height - 1; y >= 0; --y) {
    for (int x = 0; x < image.width; ++x) {
      const std::uint8_t* pixel = &image.rgb[3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) +
                                                  static_cast<std::size_t>(x))];
      bmp += static_cast<char>(pixel[2]);
      bmp += static_cast<char>(pixel[1]);
      bmp += static_cast<char>(pixel[0]);
    }
    bmp.append(stride - static_cast<std::size_t>(image.width) * 3, '\0');
  }
  return bmp;
}

Embedder MakeEmbedder(int batch = 4, int threads = 2, const std::string& op_library = RRN_OP_LIBRARY) {
  EmbedderOptions options;
  options.model = RRN_MODEL;
  options.op_library = op_library;
  options.size = 64;
  options.batch = batch;
  options.threads = threads;
  options.provider = "cpu";
  Result<Embedder> embedder = Embedder::Create(options);
  EXPECT_TRUE(embedder.ok()) << embedder.status().message();
  return *std::move(embedder);
}

StatusCode CreateCode(const EmbedderOptions& options) { return Embedder::Create(options).status().code(); }

TEST(ListFolderTest, ListsEverythingOnce) {
  const TemporaryFolder folder;
  folder.Write("b.jpg", "");
  folder.Write("a/z.txt", "");
  folder.Write("a/\xff\xfe.jpg", "");
  folder.Write(std::string(200, 'n') + ".jpg", "");
  fs::create_directory_symlink(folder.path(), folder.Sub("a/loop"));
  fs::create_symlink(folder.Sub("b.jpg"), folder.Sub("link.jpg"));
  fs::create_symlink(folder.Sub("nowhere"), folder.Sub("broken"));
  ASSERT_EQ(mkfifo(folder.Sub("fifo").c_str(), 0600), 0);

  const Result<FolderListing> listing = ListFolder(folder.path(), true);
  ASSERT_TRUE(listing.ok()) << listing.status().message();
  EXPECT_THAT(listing->paths, ElementsAre(folder.Sub("a/z.txt"), folder.Sub("a/\xff\xfe.jpg"), folder.Sub("b.jpg"),
                                          folder.Sub("link.jpg"), folder.Sub(std::string(200, 'n') + ".jpg")));
  ASSERT_EQ(listing->skipped.size(), 3U);
  EXPECT_THAT(listing->skipped[0].reason, HasSubstr("links to folders"));
  EXPECT_THAT(listing->skipped[1].reason, HasSubstr("broken"));
  EXPECT_THAT(listing->skipped[2].reason, HasSubstr("not a regular file"));

  const Result<FolderListing> flat = ListFolder(folder.path() + "/", false);
  ASSERT_TRUE(flat.ok());
  EXPECT_EQ(flat->paths.size(), 3U);
  EXPECT_EQ(flat->paths[0], folder.Sub("b.jpg")) << "no doubled slash";
}

TEST(ListFolderTest, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  EXPECT_EQ(ListFolder(folder.Sub("missing"), true).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ListFolder(folder.Write("file", ""), true).status().code(), StatusCode::kInvalidArgument);
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  fs::create_directory(folder.Sub("locked"));
  fs::permissions(folder.Sub("locked"), fs::perms::none);
  EXPECT_EQ(ListFolder(folder.Sub("locked"), true).status().code(), StatusCode::kUnreadable);
  const Result<FolderListing> above = ListFolder(folder.path(), true);
  ASSERT_TRUE(above.ok());
  ASSERT_EQ(above->skipped.size(), 1U);
  EXPECT_THAT(above->skipped[0].reason, HasSubstr("cannot list"));
}

TEST(ListFolderTest, LeavesOutWhatIsSkippedUnderAnyName) {
  const TemporaryFolder folder;
  folder.Write("a.jpg", "");
  folder.Write("gone/b.jpg", "");
  folder.Write("sub/gone/c.jpg", "");
  fs::create_directory_symlink(folder.Sub("gone"), folder.Sub("link"));
  const Result<FolderListing> listing =
      ListFolder(folder.path(), true, {folder.Sub("sub/../gone/"), folder.Sub("sub/gone"), folder.Sub("missing")});
  ASSERT_TRUE(listing.ok());
  EXPECT_THAT(listing->paths, ElementsAre(folder.Sub("a.jpg")));
  EXPECT_EQ(listing->skipped.size(), 1U) << "the link, as ever";
}

TEST(ListFilesTest, ListsEachOnceAndSaysWhatIsNoFile) {
  const TemporaryFolder folder;
  const std::string b = folder.Write("b.jpg", "");
  const std::string a = folder.Write("a\n.jpg", "");
  fs::create_symlink(b, folder.Sub("link"));
  fs::create_symlink(folder.Sub("nowhere"), folder.Sub("broken"));
  ASSERT_EQ(mkfifo(folder.Sub("fifo").c_str(), 0600), 0);
  const FolderListing listing = ListFiles(
      {b, folder.Sub("fifo"), a, folder.Sub("link"), b, folder.Sub("none"), folder.path(), folder.Sub("broken")});
  EXPECT_THAT(listing.paths, ElementsAre(a, b, folder.Sub("link")));
  ASSERT_EQ(listing.skipped.size(), 4U);
  EXPECT_THAT(listing.skipped[0].reason, HasSubstr("a folder"));
  EXPECT_THAT(listing.skipped[1].reason, HasSubstr("broken"));
  EXPECT_THAT(listing.skipped[2].reason, HasSubstr("not a regular file"));
  EXPECT_THAT(listing.skipped[3].reason, HasSubstr("no such file"));
  EXPECT_THAT(ListFiles({}).paths, IsEmpty());
}

TEST(ListFilesTest, TakesTwoSpellingsForOneName) {
  const TemporaryFolder folder;
  const std::string b = folder.Write("b", "");
  folder.Write("sub/c", "");
  fs::create_directory_symlink(folder.Sub("sub"), folder.Sub("way"));
  EXPECT_THAT(ListFiles({b, folder.Sub("./b"), folder.Sub("/b")}).paths, ElementsAre(folder.Sub("./b")));
  // Not the same where a link is on the way.
  folder.Write("sub/../c", "");
  EXPECT_THAT(ListFiles({folder.Sub("c"), folder.Sub("way/../c")}).paths.size(), 2U);
}

TEST(ListFilesTest, LeavesOutWhatIsInASkippedFolder) {
  const TemporaryFolder folder;
  const std::string b = folder.Write("b", "");
  const std::string c = folder.Write("sub/deep/c", "");
  fs::create_directory_symlink(folder.Sub("sub"), folder.Sub("way"));
  for (const std::string& skip : {folder.Sub("sub"), folder.Sub("way/"), folder.Sub("sub/deep")}) {
    const FolderListing listing = ListFiles({b, c, folder.Sub("way/deep/c"), folder.Sub("sub/deep/none")}, {skip});
    EXPECT_THAT(listing.paths, ElementsAre(b)) << skip;
    EXPECT_TRUE(listing.skipped.empty()) << skip;
  }
  EXPECT_THAT(ListFiles({b, c}, {folder.Sub("none")}).paths, ElementsAre(b, c));
}

TEST(RedundantTest, NeverNamesTheOnlyRealFile) {
  const TemporaryFolder folder;
  const std::string real = folder.Write("real", "x");
  const std::string link = folder.Sub("link");
  fs::create_symlink(real, link);
  fs::create_directory_symlink(folder.path(), folder.Sub("way"));
  const auto redundant = [](const std::string& kept, const std::string& other) {
    SimilarityReport report;
    report.paths = {kept, other};
    Group group;
    group.members.push_back({1, 1.0F});
    report.grouping.groups.push_back(group);
    return RedundantImages(report).size();
  };
  EXPECT_EQ(redundant(link, real), 0U);
  EXPECT_EQ(redundant(real, folder.Sub("./real")), 0U);
  EXPECT_EQ(redundant(real, link), 1U) << "a link can go";
  EXPECT_EQ(redundant(real, folder.Write("other", "x")), 1U);
  fs::create_hard_link(real, folder.Sub("hard"));
  EXPECT_EQ(redundant(real, folder.Sub("hard")), 1U) << "the bytes stay";
  EXPECT_EQ(redundant(link, real), 0U);
  EXPECT_EQ(redundant(real, folder.Sub("way/real")), 0U) << "one name of two";
}

ImageView View(const Image& image) { return {image.rgb.data(), image.width, image.height}; }

// A picture with detail of all sizes, as photos have: sums of waves at many angles.
Image MakeDetailed(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      double value = 128;
      for (int wave = 1; wave <= 24; ++wave) {
        const double frequency = 0.11 * wave;
        const double angle = 2.4 * wave;
        value += 60.0 / wave * std::sin(frequency * (x * std::cos(angle) + y * std::sin(angle)) + wave);
      }
      const auto level = static_cast<std::uint8_t>(std::lround(std::min(std::max(value, 0.0), 255.0)));
      image.rgb.insert(image.rgb.end(), {level, static_cast<std::uint8_t>(level / 2), level});
    }
  }
  return image;
}

double DetailOf(const Image& image) { return internal::MeasureDetail(View(image)).detail; }

TEST(DetailTest, EqualsItsDefinition) {
  const Image image = MakeDetailed(13, 9);
  const auto luma = [&](int x, int y) {
    const std::uint8_t* p = &image.rgb[3 * (static_cast<std::size_t>(y) * 13 + static_cast<std::size_t>(x))];
    return (77 * p[0] + 150 * p[1] + 29 * p[2] + 128) / 256;
  };
  double sum = 0;
  double squares = 0;
  for (int y = 1; y < 8; ++y) {
    for (int x = 1; x < 12; ++x) {
      const double l = luma(x - 1, y) + luma(x + 1, y) + luma(x, y - 1) + luma(x, y + 1) - 4 * luma(x, y);
      if (std::abs(l) <= internal::kRounding) continue;
      sum += l;
      squares += l * l;
    }
  }
  const double count = 7 * 11;
  const internal::Detail detail = internal::MeasureDetail(View(image));
  EXPECT_NEAR(detail.detail, (squares / count - sum / count * (sum / count)) * 13 * 9, 1e-3);
  EXPECT_EQ(detail.repeated, 0);
  EXPECT_EQ(DetailOf(MakeDetailed(2, 9)), 0);
  EXPECT_EQ(DetailOf(Image{4, 4, std::vector<std::uint8_t>(48, 200)}), 0);
}

TEST(DetailTest, NeitherEnlargedNorReducedNorBlurredCopiesWin) {
  const Image original = MakeDetailed(240, 180);
  const double detail = DetailOf(original);
  for (const double scale : {0.25, 0.5, 0.8, 1.2, 1.5, 2.0, 3.0}) {
    const Result<Image> copy =
        ResizeImage(View(original), static_cast<int>(240 * scale), static_cast<int>(180 * scale));
    ASSERT_TRUE(copy.ok());
    EXPECT_LT(DetailOf(*copy), detail) << scale;
  }
  const Result<Image> small = ResizeImage(View(original), 120, 90);
  const Result<Image> blurred = ResizeImage(View(*small), 240, 180);
  EXPECT_LT(DetailOf(*blurred), DetailOf(*small)) << "enlarged again: no more than the small one";
}

// What is left of a smooth picture's Laplacian is its rounding, which grows with the pixels.
TEST(DetailTest, RoundingIsNoDetail) {
  const Result<Image> smooth = ResizeImage(View(MakePicture(5, 5, 3)), 90, 70);
  const Result<Image> larger = ResizeImage(View(*smooth), 360, 280);
  EXPECT_GT(DetailOf(*smooth), 0);
  EXPECT_LT(DetailOf(*larger), DetailOf(*smooth));
}

TEST(DetailTest, RepeatedPixelsAddNothing) {
  const Image original = MakeDetailed(60, 40);
  for (const auto& [width, height] : {std::pair{120, 80}, {180, 40}, {75, 47}}) {
    Image copy{width, height, {}};
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const int from = y * 40 / height * 60 + x * 60 / width;
        for (int c = 0; c < 3; ++c) {
          copy.rgb.push_back(original.rgb[3 * static_cast<std::size_t>(from) + static_cast<std::size_t>(c)]);
        }
      }
    }
    const internal::Detail detail = internal::MeasureDetail(View(copy));
    EXPECT_EQ(detail.detail, DetailOf(original));
    EXPECT_EQ(detail.repeated, width * height - 60 * 40);
  }
}

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

// An environment variable with another value (null: without it) as long as the object lives.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    const char* old = std::getenv(name);
    had_ = old != nullptr;
    if (had_) old_ = old;
    if (value != nullptr) {
      setenv(name, value, 1);
    } else {
      unsetenv(name);
    }
  }
  ~ScopedVariable() {
    if (had_) {
      setenv(name_, old_.c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  const char* name_;
  bool had_ = false;
  std::string old_;
};

TEST(CacheEntryTest, KeepsWhatIsCompleteAndIntact) {
  const TemporaryFolder folder;
  const ScopedVariable variable("XDG_CACHE_HOME", folder.path().c_str());
  const std::string model = folder.Write("model", "weights");
  const auto write = [](const std::string& path, const std::string& text) { std::ofstream(path) << text; };
  std::string place;
  {
    internal::CacheEntry unfinished({model}, {"a"});
    ASSERT_FALSE(unfinished.folder().empty());
    write(unfinished.folder() + "/blob", "compiled");
  }
  {
    internal::CacheEntry first({model}, {"a"});
    internal::CacheEntry second({model}, {"a"});
    EXPECT_FALSE(first.found());
    EXPECT_FALSE(second.found());
    EXPECT_NE(first.folder(), second.folder()) << "two processes at once";
    for (internal::CacheEntry* entry : {&first, &second}) {
      write(entry->folder() + "/blob", "compiled");
      entry->Keep();
    }
    place = first.folder();
  }
  EXPECT_TRUE(internal::CacheEntry({model}, {"a"}).found());
  EXPECT_EQ(internal::CacheEntry({model}, {"a"}).folder(), place);
  EXPECT_FALSE(internal::CacheEntry({model}, {"b"}).found());
  folder.Write("model", "weighty");
  EXPECT_FALSE(internal::CacheEntry({model}, {"a"}).found());
  folder.Write("model", "weights");

  write(place + "/blob", "compilee");
  internal::CacheEntry damaged({model}, {"a"});
  EXPECT_FALSE(damaged.found());
  write(damaged.folder() + "/blob", "compiled");
  damaged.Keep();
  EXPECT_TRUE(internal::CacheEntry({model}, {"a"}).found()) << "the damaged one is replaced";
  std::size_t entries = 0;
  for (const auto& entry : fs::directory_iterator(folder.Sub("rrn/compiled"))) entries += entry.is_directory() ? 1 : 0;
  EXPECT_EQ(entries, 1U) << "no unfinished folders are left";
}

TEST(CacheEntryTest, DoesWithoutAFolder) {
  const TemporaryFolder folder;
  const std::string file = folder.Write("file", "");
  const ScopedVariable variable("XDG_CACHE_HOME", file.c_str());
  internal::CacheEntry entry({file}, {});
  EXPECT_FALSE(entry.found());
  EXPECT_EQ(entry.folder(), "");
  entry.Keep();
  const ScopedVariable relative("XDG_CACHE_HOME", "not/absolute");
  const ScopedVariable home("HOME", nullptr);
  EXPECT_EQ(internal::CacheFolder(), "");
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
  EXPECT_THAT(int8.message(), HasSubstr("rrn_native.quantize"));
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

TEST(FindSimilarTest, CountsAddUpAndBadFilesLoseNothingElse) {
  const TemporaryFolder folder;
  const std::string picture = EncodeBmp(MakePicture(90, 60, 1));
  folder.Write("a.bmp", picture);
  folder.Write("b.jpg", picture);  // the content counts, not the name
  folder.Write("sub/c.bmp", EncodeBmp(MakePicture(45, 30, 1)));
  folder.Write("sub/other.bmp", EncodeBmp(MakePicture(90, 60, 77)));
  folder.Write("cut.bmp", picture.substr(0, picture.size() / 2));
  folder.Write("empty.png", "");
  folder.Write("notes.txt", "not a picture");

  SimilarityOptions options;
  options.threshold = 0.95F;
  const Result<SimilarityReport> report = FindSimilar(MakeEmbedder(), folder.path(), options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->files(), 7U);
  EXPECT_EQ(report->paths.size(), 4U);
  ASSERT_EQ(report->skipped.size(), 3U);
  EXPECT_EQ(report->skipped[0].path, folder.Sub("cut.bmp"));
  EXPECT_EQ(report->embeddings.size(), 4U * 512U);
  ASSERT_EQ(report->grouping.groups.size(), 1U);
  EXPECT_EQ(report->grouping.groups[0].members.size(), 2U);
  EXPECT_GT(report->grouping.groups[0].members[0].similarity, 0.999999F);
  EXPECT_EQ(report->grouping.unique, 2U);

  std::ostringstream text;
  WriteText(*report, text);
  EXPECT_THAT(text.str(), HasSubstr("files    7\nread     4\nskipped  3\ngroups   1"));
  EXPECT_THAT(text.str(), HasSubstr("cut.bmp: "));
  EXPECT_THAT(text.str(), StartsWith("model reduction_resnet18.onnx, 64 pixels, cpu fp32\n"));
  std::ostringstream json;
  WriteJson(*report, json);
  EXPECT_THAT(json.str(), HasSubstr(R"("embedding_dim":512,"provider":"cpu","precision":"fp32"})"));
}

TEST(FindSimilarTest, ForgettingTheEmbeddingsChangesNothingElse) {
  const TemporaryFolder folder;
  for (int i = 0; i < 4; ++i) {
    folder.Write(std::to_string(i) + ".bmp", EncodeBmp(MakePicture(20, 20, static_cast<std::uint32_t>(i / 2))));
  }
  const Embedder embedder = MakeEmbedder();
  std::vector<std::string> texts;
  for (const bool keep : {true, false}) {
    SimilarityOptions options;
    options.keep_embeddings = keep;
    const Result<SimilarityReport> report = FindSimilar(embedder, folder.path(), options);
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->embeddings.size(), keep ? 4U * 512U : 0U);
    std::ostringstream json;
    WriteJson(*report, json);
    texts.push_back(json.str());
  }
  EXPECT_EQ(texts[0], texts[1]);
}

TEST(FindSimilarTest, EmptyFolderAndOneImage) {
  const TemporaryFolder folder;
  const Embedder embedder = MakeEmbedder();
  const Result<SimilarityReport> empty = FindSimilar(embedder, folder.path(), {});
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->files(), 0U);
  EXPECT_EQ(empty->grouping.unique, 0U);
  folder.Write("one.bmp", EncodeBmp(MakePicture(1, 1, 1)));
  const Result<SimilarityReport> one = FindSimilar(embedder, folder.path(), {});
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->grouping.unique, 1U);
  std::ostringstream json;
  WriteJson(*one, json);
  EXPECT_THAT(json.str(), HasSubstr("\"similar\":0,\"dissimilar\":0"));
}

TEST(FindSimilarTest, RefusesImpossibleThresholds) {
  const TemporaryFolder folder;
  const Embedder embedder = MakeEmbedder();
  for (const float threshold : {1.0F, 1.5F, -1.1F, std::nanf("")}) {
    SimilarityOptions options;
    options.threshold = threshold;
    EXPECT_EQ(FindSimilar(embedder, folder.path(), options).status().code(), StatusCode::kInvalidArgument);
  }
}

TEST(FindSimilarTest, ApproximateSearchSaysSo) {
  const TemporaryFolder folder;
  for (int i = 0; i < 5; ++i) {
    folder.Write(std::to_string(i) + ".bmp", EncodeBmp(MakePicture(20, 20, static_cast<std::uint32_t>(i / 2))));
  }
  const Embedder embedder = MakeEmbedder(1, 2);
  SimilarityOptions options;
  options.threshold = 0.9999F;
  const Result<SimilarityReport> exact = FindSimilar(embedder, folder.path(), options);
  ASSERT_TRUE(exact.ok());
  options.search = SearchMethod::kApproximate;
  const Result<SimilarityReport> report = FindSimilar(embedder, folder.path(), options);
  if (!ApproximateSearchAvailable()) {
    EXPECT_EQ(report.status().code(), StatusCode::kUnsupported);
    return;
  }
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->grouping.similar, exact->grouping.similar);
  std::ostringstream json;
  WriteJson(*report, json);
  EXPECT_THAT(json.str(), HasSubstr("\"search\":{\"method\":\"approximate\",\"recall\":1.0000}"));
  std::ostringstream text;
  WriteText(*report, text);
  EXPECT_THAT(text.str(), HasSubstr("search   approximate: found "));
  options.approximate.effort = 0;
  EXPECT_EQ(FindSimilar(embedder, folder.path(), options).status().code(), StatusCode::kInvalidArgument);
}

// The kept image of the only group.
std::string Kept(const std::string& folder, Keep keep, int threads) {
  SimilarityOptions options;
  options.threshold = 0.9F;
  options.keep = keep;
  options.threads = threads;
  const Result<SimilarityReport> report = FindSimilar(MakeEmbedder(), folder, options);
  EXPECT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->keep, keep);
  EXPECT_EQ(report->grouping.groups.size(), 1U);
  for (const Group& group : report->grouping.groups) {
    return fs::path(report->paths[group.representative]).filename().string();
  }
  return "";
}

TEST(KeepTest, RepresentsAGroupByTheImageThatIsAskedFor) {
  const TemporaryFolder folder;
  const Image picture = MakeDetailed(160, 120);
  const Result<Image> large = ResizeImage(View(picture), 320, 240);
  const Result<Image> small = ResizeImage(View(picture), 80, 60);
  folder.Write("a_small.bmp", EncodeBmp(*small));
  folder.Write("b_large.bmp", EncodeBmp(*large));
  // The same pixels, but more bytes.
  folder.Write("c_large.bmp", EncodeBmp(*large) + "more");
  folder.Write("d_original.bmp", EncodeBmp(picture));
  folder.Write("e_new.bmp", EncodeBmp(*small));
  folder.Write("other.bmp", EncodeBmp(MakePicture(90, 70, 77)));
  const auto now = fs::last_write_time(folder.Sub("e_new.bmp"));
  int age = 10;
  for (const auto& file : fs::directory_iterator(folder.path())) {
    fs::last_write_time(file.path(), now - std::chrono::seconds(age++));
  }
  fs::last_write_time(folder.Sub("e_new.bmp"), now - std::chrono::milliseconds(3));
  for (const int threads : {1, 3}) {
    EXPECT_EQ(Kept(folder.path(), Keep::kFirst, threads), "a_small.bmp");
    EXPECT_EQ(Kept(folder.path(), Keep::kLargest, threads), "c_large.bmp");
    EXPECT_EQ(Kept(folder.path(), Keep::kSharpest, threads), "d_original.bmp");
    EXPECT_EQ(Kept(folder.path(), Keep::kNewest, threads), "e_new.bmp");
  }
  // Ties go to the earlier path.
  fs::remove(folder.Sub("c_large.bmp"));
  fs::copy_file(folder.Sub("b_large.bmp"), folder.Sub("c_large.bmp"));
  EXPECT_EQ(Kept(folder.path(), Keep::kLargest, 2), "b_large.bmp");
  for (const auto& file : fs::directory_iterator(folder.path())) fs::last_write_time(file.path(), now);
  EXPECT_EQ(Kept(folder.path(), Keep::kNewest, 2), "a_small.bmp");

  SimilarityOptions options;
  options.keep = Keep::kSharpest;
  const Result<SimilarityReport> cancelled =
      FindSimilar(MakeEmbedder(), folder.path(), options,
                  [](const char* phase, std::size_t, std::size_t) { return std::string(phase) != "properties"; });
  EXPECT_EQ(cancelled.status().code(), StatusCode::kCancelled);
}

TEST(AgainstTest, CountsWhatIsKnownAndNew) {
  const TemporaryFolder folder;
  for (const std::uint32_t seed : {1U, 2U, 3U}) {
    folder.Write("own/" + std::to_string(seed) + ".bmp", EncodeBmp(MakePicture(90, 70, seed)));
  }
  // Similar to each other, and to no reference image.
  folder.Write("own/3_again.bmp", EncodeBmp(MakePicture(90, 70, 3)));
  folder.Write("own/broken.bmp", "BM");
  folder.Write("ref/a.bmp", EncodeBmp(MakePicture(91, 70, 1)));
  folder.Write("ref/b.bmp", EncodeBmp(MakePicture(90, 70, 1)));
  folder.Write("ref/c.bmp", EncodeBmp(MakePicture(90, 70, 9)));
  folder.Write("ref/broken.bmp", "BM");
  fs::create_hard_link(folder.Sub("own/2.bmp"), folder.Sub("ref/d.bmp"));
  SimilarityOptions options;
  options.threshold = 0.95F;
  options.against = folder.Sub("ref");
  std::vector<std::string> pairs;
  const Result<SimilarityReport> report = FindSimilar(
      MakeEmbedder(), folder.Sub("own"), options, {}, [&](const std::string& first, const std::string& second, float) {
        pairs.push_back(fs::path(first).filename().string() + " " + fs::path(second).filename().string());
        return true;
      });
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_TRUE(report->reference);
  const ReferenceReport& reference = *report->reference;
  EXPECT_EQ(report->files(), 5U);
  EXPECT_EQ(report->paths.size(), 4U);
  EXPECT_EQ(reference.files(), 5U);
  EXPECT_EQ(reference.paths.size(), 4U);
  ASSERT_EQ(report->skipped.size(), 1U);
  EXPECT_EQ(report->skipped[0].path, folder.Sub("own/broken.bmp"));
  ASSERT_EQ(reference.skipped.size(), 1U);
  EXPECT_EQ(reference.skipped[0].path, folder.Sub("ref/broken.bmp"));
  EXPECT_EQ(reference.known, 2U) << "2.bmp is a reference image itself";
  EXPECT_EQ(reference.fresh, 2U);
  ASSERT_EQ(reference.same_files.size(), 1U);
  EXPECT_EQ(report->paths[reference.same_files[0].image], folder.Sub("own/2.bmp"));
  EXPECT_EQ(reference.paths[reference.same_files[0].reference], folder.Sub("ref/d.bmp"));
  ASSERT_EQ(report->grouping.groups.size(), 1U);
  EXPECT_EQ(reference.paths[report->grouping.groups[0].representative], folder.Sub("ref/b.bmp")) << "the most similar";
  EXPECT_EQ(report->grouping.unique, 4U);
  EXPECT_EQ(report->embeddings.size(), 4U * 512);
  EXPECT_THAT(pairs, ElementsAre("1.bmp a.bmp", "1.bmp b.bmp"));
  ASSERT_EQ(RedundantImages(*report).size(), 1U);
  EXPECT_EQ(RedundantImages(*report)[0].kept, folder.Sub("ref/b.bmp"));
  std::ostringstream text;
  WriteText(*report, text);
  EXPECT_THAT(text.str(), HasSubstr("one and the same file on both sides"));

  options.keep = Keep::kFirst;
  EXPECT_EQ(FindSimilar(MakeEmbedder(), folder.Sub("own"), options).status().code(), StatusCode::kInvalidArgument);
  options.keep = Keep::kMostSimilar;
  options.search = SearchMethod::kApproximate;
  EXPECT_EQ(FindSimilar(MakeEmbedder(), folder.Sub("own"), options).status().code(), StatusCode::kInvalidArgument);
  options.search = SearchMethod::kExact;
  options.against = folder.Sub("none");
  EXPECT_EQ(FindSimilar(MakeEmbedder(), folder.Sub("own"), options).status().code(), StatusCode::kNotFound);
}

// An image is never redundant because of a reference image when it is one itself.
TEST(AgainstTest, AFolderAgainstItselfLosesNothing) {
  const TemporaryFolder folder;
  for (const char* name : {"a.bmp", "b.bmp"}) folder.Write(name, EncodeBmp(MakePicture(90, 70, 1)));
  SimilarityOptions options;
  options.against = folder.path();
  const Result<SimilarityReport> report = FindSimilar(MakeEmbedder(), folder.path(), options);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->reference->known, 2U);
  EXPECT_EQ(report->reference->same_files.size(), 2U);
  EXPECT_THAT(RedundantImages(*report), IsEmpty());
  std::ostringstream json;
  WriteJson(*report, json, true);
  EXPECT_THAT(json.str(), HasSubstr("\"redundant\":[]"));
  EXPECT_THAT(json.str(), HasSubstr("\"similar\":1,\"dissimilar\":0}"));
}

TEST(FindSimilarTest, CanBeCancelledInEveryPhase) {
  const TemporaryFolder folder;
  for (int i = 0; i < 6; ++i) {
    folder.Write(std::to_string(i) + ".bmp", EncodeBmp(MakePicture(20, 20, static_cast<std::uint32_t>(i))));
  }
  const Embedder embedder = MakeEmbedder(1, 2);
  for (const std::string stop : {"images", "pairs"}) {
    const Result<SimilarityReport> report = FindSimilar(
        embedder, folder.path(), {}, [&](const char* phase, std::size_t, std::size_t) { return phase != stop; });
    EXPECT_EQ(report.status().code(), StatusCode::kCancelled);
  }
  SimilarityOptions all;
  all.threshold = -1.0F;
  const Result<SimilarityReport> report = FindSimilar(
      embedder, folder.path(), all, {}, [](const std::string&, const std::string&, float) { return false; });
  EXPECT_EQ(report.status().code(), StatusCode::kCancelled);
}

TEST(FindSimilarTest, GivesThePairsInOrder) {
  const TemporaryFolder folder;
  for (const char* name : {"c.bmp", "a.bmp", "b.bmp"}) folder.Write(name, EncodeBmp(MakePicture(20, 20, 1)));
  std::vector<std::string> pairs;
  const Result<SimilarityReport> report =
      FindSimilar(MakeEmbedder(), folder.path(), {}, {},
                  [&](const std::string& first, const std::string& second, float similarity) {
                    EXPECT_GT(similarity, 0.999F);
                    pairs.push_back(fs::path(first).stem().string() + fs::path(second).stem().string());
                    return true;
                  });
  ASSERT_TRUE(report.ok());
  EXPECT_THAT(pairs, ElementsAre("ab", "ac", "bc"));
}

TEST(CompareFilesTest, ComparesAndNamesTheBadFile) {
  const TemporaryFolder folder;
  const std::string a = folder.Write("a.bmp", EncodeBmp(MakePicture(50, 40, 1)));
  const std::string b = folder.Write("b.bmp", EncodeBmp(MakePicture(100, 80, 1)));
  const Embedder embedder = MakeEmbedder();
  const Result<float> similarity = CompareFiles(embedder, a, b);
  ASSERT_TRUE(similarity.ok());
  EXPECT_GT(*similarity, 0.9F);
  EXPECT_THAT(CompareFiles(embedder, a, folder.Sub("missing")).status().message(), HasSubstr("missing: "));
}

SimilarityReport ReportOf(const std::vector<std::string>& paths) {
  SimilarityReport report;
  report.model.dim = 2;
  report.paths = paths;
  report.grouping.similar.assign(paths.size(), 0);
  report.grouping.unique = paths.size();
  return report;
}

TEST(WriteJsonTest, EscapesEveryPath) {
  std::ostringstream json;
  WriteJson(ReportOf({"quote\"back\\slash", "line\nbreak\x01", "caf\xc3\xa9", "bad\xff\xc3", "\xed\xa0\x80",
                      "\xf0\x9f\x98\x80"}),
            json);
  EXPECT_THAT(json.str(), HasSubstr(R"("quote\"back\\slash")"));
  EXPECT_THAT(json.str(), HasSubstr(R"("line\u000abreak\u0001")"));
  EXPECT_THAT(json.str(), HasSubstr("\"caf\xc3\xa9\""));
  EXPECT_THAT(json.str(), HasSubstr(R"("bad\udcff\udcc3")"));
  EXPECT_THAT(json.str(), HasSubstr(R"("\udced\udca0\udc80")"));
  EXPECT_THAT(json.str(), HasSubstr("\"\xf0\x9f\x98\x80\""));
}

TEST(WriteTextTest, KeepsOneLineForOnePath) {
  std::ostringstream text;
  WriteText(ReportOf({"a\nb"}), text);
  EXPECT_THAT(text.str(), HasSubstr("a?b"));
}

TEST(WriteCsvTest, QuotesWhereNeeded) {
  std::ostringstream csv;
  WritePairCsv("plain.jpg", "a,\"b\".jpg", 0.5F, csv);
  EXPECT_EQ(csv.str(), "plain.jpg,\"a,\"\"b\"\".jpg\",0.500000\n");
}

TEST(WriteNpyTest, HasAnAlignedHeader) {
  const std::vector<float> rows = {1, 2, 3, 4, 5, 6};
  std::ostringstream npy;
  WriteNpy(rows.data(), 3, 2, npy);
  const std::string bytes = npy.str();
  EXPECT_EQ(bytes.substr(0, 6), "\x93NUMPY");
  const std::size_t header = 10 + static_cast<unsigned char>(bytes[8]) + 256U * static_cast<unsigned char>(bytes[9]);
  EXPECT_EQ(header % 64, 0U);
  EXPECT_EQ(bytes[header - 1], '\n');
  EXPECT_THAT(bytes, HasSubstr("'shape': (3, 2)"));
  ASSERT_EQ(bytes.size(), header + rows.size() * sizeof(float));
  EXPECT_EQ(std::memcmp(bytes.data() + header, rows.data(), rows.size() * sizeof(float)), 0);
}

TEST(VersionTest, IsThere) {
  EXPECT_THAT(Version(), HasSubstr("."));
  EXPECT_THAT(OnnxRuntimeVersion(), HasSubstr("1."));
}

}  // namespace
}  // namespace rrn
