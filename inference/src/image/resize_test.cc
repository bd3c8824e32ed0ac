// Resizing equals Pillow bit for bit, and preprocessing equals numpy. All expected values were printed by Pillow 13.0.0
// and numpy for the same pattern of pixels.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "rrn/image.h"

namespace rrn {
namespace {

// In Python: i = np.arange(w * h * 3); ((i * 37 + i * i % 101) % 256).astype(np.uint8).reshape(h, w, 3)
Image Pattern(int width, int height) {
  Image image;
  image.width = width;
  image.height = height;
  const std::int64_t bytes = std::int64_t{width} * height * 3;
  for (std::int64_t i = 0; i < bytes; ++i) {
    image.rgb.push_back(static_cast<std::uint8_t>((i * 37 + i * i % 101) % 256));
  }
  return image;
}

ImageView View(const Image& image) { return {image.rgb.data(), image.width, image.height}; }

struct Case {
  int width, height, to_width, to_height;
};

Image Resize(const Case& c) {
  const Image image = Pattern(c.width, c.height);
  Result<Image> resized = ResizeImage(View(image), c.to_width, c.to_height);
  EXPECT_TRUE(resized.ok()) << resized.status().message();
  if (!resized.ok()) {
    return {};
  }
  EXPECT_EQ(resized->width, c.to_width);
  EXPECT_EQ(resized->height, c.to_height);
  return *std::move(resized);
}

TEST(ResizeImage, EqualsPillow) {
  struct Expected {
    Case c;
    std::vector<std::uint8_t> rgb;
  };
  const Expected table[] = {
      {{1, 1, 2, 2}, {0, 38, 78, 0, 38, 78, 0, 38, 78, 0, 38, 78}},
      {{4, 1, 2, 1}, {52, 94, 138, 86, 137, 148}},
      {{1, 5, 1, 2}, {57, 101, 142, 144, 119, 135}},
      {{5, 4, 2, 3}, {73, 125, 135, 154, 125, 112, 108, 140, 111, 150, 107, 74, 108, 95, 118, 94, 111, 120}},
      {{2, 2, 3, 3}, {0,   38,  78,  60,  101, 144, 120, 164, 210, 1,   45,  91,  70, 117,
                      141, 139, 189, 191, 2,   52,  104, 80,  133, 138, 158, 214, 171}},
      {{9, 7, 2, 2}, {119, 111, 124, 115, 126, 121, 139, 121, 122, 132, 120, 140}},
      // Much taller than wide: the heights come first.
      {{4, 12, 3, 2}, {146, 110, 128, 122, 132, 122, 82, 105, 103, 149, 100, 127, 110, 144, 112, 106, 148, 126}},
  };
  for (const Expected& expected : table) {
    EXPECT_EQ(Resize(expected.c).rgb, expected.rgb) << expected.c.width << " x " << expected.c.height;
  }
}

// Bigger results as 32-bit FNV-1a sums.
TEST(ResizeImage, EqualsPillowToTheInputSize) {
  struct Expected {
    Case c;
    std::uint32_t sum;
  };
  constexpr Expected kTable[] = {
      {{64, 48, 224, 224}, 0xfe96d401},   {{640, 480, 224, 224}, 0x6811e86c}, {{300, 900, 224, 224}, 0x5326af7a},
      {{20000, 1, 224, 224}, 0x8682f885}, {{1, 20000, 224, 224}, 0xac9c27a5}, {{223, 225, 224, 224}, 0x09bab0f8},
  };
  for (const Expected& expected : kTable) {
    std::uint32_t sum = 2166136261U;
    for (const std::uint8_t byte : Resize(expected.c).rgb) {
      sum = (sum ^ byte) * 16777619U;
    }
    EXPECT_EQ(sum, expected.sum) << expected.c.width << " x " << expected.c.height;
  }
}

TEST(ResizeImage, KeepsAPictureOfTheRightSize) { EXPECT_EQ(Resize({7, 5, 7, 5}).rgb, Pattern(7, 5).rgb); }

TEST(ResizeImage, RefusesEmptyPicturesAndSizes) {
  const Image image = Pattern(2, 2);
  EXPECT_EQ(ResizeImage({}, 2, 2).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ResizeImage({image.rgb.data(), 0, 2}, 2, 2).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ResizeImage(View(image), 0, 2).status().message(), "resize: expected a size of at least 1 x 1, got 0 x 2");
  EXPECT_EQ(ResizeImage(View(image), 2, -1).status().code(), StatusCode::kInvalidArgument);
}

TEST(PreprocessImage, EqualsNumpy) {
  // The bits of the float32 values, channels first.
  constexpr std::uint32_t kExpected[] = {0xbda3f598, 0xbe181f67, 0x3e865e21, 0x3e11fc34, 0xbdbd4f96, 0x3e2e4089,
                                         0x3da93b85, 0x3d8560cf, 0x3eb6ab4d, 0x3e9be5dd, 0x3ea4d257, 0x3f22b97e};
  const Image image = Pattern(9, 7);
  float output[13] = {};
  output[12] = 42.0F;
  ASSERT_TRUE(PreprocessImage(View(image), 2, {}, output).ok());
  for (std::size_t i = 0; i < 12; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &output[i], sizeof(bits));
    EXPECT_EQ(bits, kExpected[i]) << i << ": " << output[i];
  }
  EXPECT_EQ(output[12], 42.0F) << "written behind the end";
}

TEST(PreprocessImage, UsesTheGivenNumbers) {
  Image image;
  image.width = 1;
  image.height = 1;
  image.rgb = {255, 0, 51};
  Preprocessing preprocessing;
  preprocessing.mean = {0.0F, 0.5F, 0.2F};
  preprocessing.stddev = {2.0F, 0.25F, 1.0F};
  float output[3] = {};
  ASSERT_TRUE(PreprocessImage(View(image), 1, preprocessing, output).ok());
  EXPECT_EQ(output[0], 0.5F);
  EXPECT_EQ(output[1], -2.0F);
  EXPECT_EQ(output[2], 0.0F);
}

TEST(PreprocessImage, RefusesEmptyPicturesAndSizes) {
  const Image image = Pattern(2, 2);
  float output[1] = {};
  EXPECT_EQ(PreprocessImage({}, 1, {}, output).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(PreprocessImage(View(image), 0, {}, output).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rrn
