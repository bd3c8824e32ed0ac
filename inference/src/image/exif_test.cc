#include "image/exif.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "image/test_files.h"
#include "rrn/image.h"

namespace rrn {
namespace {

using image_internal::ExifFacts;
using image_internal::ReadExif;
using image_test::Buffer;
using image_test::ExifBlock;
using image_test::ExifBlockWithTime;

ExifFacts Read(const Buffer& block) { return ReadExif(block.data(), block.size()); }

std::optional<std::int64_t> Captured(const std::string& text) { return Read(ExifBlockWithTime(text)).captured; }

TEST(ExifTest, IgnoresOrientationsThatAreNotOneToEight) {
  for (const int value : {0, 9, 200}) EXPECT_EQ(Read(ExifBlock(value)).orientation, 1) << value;
}

TEST(ExifTest, OrientationSurvivesEveryPrefixAndByte) {
  for (const bool big_endian : {false, true}) {
    const Buffer block = ExifBlock(6, big_endian);
    EXPECT_EQ(Read(block).orientation, 6);
    for (std::size_t size = 0; size < block.size(); ++size) {
      const Buffer prefix(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_EQ(Read(prefix).orientation, size >= 22 ? 6 : 1) << size;
    }
    for (std::size_t i = 0; i < block.size(); ++i) {
      for (int value = 0; value < 256; ++value) {
        Buffer changed = block;
        changed[i] = static_cast<std::uint8_t>(value);
        const int orientation = Read(changed).orientation;
        EXPECT_GE(orientation, 1);
        EXPECT_LE(orientation, 8);
      }
    }
  }
}

TEST(ExifTest, ReadsWhenThePictureWasTaken) {
  EXPECT_EQ(Captured("1970:01:01 00:00:00"), 0);
  EXPECT_EQ(Captured("2000:02:29 23:59:59"), 951'868'799);
  EXPECT_EQ(Captured("2024:05:17 08:30:15"), 1'715'934'615);
  EXPECT_EQ(Captured("1969:12:31 23:59:59"), -1);
  EXPECT_EQ(Read(ExifBlockWithTime("2024:05:17 08:30:15")).orientation, 1);
}

TEST(ExifTest, IgnoresTimesThatAreNone) {
  for (const char* text : {"0000:00:00 00:00:00", "    :  :     :  :  ", "2023:02:29 00:00:00", "2024:13:01 00:00:00",
                           "2024:01:32 00:00:00", "2024:01:01 24:00:00", "2024:01:01 00:60:00", "2024-01-01 00:00:00",
                           "2024:01:01T00:00:00", "1900:02:29 00:00:00"}) {
    EXPECT_EQ(Captured(text), std::nullopt) << text;
  }
}

TEST(ExifTest, TimesSurviveEveryPrefixAndByte) {
  const Buffer block = ExifBlockWithTime("2024:05:17 08:30:15");
  for (std::size_t size = 0; size < block.size(); ++size) {
    const Buffer prefix(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(Read(prefix).captured.has_value(), size + 1 >= block.size())
        << size;  // the zero at its end is not needed
  }
  for (std::size_t i = 0; i < block.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      Buffer changed = block;
      changed[i] = static_cast<std::uint8_t>(value);
      EXPECT_GE(Read(changed).orientation, 1);
    }
  }
}

TEST(ExifTest, EveryContainerPassesTheTimeOn) {
  const Buffer exif = ExifBlockWithTime("2024:05:17 08:30:15");
  constexpr int kSide = 8;
  image_test::JpegSpec jpeg;
  jpeg.width = jpeg.height = kSide;
  jpeg.exif = exif;
  image_test::PngSpec png;
  png.width = png.height = kSide;
  png.exif = exif;
  const Buffer rgb(static_cast<std::size_t>(kSide) * kSide * 3, 100);
  const Buffer rgba(static_cast<std::size_t>(kSide) * kSide * 4, 255);
  for (const Buffer& file : {image_test::EncodeJpeg(jpeg, rgb), image_test::EncodePng(png, rgb),
                             image_test::WebpWithExif(kSide, kSide, rgba, exif)}) {
    const Result<Image> image = DecodeImage(file.data(), file.size());
    ASSERT_TRUE(image.ok()) << image.status().message();
    EXPECT_EQ(image->captured, 1'715'934'615);
  }
  jpeg.exif.clear();
  const Buffer without = image_test::EncodeJpeg(jpeg, rgb);
  EXPECT_EQ(DecodeImage(without.data(), without.size())->captured, std::nullopt);
}

}  // namespace
}  // namespace rrn
