// Decoding at a fraction of the size: how small pictures get, and that the resized result hardly differs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "image/resize_rows.h"
#include "image/test_files.h"
#include "rrn/image.h"

namespace rrn {
namespace {

using image_test::Buffer;
using image_test::JpegSpec;

constexpr double kLeastDecibels = 40;

// Something like a photo: soft shapes of every size, the big ones strongest, some hard edges, and a little noise.
// Channels differ. `channels` is 3, or 4 with opaque alpha.
Buffer Scene(int width, int height, int channels) {
  struct Wave {
    double strength;
    std::vector<double> across, down;
  };
  std::vector<Wave> waves;
  double strength = 40;
  for (const double period : {700.0, 260.0, 96.0, 36.0, 13.0, 5.0}) {
    Wave& wave = waves.emplace_back();
    wave.strength = strength;
    for (int x = 0; x < width; ++x) wave.across.push_back(std::sin(6.28 * x / period));
    for (int y = 0; y < height; ++y) wave.down.push_back(std::cos(6.28 * (y / period - 0.2)));
    strength /= 2;
  }
  Buffer data;
  data.reserve(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * static_cast<std::size_t>(channels));
  std::uint32_t state = 1;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const bool roof = (x * 3 + y * 2) % 1900 < 600;
      for (int c = 0; c < 3; ++c) {
        const auto column = static_cast<std::size_t>(std::min(x + 40 * c, width - 1));
        double value = 110 + (roof ? 50 : 0) + 12 * c;
        for (const Wave& wave : waves) {
          value += wave.strength * wave.across[column] * wave.down[static_cast<std::size_t>(y)];
        }
        state = state * 1664525U + 1013904223U;
        value += static_cast<double>(state >> 28U) - 7.5;
        data.push_back(static_cast<std::uint8_t>(std::clamp(value, 0.0, 255.0)));
      }
      if (channels == 4) {
        data.push_back(255);
      }
    }
  }
  return data;
}

Buffer SceneJpeg(int width, int height, bool progressive, int orientation = 1) {
  JpegSpec spec;
  spec.width = width;
  spec.height = height;
  spec.progressive = progressive;
  spec.exif = image_test::ExifBlock(orientation);
  return EncodeJpeg(spec, Scene(width, height, 3));
}

Image Decode(const Buffer& file, int target) {
  DecodeOptions options;
  options.target = target;
  Result<Image> image = DecodeImage(file.data(), file.size(), options);
  EXPECT_TRUE(image.ok()) << image.status().message();
  return image.ok() ? *std::move(image) : Image();
}

std::string Size(const Image& image) { return std::to_string(image.width) + "x" + std::to_string(image.height); }

Image Resized(const Image& image, int side) {
  return *ResizeImage({image.rgb.data(), image.width, image.height}, side, side);
}

double Decibels(const Image& one, const Image& two) {
  EXPECT_EQ(Size(one), Size(two));
  double squares = 0;
  for (std::size_t i = 0; i < one.rgb.size(); ++i) {
    const double difference = static_cast<double>(one.rgb[i]) - static_cast<double>(two.rgb[i]);
    squares += difference * difference;
  }
  return 10 * std::log10(255.0 * 255.0 * static_cast<double>(one.rgb.size()) / std::max(squares, 1e-9));
}

// Every output pixel is the mean of the source pixels it covers; the sides are multiples of the result's.
Image AreaResized(const Image& image, int side) {
  Image result;
  result.width = result.height = side;
  const int across = image.width / side;
  const int down = image.height / side;
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      for (int c = 0; c < 3; ++c) {
        int sum = 0;
        for (int i = 0; i < across * down; ++i) {
          const int row = y * down + i / across;
          const std::ptrdiff_t at = std::ptrdiff_t{row} * image.width + std::ptrdiff_t{x} * across + i % across;
          sum += image.rgb[static_cast<std::size_t>(at * 3 + c)];
        }
        result.rgb.push_back(static_cast<std::uint8_t>((sum + across * down / 2) / (across * down)));
      }
    }
  }
  return result;
}

TEST(FractionTest, JpegsShrinkByPowersOfTwoAndKeepTheGap) {
  const Buffer file = SceneJpeg(801, 602, false);
  EXPECT_EQ(Size(Decode(file, 0)), "801x602");
  EXPECT_EQ(Size(Decode(file, 151)), "801x602");
  EXPECT_EQ(Size(Decode(file, 150)), "401x301");
  EXPECT_EQ(Size(Decode(file, 76)), "401x301");
  EXPECT_EQ(Size(Decode(file, 75)), "201x151");
  EXPECT_EQ(Size(Decode(file, 32)), "101x76");
  EXPECT_EQ(Size(Decode(file, 1)), "101x76");
}

TEST(FractionTest, WebpsShrinkByAnyNumber) {
  const Buffer file = image_test::EncodeLossyWebp(801, 602, Scene(801, 602, 4));
  EXPECT_EQ(Size(Decode(file, 0)), "801x602");
  EXPECT_EQ(Size(Decode(file, 151)), "801x602");
  EXPECT_EQ(Size(Decode(file, 100)), "267x201");
}

TEST(FractionTest, TransparentWebpsAndOtherFormatsDoNot) {
  Buffer rgba = Scene(400, 300, 4);
  rgba[3] = 254;
  EXPECT_EQ(Size(Decode(image_test::EncodeLossyWebp(400, 300, rgba), 32)), "400x300");
  image_test::PngSpec spec;
  spec.width = 400;
  spec.height = 300;
  EXPECT_EQ(Size(Decode(EncodePng(spec, Scene(400, 300, 3)), 32)), "400x300");
}

TEST(FractionTest, IsTurnedUprightToo) { EXPECT_EQ(Size(Decode(SceneJpeg(800, 400, false, 6), 50)), "100x200"); }

TEST(FractionTest, TheFullSizeIsKnown) {
  const auto full = [](const Image& image) {
    return std::to_string(image.full_width) + "x" + std::to_string(image.full_height);
  };
  EXPECT_EQ(full(Decode(SceneJpeg(803, 400, false), 50)), "803x400");
  EXPECT_EQ(full(Decode(SceneJpeg(803, 400, false, 6), 50)), "400x803");
  EXPECT_EQ(full(Decode(SceneJpeg(803, 400, false), 0)), "803x400");
  const Buffer rgba = Scene(640, 481, 4);
  EXPECT_EQ(full(Decode(image_test::EncodeLossyWebp(640, 481, rgba), 50)), "640x481");
  image_test::PngSpec png;
  png.width = 640;
  png.height = 481;
  png.color_type = PNG_COLOR_TYPE_RGBA;
  EXPECT_EQ(full(Decode(image_test::EncodePng(png, rgba), 50)), "640x481");
}

TEST(FractionTest, ResizedResultsHardlyDiffer) {
  constexpr int kSide = 112;
  const int width = kSide * 16;
  const int height = kSide * 12;
  for (const bool progressive : {false, true}) {
    const Buffer file = SceneJpeg(width, height, progressive);
    const Image whole = Decode(file, 0);
    const Image fraction = Decode(file, kSide);
    EXPECT_EQ(Size(fraction), "448x336");
    EXPECT_GE(Decibels(Resized(fraction, kSide), Resized(whole, kSide)), kLeastDecibels);
    EXPECT_GE(Decibels(Resized(fraction, kSide), AreaResized(whole, kSide)), kLeastDecibels);
  }
  const Buffer webp = image_test::EncodeLossyWebp(width, height, Scene(width, height, 4));
  const Image whole = Decode(webp, 0);
  const Image fraction = Decode(webp, kSide);
  EXPECT_EQ(Size(fraction), "299x224");
  EXPECT_GE(Decibels(Resized(fraction, kSide), Resized(whole, kSide)), kLeastDecibels);
  EXPECT_GE(Decibels(Resized(fraction, kSide), AreaResized(whole, kSide)), kLeastDecibels);
}

TEST(FractionTest, CmykAndGreyShrinkAsWell) {
  for (const J_COLOR_SPACE space : {JCS_CMYK, JCS_GRAYSCALE}) {
    JpegSpec spec;
    spec.width = spec.height = 256;
    spec.components = space == JCS_CMYK ? 4 : 1;
    spec.pixels = spec.stored = space;
    const Buffer file = EncodeJpeg(spec, Scene(256, 256, spec.components == 4 ? 4 : 3));
    const Image fraction = Decode(file, 32);
    EXPECT_EQ(Size(fraction), "64x64");
    EXPECT_GE(Decibels(Resized(fraction, 32), Resized(Decode(file, 0), 32)), 30);
  }
}

TEST(RowKernelsTest, AllGiveTheSameBytes) {
  using namespace image_internal;  // NOLINT(google-build-using-namespace)
  const RowKernels& chosen = ChooseRowKernels();
  std::uint32_t state = 7;
  const auto random = [&state](std::uint32_t below) {
    state = state * 1664525U + 1013904223U;
    return (state >> 8U) % below;
  };
  for (int round = 0; round < 200; ++round) {
    // Spans of random length and place, and weights up to the largest possible.
    Filter filter;
    const auto width = static_cast<int>(random(60) + 1);
    for (int i = 0; i < 9; ++i) {
      Span span;
      span.first = static_cast<int>(random(static_cast<std::uint32_t>(width)));
      span.count = static_cast<int>(random(static_cast<std::uint32_t>(width - span.first)) + 1);
      span.weights = filter.weights.size();
      std::uint32_t left = 1U << static_cast<unsigned>(kPrecision);
      for (int k = 0; k < span.count; ++k) {
        const std::uint32_t weight = k + 1 == span.count ? left : random(left + 1);
        filter.weights.push_back(static_cast<std::int32_t>(weight));
        left -= weight;
      }
      filter.spans.push_back(span);
    }
    PackWeights(&filter);
    const std::size_t size = filter.spans.size() * 3;
    for (int count = 1; count <= kRowBlock; ++count) {
      std::vector<std::vector<std::uint8_t>> rows(kRowBlock);
      std::vector<std::vector<std::uint8_t>> portable(kRowBlock, std::vector<std::uint8_t>(size, 1));
      std::vector<std::vector<std::uint8_t>> fast = portable;
      const std::uint8_t* from[kRowBlock];
      std::uint8_t* to_portable[kRowBlock];
      std::uint8_t* to_fast[kRowBlock];
      for (std::size_t i = 0; i < kRowBlock; ++i) {
        rows[i].resize(static_cast<std::size_t>(width) * 3 + kReadAhead);
        for (std::uint8_t& byte : rows[i]) byte = static_cast<std::uint8_t>(random(4) == 0 ? 255 : random(256));
        from[i] = rows[i].data();
        to_portable[i] = portable[i].data();
        to_fast[i] = fast[i].data();
      }
      kPortableRowKernels.resize_rows(from, count, filter, to_portable);
      chosen.resize_rows(from, count, filter, to_fast);
      ASSERT_EQ(portable, fast);
    }
    std::vector<std::int32_t> sums(static_cast<std::size_t>(width), kHalf);
    std::vector<std::int32_t> same = sums;
    std::vector<std::uint8_t> row(sums.size());
    for (std::uint8_t& byte : row) byte = static_cast<std::uint8_t>(random(256));
    const auto weight = static_cast<std::int32_t>(random(1U << static_cast<unsigned>(kPrecision)));
    kPortableRowKernels.add_row(row.data(), weight, row.size(), sums.data());
    chosen.add_row(row.data(), weight, row.size(), same.data());
    ASSERT_EQ(sums, same);
    std::vector<std::uint8_t> other(row.size());
    kPortableRowKernels.to_bytes(sums.data(), sums.size(), row.data());
    chosen.to_bytes(sums.data(), sums.size(), other.data());
    ASSERT_EQ(row, other);
  }
}

}  // namespace
}  // namespace rrn
