#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/image.h"
#include "rrn/similarity.h"
#include "testing/default_embedder.h"
#include "testing/pictures.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::EncodeBmp;
using test_support::MakeDetailed;
using test_support::MakeEmbedder;
using test_support::MakePicture;
using test_support::TemporaryFolder;
using test_support::View;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::StartsWith;

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
  const Result<SimilarityResult> result = FindSimilar(MakeEmbedder(), folder.path(), options);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->files(), 7U);
  EXPECT_EQ(result->paths.size(), 4U);
  ASSERT_EQ(result->skipped.size(), 3U);
  EXPECT_EQ(result->skipped[0].path, folder.Sub("cut.bmp"));
  EXPECT_EQ(result->embeddings.size(), 4U * 512U);
  ASSERT_EQ(result->grouping.groups.size(), 1U);
  EXPECT_EQ(result->grouping.groups[0].members.size(), 2U);
  EXPECT_GT(result->grouping.groups[0].members[0].similarity, 0.999999F);
  EXPECT_EQ(result->grouping.unique, 2U);

  std::ostringstream text;
  WriteText(*result, text);
  EXPECT_THAT(text.str(), HasSubstr("files    7\nread     4\nskipped  3\ngroups   1"));
  EXPECT_THAT(text.str(), HasSubstr("cut.bmp: "));
  EXPECT_THAT(text.str(), StartsWith("model reduction_resnet18.onnx, 64 pixels, cpu fp32\n"));
  std::ostringstream json;
  WriteJson(*result, json);
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
    const Result<SimilarityResult> result = FindSimilar(embedder, folder.path(), options);
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->embeddings.size(), keep ? 4U * 512U : 0U);
    std::ostringstream json;
    WriteJson(*result, json);
    texts.push_back(json.str());
  }
  EXPECT_EQ(texts[0], texts[1]);
}

TEST(FindSimilarTest, EmptyFolderAndOneImage) {
  const TemporaryFolder folder;
  const Embedder embedder = MakeEmbedder();
  const Result<SimilarityResult> empty = FindSimilar(embedder, folder.path(), {});
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->files(), 0U);
  EXPECT_EQ(empty->grouping.unique, 0U);
  folder.Write("one.bmp", EncodeBmp(MakePicture(1, 1, 1)));
  const Result<SimilarityResult> one = FindSimilar(embedder, folder.path(), {});
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
  const Result<SimilarityResult> exact = FindSimilar(embedder, folder.path(), options);
  ASSERT_TRUE(exact.ok());
  options.search = SearchMethod::kApproximate;
  const Result<SimilarityResult> result = FindSimilar(embedder, folder.path(), options);
  if (!ApproximateSearchAvailable()) {
    EXPECT_EQ(result.status().code(), StatusCode::kUnsupported);
    return;
  }
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->grouping.similar, exact->grouping.similar);
  std::ostringstream json;
  WriteJson(*result, json);
  EXPECT_THAT(json.str(), HasSubstr("\"search\":{\"method\":\"approximate\",\"recall\":1.0000}"));
  std::ostringstream text;
  WriteText(*result, text);
  EXPECT_THAT(text.str(), HasSubstr("search   approximate: found "));
  options.approximate.effort = 0;
  EXPECT_EQ(FindSimilar(embedder, folder.path(), options).status().code(), StatusCode::kInvalidArgument);
}

// The kept image of the only group.
std::string Kept(const std::string& folder, RepresentativePolicy keep, int threads) {
  SimilarityOptions options;
  options.threshold = 0.9F;
  options.keep = keep;
  options.threads = threads;
  const Result<SimilarityResult> result = FindSimilar(MakeEmbedder(), folder, options);
  EXPECT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->keep, keep);
  EXPECT_EQ(result->grouping.groups.size(), 1U);
  for (const Group& group : result->grouping.groups) {
    return fs::path(result->paths[group.representative]).filename().string();
  }
  return "";
}

TEST(RepresentativePolicyTest, RepresentsAGroupByTheImageThatIsAskedFor) {
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
    EXPECT_EQ(Kept(folder.path(), RepresentativePolicy::kFirst, threads), "a_small.bmp");
    EXPECT_EQ(Kept(folder.path(), RepresentativePolicy::kLargest, threads), "c_large.bmp");
    EXPECT_EQ(Kept(folder.path(), RepresentativePolicy::kSharpest, threads), "d_original.bmp");
    EXPECT_EQ(Kept(folder.path(), RepresentativePolicy::kNewest, threads), "e_new.bmp");
  }
  // Ties go to the earlier path.
  fs::remove(folder.Sub("c_large.bmp"));
  fs::copy_file(folder.Sub("b_large.bmp"), folder.Sub("c_large.bmp"));
  EXPECT_EQ(Kept(folder.path(), RepresentativePolicy::kLargest, 2), "b_large.bmp");
  for (const auto& file : fs::directory_iterator(folder.path())) fs::last_write_time(file.path(), now);
  EXPECT_EQ(Kept(folder.path(), RepresentativePolicy::kNewest, 2), "a_small.bmp");
}

// Embedding, thumbnail, size and sharpness come from one reading of each file.
TEST(FindSimilarTest, OpensEveryFileOnce) {
  const TemporaryFolder folder;
  for (int i = 0; i < 3; ++i) {
    folder.Write(std::to_string(i) + ".bmp", EncodeBmp(MakePicture(320, 200, static_cast<std::uint32_t>(i / 2))));
  }
  folder.Write("notes.txt", "not a picture");
  const Embedder embedder = MakeEmbedder();
  const int queue = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  ASSERT_GE(queue, 0);
  // Closing is watched too, because two equal events in a row would be reported as one.
  ASSERT_GE(inotify_add_watch(queue, folder.path().c_str(), IN_OPEN | IN_CLOSE), 0);
  SimilarityOptions options;
  options.keep = RepresentativePolicy::kSharpest;
  options.thumbnail_edge = 160;
  const Result<SimilarityResult> result = FindSimilar(embedder, folder.path(), options);
  ASSERT_TRUE(result.ok()) << result.status().message();
  std::map<std::string, int> opened;
  alignas(inotify_event) std::array<char, 16384> buffer = {};
  const ssize_t size = read(queue, buffer.data(), buffer.size());
  for (ssize_t at = 0; at < size;) {
    inotify_event event = {};
    std::memcpy(&event, buffer.data() + at, sizeof event);
    const char* name = buffer.data() + at + sizeof event;
    if ((event.mask & IN_OPEN) != 0 && event.len > 0) ++opened[name];
    at += static_cast<ssize_t>(sizeof event + event.len);
  }
  close(queue);
  EXPECT_THAT(opened, ElementsAre(Pair("0.bmp", 1), Pair("1.bmp", 1), Pair("2.bmp", 1), Pair("notes.txt", 1)));

  ASSERT_EQ(result->images.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    const ImageRecord& image = result->images[i];
    EXPECT_EQ(image.width, 320);
    EXPECT_EQ(image.height, 200);
    EXPECT_EQ(image.file.bytes, fs::file_size(result->paths[i]));
    EXPECT_GT(image.detail.detail, 0);
    const Result<Image> thumbnail = DecodeImage(image.thumbnail.data(), image.thumbnail.size());
    ASSERT_TRUE(thumbnail.ok()) << thumbnail.status().message();
    EXPECT_EQ(thumbnail->width, 160);
    EXPECT_EQ(thumbnail->height, 100);
  }
}

TEST(FindSimilarTest, RecordsOnlyWhatIsAskedFor) {
  const TemporaryFolder folder;
  folder.Write("a.bmp", EncodeBmp(MakePicture(40, 20, 1)));
  SimilarityOptions options;
  const Result<SimilarityResult> plain = FindSimilar(MakeEmbedder(), folder.path(), options);
  options.thumbnail_edge = 160;
  const Result<SimilarityResult> shown = FindSimilar(MakeEmbedder(), folder.path(), options);
  ASSERT_TRUE(plain.ok() && shown.ok());
  EXPECT_TRUE(plain->images[0].thumbnail.empty());
  EXPECT_EQ(plain->images[0].detail.detail, 0);
  const std::vector<std::uint8_t>& file = shown->images[0].thumbnail;
  const Result<Image> thumbnail = DecodeImage(file.data(), file.size());
  ASSERT_TRUE(thumbnail.ok());
  EXPECT_EQ(thumbnail->width, 40) << "small pictures are not enlarged";
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
  options.threshold = 0.995F;
  options.against = folder.Sub("ref");
  std::vector<std::string> pairs;
  const Result<SimilarityResult> result = FindSimilar(
      MakeEmbedder(), folder.Sub("own"), options, {}, [&](const std::string& first, const std::string& second, float) {
        pairs.push_back(fs::path(first).filename().string() + " " + fs::path(second).filename().string());
        return true;
      });
  ASSERT_TRUE(result.ok()) << result.status().message();
  ASSERT_TRUE(result->reference);
  const ReferenceResult& reference = *result->reference;
  EXPECT_EQ(result->files(), 5U);
  EXPECT_EQ(result->paths.size(), 4U);
  EXPECT_EQ(reference.files(), 5U);
  EXPECT_EQ(reference.paths.size(), 4U);
  ASSERT_EQ(result->skipped.size(), 1U);
  EXPECT_EQ(result->skipped[0].path, folder.Sub("own/broken.bmp"));
  ASSERT_EQ(reference.skipped.size(), 1U);
  EXPECT_EQ(reference.skipped[0].path, folder.Sub("ref/broken.bmp"));
  EXPECT_EQ(reference.known, 2U) << "2.bmp is a reference image itself";
  EXPECT_EQ(reference.fresh, 2U);
  ASSERT_EQ(reference.same_files.size(), 1U);
  EXPECT_EQ(result->paths[reference.same_files[0].image], folder.Sub("own/2.bmp"));
  EXPECT_EQ(reference.paths[reference.same_files[0].reference], folder.Sub("ref/d.bmp"));
  ASSERT_EQ(result->grouping.groups.size(), 1U);
  EXPECT_EQ(reference.paths[result->grouping.groups[0].representative], folder.Sub("ref/b.bmp")) << "the most similar";
  EXPECT_EQ(result->grouping.unique, 4U);
  EXPECT_EQ(result->embeddings.size(), 4U * 512);
  EXPECT_THAT(pairs, ElementsAre("1.bmp a.bmp", "1.bmp b.bmp"));
  ASSERT_EQ(RedundantImages(*result).size(), 1U);
  EXPECT_EQ(RedundantImages(*result)[0].kept, folder.Sub("ref/b.bmp"));
  std::ostringstream text;
  WriteText(*result, text);
  EXPECT_THAT(text.str(), HasSubstr("one and the same file on both sides"));

  options.keep = RepresentativePolicy::kFirst;
  EXPECT_EQ(FindSimilar(MakeEmbedder(), folder.Sub("own"), options).status().code(), StatusCode::kInvalidArgument);
  options.keep = RepresentativePolicy::kMostSimilar;
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
  const Result<SimilarityResult> result = FindSimilar(MakeEmbedder(), folder.path(), options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->reference->known, 2U);
  EXPECT_EQ(result->reference->same_files.size(), 2U);
  EXPECT_THAT(RedundantImages(*result), IsEmpty());
  std::ostringstream json;
  WriteJson(*result, json);
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
    const Result<SimilarityResult> result = FindSimilar(
        embedder, folder.path(), {}, [&](const char* phase, std::size_t, std::size_t) { return phase != stop; });
    EXPECT_EQ(result.status().code(), StatusCode::kCancelled);
  }
  SimilarityOptions all;
  all.threshold = -1.0F;
  const Result<SimilarityResult> result = FindSimilar(
      embedder, folder.path(), all, {}, [](const std::string&, const std::string&, float) { return false; });
  EXPECT_EQ(result.status().code(), StatusCode::kCancelled);
}

TEST(FindSimilarTest, GivesThePairsInOrder) {
  const TemporaryFolder folder;
  for (const char* name : {"c.bmp", "a.bmp", "b.bmp"}) folder.Write(name, EncodeBmp(MakePicture(20, 20, 1)));
  std::vector<std::string> pairs;
  const Result<SimilarityResult> result =
      FindSimilar(MakeEmbedder(), folder.path(), {}, {},
                  [&](const std::string& first, const std::string& second, float similarity) {
                    EXPECT_GT(similarity, 0.999F);
                    pairs.push_back(fs::path(first).stem().string() + fs::path(second).stem().string());
                    return true;
                  });
  ASSERT_TRUE(result.ok());
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

}  // namespace
}  // namespace rrn
