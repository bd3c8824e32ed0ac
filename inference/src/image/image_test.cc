// Every kind of file that is read gives the right pixels, upright.
#include "rrn/image.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "image/decoders.h"
#include "image/test_files.h"

namespace rrn {
namespace {

using image_test::BmpSpec;
using image_test::Buffer;
using image_test::EncodeBmp;
using image_test::EncodeGif;
using image_test::EncodeJpeg;
using image_test::EncodePng;
using image_test::EncodeTiff;
using image_test::EncodeWebp;
using image_test::ExifBlock;
using image_test::GifFrame;
using image_test::JpegSpec;
using image_test::PngSpec;
using image_test::Rgb;
using image_test::TiffSpec;

Image Decode(const Buffer& file) {
  Result<Image> image = DecodeImage(file.data(), file.size());
  EXPECT_TRUE(image.ok()) << image.status().message();
  if (!image.ok()) {
    return {};
  }
  EXPECT_EQ(image->rgb.size(), static_cast<std::size_t>(image->width) * static_cast<std::size_t>(image->height) * 3);
  return *std::move(image);
}

std::vector<int> Pixels(const Buffer& file) {
  const Image image = Decode(file);
  return {image.rgb.begin(), image.rgb.end()};
}

void ExpectNear(const Image& image, int width, int height, const std::vector<int>& expected, int tolerance) {
  ASSERT_EQ(image.width, width);
  ASSERT_EQ(image.height, height);
  ASSERT_EQ(image.rgb.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(image.rgb[i], expected[i], tolerance) << "byte " << i;
  }
}

const std::uint8_t* PixelAt(const Image& image, int x, int y) {
  return image.rgb.data() + (std::ptrdiff_t{y} * image.width + x) * 3;
}

// A checkered picture of 2 x 3 cells in six colours, called A to F: no two of its eight orientations look the same.
constexpr int kColumns = 2;
constexpr int kRows = 3;
constexpr Rgb kLetters[] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 0}, {0, 255, 255}, {20, 20, 20}};

Buffer LetterPixels(int cell, bool alpha) {
  Buffer data;
  for (int y = 0; y < kRows * cell; ++y) {
    for (int x = 0; x < kColumns * cell; ++x) {
      const Rgb& color = kLetters[y / cell * kColumns + x / cell];
      for (const int value : color) {
        data.push_back(static_cast<std::uint8_t>(value));
      }
      if (alpha) {
        data.push_back(255);
      }
    }
  }
  return data;
}

// What is seen in the cells, row by row: "AB/CD/EF" for a picture that was not turned.
std::string Letters(const Image& image, int cell) {
  std::string seen;
  for (int y = cell / 2; y < image.height; y += cell) {
    for (int x = cell / 2; x < image.width; x += cell) {
      const std::uint8_t* pixel = PixelAt(image, x, y);
      int best = 1 << 20;
      char letter = '?';
      for (int i = 0; i < 6; ++i) {
        int distance = 0;
        for (int c = 0; c < 3; ++c) {
          const int d = pixel[c] - kLetters[i][static_cast<std::size_t>(c)];
          distance += d * d;
        }
        if (distance < best) {
          best = distance;
          letter = static_cast<char>('A' + i);
        }
      }
      seen += best < 1000 ? letter : '?';
    }
    seen += '/';
  }
  seen.pop_back();
  return seen;
}

// By the definition in the EXIF standard; [0] is "no orientation".
constexpr const char* kUpright[] = {"AB/CD/EF", "AB/CD/EF", "BA/DC/FE", "FE/DC/BA", "EF/CD/AB",
                                    "ACE/BDF",  "ECA/FDB",  "FDB/ECA",  "BDF/ACE"};

class Orientation : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(All, Orientation, testing::Range(0, 9));

TEST_P(Orientation, Jpeg) {
  constexpr int kCell = 16;
  for (const bool big_endian : {false, true}) {
    JpegSpec spec;
    spec.width = kColumns * kCell;
    spec.height = kRows * kCell;
    spec.exif = GetParam() == 0 ? Buffer() : ExifBlock(GetParam(), big_endian);
    EXPECT_EQ(Letters(Decode(EncodeJpeg(spec, LetterPixels(kCell, false))), kCell), kUpright[GetParam()]);
  }
}

TEST_P(Orientation, Png) {
  PngSpec spec;
  spec.width = kColumns;
  spec.height = kRows;
  spec.exif = GetParam() == 0 ? Buffer() : ExifBlock(GetParam());
  EXPECT_EQ(Letters(Decode(EncodePng(spec, LetterPixels(1, false))), 1), kUpright[GetParam()]);
}

TEST_P(Orientation, Webp) {
  const Buffer exif = GetParam() == 0 ? Buffer() : ExifBlock(GetParam());
  EXPECT_EQ(Letters(Decode(image_test::WebpWithExif(kColumns, kRows, LetterPixels(1, true), exif)), 1),
            kUpright[GetParam()]);
}

TEST_P(Orientation, Tiff) {
  for (const std::uint32_t tile : {0, 16}) {
    TiffSpec spec;
    spec.width = kColumns;
    spec.height = kRows;
    spec.tile = tile;
    spec.orientation = GetParam();
    EXPECT_EQ(Letters(Decode(EncodeTiff(spec, LetterPixels(1, false))), 1), kUpright[GetParam()]) << "tile " << tile;
  }
}

// Pictures larger than the blocks in which pixels are moved.
TEST_P(Orientation, OfABigPicture) {
  constexpr int kWidth = 71;
  constexpr int kHeight = 45;
  const auto red = [](int x, int y) { return static_cast<std::uint8_t>(x * 3 + y * 7); };
  Image stored;
  stored.width = kWidth;
  stored.height = kHeight;
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      stored.rgb.insert(stored.rgb.end(), {red(x, y), static_cast<std::uint8_t>(x), static_cast<std::uint8_t>(y)});
    }
  }
  const Image upright = image_internal::ApplyOrientation(stored, GetParam());
  ASSERT_EQ(upright.width, GetParam() < 5 ? kWidth : kHeight);
  ASSERT_EQ(upright.height, GetParam() < 5 ? kHeight : kWidth);
  // Where the corner (0, 0) and its neighbour (1, 0) went.
  const auto at = [&](int x, int y) {
    const std::uint8_t* p = PixelAt(upright, x, y);
    EXPECT_EQ(p[0], red(p[1], p[2]));
    return std::pair<int, int>(p[1], p[2]);
  };
  const int right = upright.width - 1;
  const int bottom = upright.height - 1;
  struct Corner {
    int x, y, next_x, next_y;
  };
  const Corner corners[] = {{0, 0, 1, 0},
                            {0, 0, 1, 0},
                            {right, 0, right - 1, 0},
                            {right, bottom, right - 1, bottom},
                            {0, bottom, 1, bottom},
                            {0, 0, 0, 1},
                            {right, 0, right, 1},
                            {right, bottom, right, bottom - 1},
                            {0, bottom, 0, bottom - 1}};
  const Corner& corner = corners[GetParam()];
  EXPECT_EQ(at(corner.x, corner.y), std::make_pair(0, 0));
  EXPECT_EQ(at(corner.next_x, corner.next_y), std::make_pair(1, 0));
  std::vector<bool> seen(stored.rgb.size() / 3);
  for (int y = 0; y <= bottom; ++y) {
    for (int x = 0; x <= right; ++x) {
      const auto [from_x, from_y] = at(x, y);
      seen[static_cast<std::size_t>(from_y) * kWidth + static_cast<std::size_t>(from_x)] = true;
    }
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), kWidth * kHeight);
}

// 8 x 8 pixels of one colour: what a JPEG can hold without loss.
Buffer Flat(const std::vector<int>& color) {
  Buffer data;
  for (int i = 0; i < 64; ++i) {
    data.insert(data.end(), color.begin(), color.end());
  }
  return data;
}

void ExpectFlat(const Buffer& file, const Rgb& color, int tolerance = 2) {
  std::vector<int> expected;
  for (int i = 0; i < 64; ++i) {
    expected.insert(expected.end(), color.begin(), color.end());
  }
  ExpectNear(Decode(file), 8, 8, expected, tolerance);
}

JpegSpec Jpeg(int components, J_COLOR_SPACE pixels, J_COLOR_SPACE stored) {
  JpegSpec spec;
  spec.width = 8;
  spec.height = 8;
  spec.components = components;
  spec.pixels = pixels;
  spec.stored = stored;
  return spec;
}

TEST(Jpeg, ColorKinds) {
  ExpectFlat(EncodeJpeg(Jpeg(3, JCS_RGB, JCS_YCbCr), Flat({200, 30, 90})), {200, 30, 90});
  ExpectFlat(EncodeJpeg(Jpeg(1, JCS_GRAYSCALE, JCS_GRAYSCALE), Flat({77})), {77, 77, 77});
  JpegSpec rgb = Jpeg(3, JCS_RGB, JCS_RGB);
  rgb.adobe_marker = true;
  ExpectFlat(EncodeJpeg(rgb, Flat({200, 30, 90})), {200, 30, 90});
}

TEST(Jpeg, Inks) {
  // Ink as it is printed: 200 of 255 cyan leaves 55 red; a black of 51 takes a fifth away.
  ExpectFlat(EncodeJpeg(Jpeg(4, JCS_CMYK, JCS_CMYK), Flat({200, 0, 100, 51})), {44, 204, 124});
  // With Adobe's marker the same numbers are light.
  for (const J_COLOR_SPACE stored : {JCS_CMYK, JCS_YCCK}) {
    JpegSpec adobe = Jpeg(4, JCS_CMYK, stored);
    adobe.adobe_marker = true;
    ExpectFlat(EncodeJpeg(adobe, Flat({55, 255, 155, 204})), {44, 204, 124});
  }
}

TEST(Jpeg, ProgressiveAndArithmetic) {
  for (const bool progressive : {false, true}) {
    for (const bool arithmetic : {false, true}) {
      JpegSpec spec = Jpeg(3, JCS_RGB, JCS_YCbCr);
      spec.progressive = progressive;
      spec.arithmetic = arithmetic;
      ExpectFlat(EncodeJpeg(spec, Flat({10, 220, 130})), {10, 220, 130});
    }
  }
}

TEST(Jpeg, TheFirstPictureOfSeveral) {
  Buffer file = EncodeJpeg(Jpeg(3, JCS_RGB, JCS_YCbCr), Flat({10, 220, 130}));
  image_test::Append(&file, EncodeJpeg(Jpeg(3, JCS_RGB, JCS_YCbCr), Flat({255, 0, 0})));
  ExpectFlat(file, {10, 220, 130});
}

TEST(Jpeg, RefusesDamageThatLibjpegPaintsOver) {
  JpegSpec spec = Jpeg(3, JCS_RGB, JCS_YCbCr);
  spec.width = 64;
  spec.height = 64;
  spec.restart_rows = 1;
  Buffer data;
  for (int i = 0; i < 64 * 64 * 3; ++i) {
    data.push_back(static_cast<std::uint8_t>(i * i % 251));
  }
  Buffer file = EncodeJpeg(spec, data);
  ASSERT_TRUE(DecodeImage(file.data(), file.size()).ok());
  // A restart marker in the wrong place: everything behind it would be shifted.
  const Buffer marker = {0xFF, 0xD3};
  const auto found = std::search(file.begin(), file.end(), marker.begin(), marker.end());
  ASSERT_NE(found, file.end());
  found[1] = 0xD6;
  EXPECT_EQ(DecodeImage(file.data(), file.size()).status().code(), StatusCode::kCorrupt);
}

// A file whose last scan was cut out and that still ends well: libjpeg says nothing and shows the colour as grey.
TEST(Jpeg, RefusesAMissingComponent) {
  JpegSpec spec = Jpeg(3, JCS_RGB, JCS_YCbCr);
  spec.separate_scans = true;
  const Buffer file = EncodeJpeg(spec, Flat({10, 220, 130}));
  ExpectFlat(file, {10, 220, 130});
  const Buffer scan = {0xFF, 0xDA};
  const auto last = std::find_end(file.begin(), file.end(), scan.begin(), scan.end());
  Buffer cut(file.begin(), last);
  image_test::Append(&cut, {0xFF, 0xD9});
  const Status status = DecodeImage(cut.data(), cut.size()).status();
  EXPECT_EQ(status.code(), StatusCode::kCorrupt);
  EXPECT_EQ(status.message(), "JPEG: the data of a colour component is missing");
}

PngSpec Png(int width, int height, int bits, int color_type) {
  PngSpec spec;
  spec.width = width;
  spec.height = height;
  spec.bits = bits;
  spec.color_type = color_type;
  return spec;
}

TEST(Png, Grey) {
  EXPECT_EQ(Pixels(EncodePng(Png(3, 1, 1, PNG_COLOR_TYPE_GRAY), {0xA0})),
            (std::vector<int>{255, 255, 255, 0, 0, 0, 255, 255, 255}));
  EXPECT_EQ(Pixels(EncodePng(Png(2, 1, 2, PNG_COLOR_TYPE_GRAY), {0x60})),
            (std::vector<int>{85, 85, 85, 170, 170, 170}));
  EXPECT_EQ(Pixels(EncodePng(Png(2, 1, 4, PNG_COLOR_TYPE_GRAY), {0x1F})),
            (std::vector<int>{17, 17, 17, 255, 255, 255}));
  EXPECT_EQ(Pixels(EncodePng(Png(1, 2, 8, PNG_COLOR_TYPE_GRAY), {7, 250})), (std::vector<int>{7, 7, 7, 250, 250, 250}));
  // 16 bits: value * 255 / 65535, rounded. 0x0181 / 257 = 1.498, 0x0182 / 257 = 1.502; cutting would give 1 for both.
  EXPECT_EQ(Pixels(EncodePng(Png(2, 1, 16, PNG_COLOR_TYPE_GRAY), {0x01, 0x81, 0x01, 0x82})),
            (std::vector<int>{1, 1, 1, 2, 2, 2}));
}

TEST(Png, GreyWithAlphaAndRgba) {
  EXPECT_EQ(Pixels(EncodePng(Png(3, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA), {100, 0, 100, 255, 100, 128})),
            (std::vector<int>{255, 255, 255, 100, 100, 100, 177, 177, 177}));
  EXPECT_EQ(Pixels(EncodePng(Png(2, 1, 8, PNG_COLOR_TYPE_RGB_ALPHA), {10, 20, 30, 255, 10, 20, 30, 51})),
            (std::vector<int>{10, 20, 30, 206, 208, 210}));
  EXPECT_EQ(Pixels(EncodePng(Png(1, 1, 16, PNG_COLOR_TYPE_RGB_ALPHA), {10, 10, 20, 20, 30, 30, 51, 51})),
            (std::vector<int>{206, 208, 210}));
}

TEST(Png, TransparentColor) {
  PngSpec grey = Png(2, 1, 8, PNG_COLOR_TYPE_GRAY);
  grey.transparent = 9;
  EXPECT_EQ(Pixels(EncodePng(grey, {9, 10})), (std::vector<int>{255, 255, 255, 10, 10, 10}));
  PngSpec rgb = Png(2, 1, 8, PNG_COLOR_TYPE_RGB);
  rgb.transparent = 9;
  EXPECT_EQ(Pixels(EncodePng(rgb, {9, 9, 9, 9, 9, 8})), (std::vector<int>{255, 255, 255, 9, 9, 8}));
}

TEST(Png, Palette) {
  for (const int bits : {1, 2, 4, 8}) {
    PngSpec spec = Png(2, 1, bits, PNG_COLOR_TYPE_PALETTE);
    spec.palette = {{1, 2, 3}, {100, 110, 120}};
    const Buffer row = {static_cast<std::uint8_t>(bits == 8 ? 1 : 1 << (8 - bits)), 0};
    const Buffer data(row.begin(), row.begin() + (bits == 8 ? 2 : 1));
    EXPECT_EQ(Pixels(EncodePng(spec, data)), (std::vector<int>{100, 110, 120, 1, 2, 3})) << bits;
    spec.palette_alpha = {255, 0};
    EXPECT_EQ(Pixels(EncodePng(spec, data)), (std::vector<int>{255, 255, 255, 1, 2, 3})) << bits;
  }
}

TEST(Png, InterlacedEqualsPlain) {
  for (const int color_type : {PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA}) {
    PngSpec spec = Png(13, 11, 8, color_type);
    Buffer data;
    for (int i = 0; i < 13 * 11 * (color_type == PNG_COLOR_TYPE_RGB ? 3 : 4); ++i) {
      data.push_back(static_cast<std::uint8_t>(i * 37));
    }
    const std::vector<int> plain = Pixels(EncodePng(spec, data));
    if (color_type == PNG_COLOR_TYPE_RGB) {
      EXPECT_EQ(plain, std::vector<int>(data.begin(), data.end()));
    }
    spec.interlaced = true;
    EXPECT_EQ(Pixels(EncodePng(spec, data)), plain);
  }
}

TEST(Webp, LosslessWithAndWithoutAlpha) {
  EXPECT_EQ(Pixels(EncodeWebp(2, 1, {10, 20, 30, 255, 40, 50, 60, 255})), (std::vector<int>{10, 20, 30, 40, 50, 60}));
  EXPECT_EQ(Pixels(EncodeWebp(2, 1, {10, 20, 30, 51, 40, 50, 60, 0})),
            (std::vector<int>{206, 208, 210, 255, 255, 255}));
}

TEST(Webp, Lossy) {
  Buffer rgba;
  std::vector<int> expected;
  for (int i = 0; i < 256; ++i) {
    rgba.insert(rgba.end(), {200, 100, 50, 255});
    expected.insert(expected.end(), {200, 100, 50});
  }
  ExpectNear(Decode(image_test::EncodeLossyWebp(16, 16, rgba)), 16, 16, expected, 4);
}

TEST(Webp, FirstFrameOfAnAnimationOnWhite) {
  const Buffer file =
      image_test::AnimatedWebp(4, 2, 2, 0, 2, 1, {{10, 20, 30, 255, 10, 20, 30, 0}, {255, 0, 0, 255, 255, 0, 0, 255}});
  const Image image = Decode(file);
  std::vector<int> expected(std::size_t{4} * 2 * 3, 255);
  expected[6] = 10;
  expected[7] = 20;
  expected[8] = 30;
  ExpectNear(image, 4, 2, expected, 0);
}

TEST(Gif, PlainAndInterlaced) {
  const std::vector<GifColorType> colors = {{0, 0, 0}, {255, 0, 0}, {0, 255, 0}, {9, 8, 7}};
  GifFrame frame;
  frame.width = 2;
  frame.height = 9;
  std::vector<int> expected;
  for (int y = 0; y < 9; ++y) {
    for (int x = 0; x < 2; ++x) {
      const int index = (x + y) % 4;
      frame.indices.push_back(static_cast<std::uint8_t>(index));
      const GifColorType& color = colors[static_cast<std::size_t>(index)];
      expected.insert(expected.end(), {color.Red, color.Green, color.Blue});
    }
  }
  for (const bool interlaced : {false, true}) {
    frame.interlaced = interlaced;
    EXPECT_EQ(Pixels(EncodeGif(2, 9, colors, {frame})), expected) << interlaced;
  }
}

TEST(Gif, FirstFrameOnAWhiteCanvas) {
  const std::vector<GifColorType> colors = {{0, 0, 0}, {9, 8, 7}};
  GifFrame first;
  first.left = 1;
  first.top = 1;
  first.width = 2;
  first.height = 1;
  first.transparent = 0;
  first.indices = {1, 0};
  GifFrame second = first;
  second.indices = {1, 1};
  std::vector<int> expected(std::size_t{4} * 2 * 3, 255);
  expected[15] = 9;
  expected[16] = 8;
  expected[17] = 7;
  ExpectNear(Decode(EncodeGif(4, 2, colors, {first, second})), 4, 2, expected, 0);
  // A frame that leaves the canvas makes it bigger.
  ExpectNear(Decode(EncodeGif(1, 1, colors, {first})), 3, 2,
             {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 9, 8, 7, 255, 255, 255}, 0);
}

TiffSpec Tiff(std::uint32_t width, std::uint32_t height, int bits, int samples, int photometric) {
  TiffSpec spec;
  spec.width = width;
  spec.height = height;
  spec.bits = bits;
  spec.samples = samples;
  spec.photometric = photometric;
  return spec;
}

TEST(Tiff, RgbInEveryLayout) {
  Buffer data;
  for (int i = 0; i < 20 * 19 * 3; ++i) {
    data.push_back(static_cast<std::uint8_t>(i * 41));
  }
  const std::vector<int> expected(data.begin(), data.end());
  TiffSpec spec = Tiff(20, 19, 8, 3, PHOTOMETRIC_RGB);
  for (const int compression : {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS}) {
    spec.compression = compression;
    for (const std::uint32_t tile : {0, 16}) {
      spec.tile = tile;
      for (const char* mode : {"wl", "wb", "w8"}) {
        spec.mode = mode;
        EXPECT_EQ(Pixels(EncodeTiff(spec, data)), expected) << compression << ' ' << tile << ' ' << mode;
      }
    }
  }
  TiffSpec planes = Tiff(2, 1, 8, 3, PHOTOMETRIC_RGB);
  planes.planar = PLANARCONFIG_SEPARATE;
  EXPECT_EQ(Pixels(EncodeTiff(planes, {1, 2, 3, 4, 5, 6})), (std::vector<int>{1, 3, 5, 2, 4, 6}));
}

TEST(Tiff, GreyPaletteAndInks) {
  EXPECT_EQ(Pixels(EncodeTiff(Tiff(2, 1, 8, 1, PHOTOMETRIC_MINISBLACK), {7, 200})),
            (std::vector<int>{7, 7, 7, 200, 200, 200}));
  EXPECT_EQ(Pixels(EncodeTiff(Tiff(2, 1, 8, 1, PHOTOMETRIC_MINISWHITE), {7, 200})),
            (std::vector<int>{248, 248, 248, 55, 55, 55}));
  EXPECT_EQ(Pixels(EncodeTiff(Tiff(3, 1, 1, 1, PHOTOMETRIC_MINISBLACK), {0xA0})),
            (std::vector<int>{255, 255, 255, 0, 0, 0, 255, 255, 255}));
  const std::uint16_t grey[] = {0x0707, 0xC8C8};
  Buffer bytes(sizeof(grey));
  std::memcpy(bytes.data(), grey, sizeof(grey));
  EXPECT_EQ(Pixels(EncodeTiff(Tiff(2, 1, 16, 1, PHOTOMETRIC_MINISBLACK), bytes)),
            (std::vector<int>{7, 7, 7, 200, 200, 200}));
  TiffSpec palette = Tiff(2, 1, 8, 1, PHOTOMETRIC_PALETTE);
  palette.palette.resize(256);
  palette.palette[3] = {0x0A0A, 0x1414, 0x1E1E};
  EXPECT_EQ(Pixels(EncodeTiff(palette, {3, 0})), (std::vector<int>{10, 20, 30, 0, 0, 0}));
  ExpectNear(Decode(EncodeTiff(Tiff(1, 1, 8, 4, PHOTOMETRIC_SEPARATED), {200, 0, 100, 51})), 1, 1, {44, 204, 124}, 1);
}

TEST(Tiff, AlphaOverWhite) {
  TiffSpec spec = Tiff(2, 1, 8, 4, PHOTOMETRIC_RGB);
  spec.extra_sample = EXTRASAMPLE_UNASSALPHA;
  EXPECT_EQ(Pixels(EncodeTiff(spec, {10, 20, 30, 51, 10, 20, 30, 255})), (std::vector<int>{206, 208, 210, 10, 20, 30}));
  spec.extra_sample = EXTRASAMPLE_ASSOCALPHA;
  EXPECT_EQ(Pixels(EncodeTiff(spec, {2, 4, 6, 51, 10, 20, 30, 255})), (std::vector<int>{206, 208, 210, 10, 20, 30}));
  // An extra sample counts as alpha only where the file says so.
  spec.extra_sample = EXTRASAMPLE_UNSPECIFIED;
  EXPECT_EQ(Pixels(EncodeTiff(spec, {10, 20, 30, 51, 10, 20, 30, 0})), (std::vector<int>{10, 20, 30, 10, 20, 30}));
  TiffSpec grey = Tiff(1, 1, 8, 2, PHOTOMETRIC_MINISBLACK);
  grey.extra_sample = EXTRASAMPLE_UNASSALPHA;
  EXPECT_EQ(Pixels(EncodeTiff(grey, {100, 128})), (std::vector<int>{177, 177, 177}));
}

TEST(Tiff, RefusesFloatingPoint) {
  TiffSpec spec = Tiff(1, 1, 32, 1, PHOTOMETRIC_MINISBLACK);
  spec.sample_format = SAMPLEFORMAT_IEEEFP;
  const Buffer file = EncodeTiff(spec, {0, 0, 0, 0});
  EXPECT_EQ(DecodeImage(file.data(), file.size()).status().code(), StatusCode::kUnsupported);
}

BmpSpec Bmp(int width, int height, int bits) {
  BmpSpec spec;
  spec.width = width;
  spec.height = height;
  spec.bits = bits;
  return spec;
}

TEST(Bmp, TrueColorBottomUpAndTopDown) {
  // Two rows of one pixel, padded to four bytes, blue first.
  const Buffer data = {30, 20, 10, 0, 60, 50, 40, 0};
  EXPECT_EQ(Pixels(EncodeBmp(Bmp(1, 2, 24), data)), (std::vector<int>{40, 50, 60, 10, 20, 30}));
  EXPECT_EQ(Pixels(EncodeBmp(Bmp(1, -2, 24), data)), (std::vector<int>{10, 20, 30, 40, 50, 60}));
  BmpSpec core = Bmp(1, 2, 24);
  core.header = 12;
  EXPECT_EQ(Pixels(EncodeBmp(core, data)), (std::vector<int>{40, 50, 60, 10, 20, 30}));
  core.header = 64;
  EXPECT_EQ(Pixels(EncodeBmp(core, data)), (std::vector<int>{40, 50, 60, 10, 20, 30}));
}

TEST(Bmp, Palettes) {
  for (const std::uint32_t header : {12U, 40U, 124U}) {
    for (const int bits : {1, 2, 4, 8}) {
      BmpSpec spec = Bmp(2, 1, bits);
      spec.header = header;
      spec.palette.assign(std::size_t{1} << bits, 0);
      spec.palette[0] = 0x010203;
      spec.palette[1] = 0x646E78;
      const Buffer data = {static_cast<std::uint8_t>(bits == 8 ? 1 : 1 << (8 - bits)), 0, 0, 0};
      EXPECT_EQ(Pixels(EncodeBmp(spec, data)), (std::vector<int>{100, 110, 120, 1, 2, 3})) << header << ' ' << bits;
    }
  }
}

TEST(Bmp, SixteenBits) {
  // 5 bits of 16, 8 and 24 of 31: 132, 66 and 197 of 255.
  const Buffer x555 = {0x18, 0x41, 0, 0};  // 16 << 10 | 8 << 5 | 24
  EXPECT_EQ(Pixels(EncodeBmp(Bmp(1, 1, 16), x555)), (std::vector<int>{132, 66, 197}));
  for (const std::uint32_t header : {40U, 52U, 108U}) {
    BmpSpec spec = Bmp(1, 1, 16);
    spec.header = header;
    spec.compression = 3;
    spec.masks = {0xF800, 0x07E0, 0x001F};
    const Buffer x565 = {0x18, 0x82, 0, 0};  // 16 << 11 | 16 << 5 | 24
    EXPECT_EQ(Pixels(EncodeBmp(spec, x565)), (std::vector<int>{132, 65, 197})) << header;
  }
}

TEST(Bmp, ThirtyTwoBitsAndAlpha) {
  const Buffer data = {30, 20, 10, 51, 60, 50, 40, 255};
  const std::vector<int> opaque = {10, 20, 30, 40, 50, 60};
  const std::vector<int> flat = {206, 208, 210, 40, 50, 60};
  EXPECT_EQ(Pixels(EncodeBmp(Bmp(2, 1, 32), data)), opaque);
  BmpSpec fields = Bmp(2, 1, 32);
  fields.compression = 3;
  fields.masks = {0xFF0000, 0xFF00, 0xFF};
  EXPECT_EQ(Pixels(EncodeBmp(fields, data)), opaque);
  fields.masks.push_back(0xFF000000);
  for (const std::uint32_t header : {56U, 108U, 124U}) {
    fields.header = header;
    EXPECT_EQ(Pixels(EncodeBmp(fields, data)), flat) << header;
  }
  fields.header = 40;
  fields.compression = 6;
  EXPECT_EQ(Pixels(EncodeBmp(fields, data)), flat);
  // Alpha that is zero everywhere was not meant.
  EXPECT_EQ(Pixels(EncodeBmp(fields, {30, 20, 10, 0, 60, 50, 40, 0})), opaque);
  fields.masks = {0xFF, 0xFF00, 0xFF0000, 0};
  EXPECT_EQ(Pixels(EncodeBmp(fields, data)), (std::vector<int>{30, 20, 10, 60, 50, 40}));
}

TEST(Bmp, RunLengths) {
  BmpSpec spec = Bmp(5, 2, 8);
  spec.compression = 1;
  spec.palette = {0x000000, 0x0A0A0A, 0x141414, 0x1E1E1E};
  // The lower row: three of 1, then two of 2. The upper row: a jump over one, literals 3 2 1 (padded), end.
  const Buffer rle8 = {3, 1, 2, 2, 0, 0, 0, 2, 1, 0, 0, 3, 3, 2, 1, 0, 0, 1};
  const auto grey = [](const std::vector<int>& values) {
    std::vector<int> rgb;
    for (const int value : values) {
      rgb.insert(rgb.end(), 3, value);
    }
    return rgb;
  };
  EXPECT_EQ(Pixels(EncodeBmp(spec, rle8)), grey({0, 30, 20, 10, 0, 10, 10, 10, 20, 20}));
  spec.bits = 4;
  spec.compression = 2;
  // The lower row: five of 1 2 1 2 1. The upper row: literals 3 2 1 0 3.
  const Buffer rle4 = {5, 0x12, 0, 0, 0, 5, 0x32, 0x10, 0x30, 0, 0, 1};
  EXPECT_EQ(Pixels(EncodeBmp(spec, rle4)), grey({30, 20, 10, 0, 30, 10, 20, 10, 20, 10}));
}

TEST(Bmp, RefusesDamage) {
  BmpSpec rle = Bmp(2, 1, 8);
  rle.compression = 1;
  rle.palette = {0, 0xFFFFFF};
  const Buffer files[] = {
      EncodeBmp(rle, {2, 1, 2, 1, 0, 1}),            // Two pixels more than the row has.
      EncodeBmp(rle, {1, 1}),                        // Half a row and no end.
      EncodeBmp(Bmp(1, 2, 24), {1, 2, 3, 0, 1, 2}),  // Half a pixel is missing.
      EncodeBmp(Bmp(1, 1, 23), {1, 2, 3, 0}),
      EncodeBmp(Bmp(-1, 1, 24), {1, 2, 3, 0}),
  };
  for (const Buffer& file : files) {
    EXPECT_EQ(DecodeImage(file.data(), file.size()).status().code(), StatusCode::kCorrupt);
  }
}

// A picture without sharp edges, which JPEG keeps well.
Image Slope(int width, int height) {
  Image image;
  image.width = width;
  image.height = height;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.rgb.push_back(static_cast<std::uint8_t>(20 + 200 * x / width));
      image.rgb.push_back(static_cast<std::uint8_t>(220 - 200 * y / height));
      image.rgb.push_back(static_cast<std::uint8_t>(60 + 100 * x / width));
    }
  }
  return image;
}

Result<Buffer> Encoded(const Image& image, int quality) {
  return rrn::EncodeJpeg({image.rgb.data(), image.width, image.height}, quality);
}

TEST(EncodeJpegTest, DecodesToNearlyTheSamePixels) {
  for (const auto& [width, height] : {std::pair{160, 120}, {33, 7}, {1, 1}, {1, 40}}) {
    const Image image = Slope(width, height);
    const Result<Buffer> file = Encoded(image, 90);
    ASSERT_TRUE(file.ok()) << file.status().message();
    ExpectNear(Decode(*file), width, height, {image.rgb.begin(), image.rgb.end()}, 12);
    EXPECT_EQ(*file, *Encoded(image, 90));
  }
}

TEST(EncodeJpegTest, LowerQualityIsSmaller) {
  const Image image = Slope(160, 120);
  EXPECT_LT(Encoded(image, 20)->size(), Encoded(image, 95)->size());
  EXPECT_LT(Encoded(image, 70)->size(), 4000U);
}

TEST(EncodeJpegTest, RefusesWhatItCannotEncode) {
  const Image image = Slope(4, 4);
  for (const int quality : {0, -1, 101}) {
    EXPECT_EQ(Encoded(image, quality).status().code(), StatusCode::kInvalidArgument) << quality;
  }
  for (const ImageView& view : {ImageView{}, ImageView{image.rgb.data(), 0, 4}, ImageView{image.rgb.data(), 65501, 1},
                                ImageView{nullptr, 4, 4}}) {
    EXPECT_EQ(rrn::EncodeJpeg(view, 70).status().code(), StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace rrn
