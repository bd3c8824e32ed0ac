// FindSimilar and EmbedThroughStore with a store: the same results, and nothing read twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/similarity.h"
#include "rrn/store.h"
#include "testing/default_embedder.h"
#include "testing/pictures.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::EncodeBmp;
using test_support::MakeEmbedder;
using test_support::MakePicture;
using test_support::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Store Open(const std::string& folder, const StoreOptions& options = {}) {
  Result<Store> store = Store::Open(folder, options);
  EXPECT_TRUE(store.ok()) << store.status().message();
  return *std::move(store);
}

// Files that were changed just before they are read are not trusted afterwards.
void WaitUntilOld() { std::this_thread::sleep_for(std::chrono::milliseconds(40)); }

class StoredTest : public testing::Test {
 protected:
  StoredTest() {
    for (int i = 0; i < 6; ++i) {
      images_.Write("sub/" + std::to_string(i) + ".bmp",
                    EncodeBmp(MakePicture(40, 30, static_cast<std::uint32_t>(i / 2))));
    }
    images_.Write("cut.bmp", EncodeBmp(MakePicture(40, 30, 9)).substr(0, 100));
    images_.Write("notes.txt", "not a picture");
    WaitUntilOld();
  }

  SimilarityResult Find(Store* store, SimilarityOptions options = {}) {
    options.store = store;
    Result<SimilarityResult> result = FindSimilar(embedder_, images_.path(), options);
    EXPECT_TRUE(result.ok()) << result.status().message();
    return *std::move(result);
  }

  static std::string Json(const SimilarityResult& result) {
    std::ostringstream text;
    WriteJson(result, text);
    return text.str();
  }

  const TemporaryFolder images_;
  const TemporaryFolder place_;
  const Embedder embedder_ = MakeEmbedder();
};

TEST_F(StoredTest, ASecondRunReadsNothingAndFindsTheSame) {
  const SimilarityResult plain = Find(nullptr);
  Store store = Open(place_.Sub("s"));
  const SimilarityResult first = Find(&store);
  const SimilarityResult second = Find(&store);
  EXPECT_FALSE(plain.store.has_value());
  EXPECT_EQ(first.store->computed, 8U);
  EXPECT_EQ(second.store->computed, 0U);
  EXPECT_EQ(second.store->reused, 8U);
  EXPECT_THAT(second.store->note, IsEmpty());
  for (const SimilarityResult* result : {&first, &second}) {
    EXPECT_EQ(result->embeddings, plain.embeddings);
    EXPECT_EQ(Json(*result), Json(plain));
    ASSERT_EQ(result->images.size(), plain.images.size());
    for (std::size_t i = 0; i < plain.images.size(); ++i) {
      EXPECT_EQ(result->images[i].width, 40);
      EXPECT_EQ(result->images[i].height, 30);
      EXPECT_EQ(result->images[i].file.inode, plain.images[i].file.inode);
      EXPECT_EQ(result->images[i].file.bytes, plain.images[i].file.bytes);
      EXPECT_EQ(result->images[i].file.modified, plain.images[i].file.modified);
      EXPECT_EQ(result->images[i].file.content, plain.images[i].file.content);
    }
  }
}

TEST_F(StoredTest, OnlyWhatIsNewOrChangedIsRead) {
  Store store = Open(place_.Sub("s"));
  Find(&store);
  images_.Write("new.bmp", EncodeBmp(MakePicture(40, 30, 50)));
  images_.Write("cut.bmp", EncodeBmp(MakePicture(40, 30, 9)));
  const std::string changed = images_.Sub("sub/3.bmp");
  const auto before = fs::last_write_time(changed);
  images_.Write("sub/3.bmp", EncodeBmp(MakePicture(40, 30, 77)));  // of the same size
  fs::last_write_time(changed, before);
  fs::remove(images_.Sub("sub/0.bmp"));
  WaitUntilOld();
  const SimilarityResult result = Find(&store);
  EXPECT_EQ(result.store->computed, 3U);
  EXPECT_EQ(result.store->reused, 5U);
  EXPECT_EQ(Json(result), Json(Find(nullptr)));
  EXPECT_EQ(Find(&store).store->computed, 0U);
}

TEST_F(StoredTest, ARenamedFolderIsKnown) {
  Store store = Open(place_.Sub("s"));
  Find(&store);
  fs::rename(images_.Sub("sub"), images_.Sub("elsewhere"));
  const SimilarityResult result = Find(&store);
  EXPECT_EQ(result.store->computed, 0U);
  EXPECT_EQ(Json(result), Json(Find(nullptr)));
}

TEST_F(StoredTest, ARenamedFolderIsKnownWithoutItsOldName) {
  Store store = Open(place_.Sub("s"));
  Find(&store);
  const ColumnKey key = EmbeddingColumn(embedder_);
  std::vector<std::string> old_names;
  const Result<std::vector<StoreEntry>> entries = store.Read(key, fs::canonical(images_.Sub("sub")).string() + "/");
  ASSERT_TRUE(entries.ok());
  for (const StoreEntry& entry : *entries) old_names.push_back(entry.file.path);
  fs::rename(images_.Sub("sub"), images_.Sub("elsewhere"));
  Find(&store);
  ASSERT_FALSE(old_names.empty());
  ASSERT_TRUE(store.Remove(old_names).ok());
  const SimilarityResult result = Find(&store);
  EXPECT_EQ(result.store->computed, 0U);
  EXPECT_EQ(Json(result), Json(Find(nullptr)));
}

TEST_F(StoredTest, AnEntryWithoutThePicturesSizeIsOfUseWhereNoSizeIsAskedFor) {
  Store store = Open(place_.Sub("s"));
  const SimilarityResult plain = Find(&store);
  const ColumnKey key = EmbeddingColumn(embedder_);
  std::vector<StoredFile> files;
  std::vector<std::uint64_t> slots;
  Result<std::vector<StoreEntry>> entries = store.Read(key);
  ASSERT_TRUE(entries.ok());
  for (StoreEntry& entry : *entries) {
    if (!entry.slot) continue;
    entry.file.width = entry.file.height = 0;
    files.push_back(std::move(entry.file));
    slots.push_back(*entry.slot);
  }
  std::vector<float> rows(slots.size() * key.dim);
  ASSERT_TRUE(store.ReadRows(key, slots, rows.data(), nullptr).ok());
  ASSERT_TRUE(store.Add(key, files, rows.data()).ok());
  EXPECT_EQ(Find(&store).store->computed, 0U);
  SimilarityOptions options;
  options.keep = RepresentativePolicy::kLargest;
  options.store = &store;
  const Result<SimilarityResult> largest = FindSimilar(embedder_, images_.path(), options);
  ASSERT_TRUE(largest.ok());
  EXPECT_EQ(largest->store->computed, files.size());
  EXPECT_EQ(largest->images.front().width, 40);
  EXPECT_EQ(largest->embeddings, plain.embeddings);
}

TEST_F(StoredTest, AnInterruptedRunGoesOn) {
  {
    Store store = Open(place_.Sub("s"));
    SimilarityOptions options;
    options.store = &store;
    const std::vector<std::string> some = {images_.Sub("sub/0.bmp"), images_.Sub("sub/1.bmp"),
                                           images_.Sub("sub/2.bmp")};
    ASSERT_TRUE(EmbedThroughStore(embedder_, &store, some, options).ok());
    const Result<SimilarityResult> cancelled =
        FindSimilar(embedder_, images_.path(), options,
                    [](const char* /*phase*/, std::size_t done, std::size_t /*total*/) { return done <= 3; });
    EXPECT_EQ(cancelled.status().code(), StatusCode::kCancelled);
  }
  Store store = Open(place_.Sub("s"));
  const SimilarityResult result = Find(&store);
  EXPECT_GE(result.store->reused, 3U);
  EXPECT_EQ(Json(result), Json(Find(nullptr)));
}

TEST_F(StoredTest, DamagedRowsAreComputedAgain) {
  const std::string folder = place_.Sub("s");
  {
    Store store = Open(folder);
    Find(&store);
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".f32") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file.put('\x55');
  }
  Store store = Open(folder);
  const SimilarityResult result = Find(&store);
  EXPECT_EQ(result.store->damaged, 1U);
  EXPECT_EQ(result.store->computed, 1U);
  EXPECT_EQ(Json(result), Json(Find(nullptr)));
  EXPECT_EQ(Find(&store).store->damaged, 0U);
}

TEST_F(StoredTest, AFileThatIsListedTwiceHasOneRow) {
  const std::vector<std::string> paths = {images_.Sub("sub/0.bmp"), images_.Sub("cut.bmp"), images_.Sub("sub/2.bmp"),
                                          images_.Sub("sub/../sub/0.bmp"), images_.Sub("sub/./../cut.bmp")};
  const Result<FileEmbeddings> plain = embedder_.EmbedFiles(paths);
  ASSERT_TRUE(plain.ok());
  Store store = Open(place_.Sub("s"));
  SimilarityOptions options;
  for (const std::size_t computed : {3U, 0U}) {
    const Result<StoredEmbeddings> found = EmbedThroughStore(embedder_, &store, paths, options);
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->use.computed, computed);
    EXPECT_THAT(found->use.note, IsEmpty());
    EXPECT_EQ(found->embeddings.rows, plain->rows);
    EXPECT_EQ(found->embeddings.read, plain->read);
    ASSERT_EQ(found->embeddings.skipped.size(), 2U);
    EXPECT_EQ(found->embeddings.skipped[1].path, paths[4]);
    EXPECT_EQ(found->slots[0], found->slots[2]);
    EXPECT_EQ(found->images[3].width, 40);
  }
  EXPECT_EQ(store.Info()->files, 3U);
  EXPECT_THAT(store.Verify()->findings, IsEmpty());
  options.against = images_.Sub("sub");
  EXPECT_EQ(Json(Find(&store, options)), Json(Find(nullptr, options)));
}

TEST_F(StoredTest, WhatMayPassIsNotStored) {
  const std::string path = images_.Sub("gone.bmp");
  Store store = Open(place_.Sub("s"));
  SimilarityOptions options;
  const Result<StoredEmbeddings> missing = EmbedThroughStore(embedder_, &store, {path}, options);
  ASSERT_TRUE(missing.ok());
  EXPECT_EQ(missing->embeddings.skipped.size(), 1U);
  EXPECT_EQ(store.Info()->files, 0U);
}

TEST_F(StoredTest, FullSizeRowsAreApart) {
  Store store = Open(place_.Sub("s"));
  Find(&store);
  SimilarityOptions options;
  options.keep = RepresentativePolicy::kSharpest;
  const SimilarityResult first = Find(&store, options);
  EXPECT_EQ(first.store->computed, 8U);
  const SimilarityResult second = Find(&store, options);
  EXPECT_EQ(second.store->computed, 0U);
  const SimilarityResult plain = Find(nullptr, options);
  EXPECT_EQ(Json(second), Json(plain));
  for (std::size_t i = 0; i < plain.images.size(); ++i) {
    EXPECT_EQ(second.images[i].detail.detail, plain.images[i].detail.detail);
    EXPECT_EQ(second.images[i].detail.repeated, plain.images[i].detail.repeated);
  }
  EXPECT_NE(EmbeddingColumn(embedder_).fingerprint, EmbeddingColumn(embedder_, true).fingerprint);
}

TEST_F(StoredTest, ThumbnailsOfKnownPicturesAreTheSame) {
  Store store = Open(place_.Sub("s"));
  Find(&store);
  SimilarityOptions options;
  options.thumbnail_edge = 16;
  const SimilarityResult plain = Find(nullptr, options);
  const SimilarityResult known = Find(&store, options);
  EXPECT_EQ(known.store->computed, 0U);
  for (std::size_t i = 0; i < plain.images.size(); ++i) {
    EXPECT_FALSE(plain.images[i].thumbnail.empty());
    EXPECT_EQ(known.images[i].thumbnail, plain.images[i].thumbnail);
  }
}

TEST_F(StoredTest, AReferenceMayHaveAStoreOfItsOwn) {
  const TemporaryFolder reference;
  for (int i = 0; i < 3; ++i) {
    reference.Write(std::to_string(i) + ".bmp", EncodeBmp(MakePicture(40, 30, static_cast<std::uint32_t>(i))));
  }
  WaitUntilOld();
  SimilarityOptions options;
  options.against = reference.path();
  const SimilarityResult plain = Find(nullptr, options);
  Store references = Open(place_.Sub("r"));
  options.against_store = &references;
  EXPECT_EQ(Json(Find(nullptr, options)), Json(plain));
  Store store = Open(place_.Sub("s"));
  EXPECT_EQ(Find(&store, options).store->reused, 3U);
  const SimilarityResult known = Find(&store, options);
  EXPECT_EQ(known.store->computed, 0U);
  EXPECT_EQ(known.embeddings, plain.embeddings);
  EXPECT_EQ(Json(known), Json(plain));
  EXPECT_EQ(references.Info()->files, 3U);
  options.against_store = nullptr;
  EXPECT_EQ(Find(&store, options).store->computed, 3U);
}

TEST_F(StoredTest, AStoreThatCannotBeWrittenIsOnlyNoted) {
  { Open(place_.Sub("s")); }
  StoreOptions read_only;
  read_only.read_only = true;
  Store store = Open(place_.Sub("s"), read_only);
  std::string noticed;
  SimilarityOptions options;
  options.notice = [&](const std::string& line) { noticed += line; };
  const SimilarityResult result = Find(&store, options);
  EXPECT_EQ(result.store->computed, 8U);
  EXPECT_FALSE(result.store->note.empty());
  EXPECT_THAT(noticed, HasSubstr("is not kept"));
  EXPECT_EQ(Json(result), Json(Find(nullptr)));
}

TEST_F(StoredTest, HalfPrecisionIsTheSameFromTheFirstRunOn) {
  StoreOptions half;
  half.floats = StoreFloat::kFloat16;
  Store store = Open(place_.Sub("s"), half);
  const SimilarityResult first = Find(&store);
  const SimilarityResult second = Find(&store);
  EXPECT_EQ(second.store->computed, 0U);
  EXPECT_EQ(first.embeddings, second.embeddings);
  EXPECT_NE(first.embeddings, Find(nullptr).embeddings);
}

}  // namespace
}  // namespace rrn
