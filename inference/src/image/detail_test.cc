
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "rrn/image.h"
#include "testing/pictures.h"

namespace rrn {
namespace {

using test_support::MakeDetailed;
using test_support::MakePicture;
using test_support::View;

double DetailOf(const Image& image) { return MeasureDetail(View(image)).detail; }

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
      if (std::abs(l) <= kDetailRounding) continue;
      sum += l;
      squares += l * l;
    }
  }
  const double count = 7 * 11;
  const Detail detail = MeasureDetail(View(image));
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
    const Detail detail = MeasureDetail(View(copy));
    EXPECT_EQ(detail.detail, DetailOf(original));
    EXPECT_EQ(detail.repeated, width * height - 60 * 40);
  }
}

}  // namespace
}  // namespace rrn
