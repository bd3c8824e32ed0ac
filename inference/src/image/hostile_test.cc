// Files that are cut short, damaged, too big, no pictures or no files: each is an error of the right kind, and none
// crashes, hangs or takes much memory. Run under the sanitizers these tests also find reads outside of the files.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "image/test_files.h"
#include "rrn/image.h"

namespace rrn {
namespace {

using image_test::Buffer;
using image_test::Text;

struct Sample {
  std::string name;
  Buffer file;
};

// A small file of every kind.
std::vector<Sample> Samples() {
  constexpr int kWidth = 17;
  constexpr int kHeight = 9;
  Buffer rgb;
  Buffer rgba;
  Buffer cmyk;
  Buffer indices;
  for (int i = 0; i < kWidth * kHeight; ++i) {
    const auto value = static_cast<std::uint8_t>(i * 29 + i * i);
    const auto other = static_cast<std::uint8_t>(value ^ (i / 3));
    rgb.insert(rgb.end(), {value, other, static_cast<std::uint8_t>(i)});
    rgba.insert(rgba.end(), {value, other, static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(255 - i)});
    cmyk.insert(cmyk.end(), {value, other, static_cast<std::uint8_t>(i), 20});
    indices.push_back(value % 4);
  }
  std::vector<Sample> samples;

  image_test::JpegSpec jpeg;
  jpeg.width = kWidth;
  jpeg.height = kHeight;
  jpeg.exif = image_test::ExifBlock(6);
  samples.push_back({"jpeg", image_test::EncodeJpeg(jpeg, rgb)});
  jpeg.progressive = true;
  samples.push_back({"progressive jpeg", image_test::EncodeJpeg(jpeg, rgb)});
  jpeg.arithmetic = true;
  samples.push_back({"arithmetic jpeg", image_test::EncodeJpeg(jpeg, rgb)});
  image_test::JpegSpec inks;
  inks.width = kWidth;
  inks.height = kHeight;
  inks.components = 4;
  inks.pixels = JCS_CMYK;
  inks.stored = JCS_YCCK;
  inks.adobe_marker = true;
  inks.restart_rows = 1;
  samples.push_back({"ycck jpeg", image_test::EncodeJpeg(inks, cmyk)});

  image_test::PngSpec png;
  png.width = kWidth;
  png.height = kHeight;
  png.exif = image_test::ExifBlock(3);
  samples.push_back({"png", image_test::EncodePng(png, rgb)});
  png.color_type = PNG_COLOR_TYPE_RGB_ALPHA;
  png.interlaced = true;
  samples.push_back({"interlaced png", image_test::EncodePng(png, rgba)});
  image_test::PngSpec palette;
  palette.width = kWidth;
  palette.height = kHeight;
  palette.color_type = PNG_COLOR_TYPE_PALETTE;
  palette.palette = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {255, 254, 253}};
  palette.palette_alpha = {0, 128};
  samples.push_back({"palette png", image_test::EncodePng(palette, indices)});

  samples.push_back({"lossless webp", image_test::EncodeWebp(kWidth, kHeight, rgba)});
  samples.push_back({"lossy webp", image_test::EncodeLossyWebp(kWidth, kHeight, rgba)});
  samples.push_back({"webp with exif", image_test::WebpWithExif(kWidth, kHeight, rgba, image_test::ExifBlock(8))});
  samples.push_back({"animated webp", image_test::AnimatedWebp(20, 12, 2, 2, kWidth, kHeight, {rgba, rgba})});

  const std::vector<GifColorType> colors = {{0, 0, 0}, {255, 0, 0}, {0, 255, 0}, {9, 8, 7}};
  image_test::GifFrame frame;
  frame.width = kWidth;
  frame.height = kHeight;
  frame.indices = indices;
  samples.push_back({"gif", image_test::EncodeGif(kWidth, kHeight, colors, {frame})});
  frame.interlaced = true;
  frame.transparent = 2;
  samples.push_back({"animated gif", image_test::EncodeGif(kWidth, kHeight, colors, {frame, frame})});

  image_test::TiffSpec tiff;
  tiff.width = kWidth;
  tiff.height = kHeight;
  tiff.orientation = 5;
  for (const int compression :
       {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS, COMPRESSION_JPEG}) {
    tiff.compression = compression;
    tiff.strip_rows = compression == COMPRESSION_JPEG ? 8 : 1;
    samples.push_back({"tiff " + std::to_string(compression), image_test::EncodeTiff(tiff, rgb)});
  }
  tiff.compression = COMPRESSION_LZW;
  tiff.tile = 16;
  tiff.mode = "w8";
  samples.push_back({"tiled bigtiff", image_test::EncodeTiff(tiff, rgb)});

  image_test::BmpSpec bmp;
  bmp.width = kWidth;
  bmp.height = kHeight;
  Buffer rows;
  for (int i = 0; i < kHeight * 52; ++i) {
    rows.push_back(static_cast<std::uint8_t>(i));
  }
  samples.push_back({"bmp", image_test::EncodeBmp(bmp, rows)});
  bmp.bits = 32;
  bmp.header = 124;
  bmp.compression = 3;
  bmp.masks = {0xFF0000, 0xFF00, 0xFF, 0xFF000000};
  samples.push_back({"bmp with alpha", image_test::EncodeBmp(bmp, rgba)});
  image_test::BmpSpec rle;
  rle.width = kWidth;
  rle.height = 2;
  rle.bits = 8;
  rle.compression = 1;
  rle.palette = {0, 0xFF0000, 0x00FF00};
  samples.push_back({"rle bmp", image_test::EncodeBmp(rle, {17, 1, 0, 0, 0, 3, 1, 2, 1, 0, 0, 2, 2, 0, 5, 2, 0, 1})});
  return samples;
}

void ExpectOneLine(const Status& status, const std::string& where) {
  EXPECT_FALSE(status.message().empty()) << where;
  EXPECT_EQ(status.message().find('\n'), std::string::npos) << where;
}

TEST(Hostile, SamplesAreGood) {
  for (const Sample& sample : Samples()) {
    const Result<Image> image = DecodeImage(sample.file.data(), sample.file.size());
    EXPECT_TRUE(image.ok()) << sample.name << ": " << image.status().message();
  }
}

// A file that was cut anywhere is refused. Only libtiff files may be cut behind their last needed byte, and BMP rows
// may lack the padding of the last one.
TEST(Hostile, EveryPrefixIsRefused) {
  for (const Sample& sample : Samples()) {
    for (std::size_t size = 0; size < sample.file.size(); ++size) {
      // An exact copy: a sanitizer sees reads behind it.
      const Buffer prefix(sample.file.begin(), sample.file.begin() + static_cast<std::ptrdiff_t>(size));
      const Result<Image> image = DecodeImage(prefix.data(), prefix.size());
      const std::string where = sample.name + " cut to " + std::to_string(size);
      if (image.ok()) {
        const bool metadata = sample.name == "bmp" && sample.file.size() - size <= 1;
        EXPECT_TRUE(metadata) << where << " of " << sample.file.size();
        continue;
      }
      ExpectOneLine(image.status(), where);
      EXPECT_TRUE(image.status().code() == StatusCode::kCorrupt || size < 12)
          << where << ": " << image.status().message();
    }
  }
}

// Damage need not be noticed, but must not do harm.
TEST(Hostile, FlippedBytesDoNoHarm) {
  DecodeOptions options;
  options.max_pixels = 1'000'000;
  int decoded = 0;
  int refused = 0;
  for (const Sample& sample : Samples()) {
    for (std::size_t i = 0; i < sample.file.size(); ++i) {
      for (const int flip : {0x01, 0x80, 0xFF}) {
        Buffer file = sample.file;
        file[i] = static_cast<std::uint8_t>(file[i] ^ flip);
        const Result<Image> image = DecodeImage(file.data(), file.size(), options);
        if (image.ok()) {
          ++decoded;
          EXPECT_EQ(image->rgb.size(),
                    static_cast<std::size_t>(image->width) * static_cast<std::size_t>(image->height) * 3);
        } else {
          ++refused;
          ExpectOneLine(image.status(), sample.name);
        }
      }
    }
  }
  EXPECT_GT(decoded, 100);
  EXPECT_GT(refused, 1000);
}

void PutBe(Buffer* file, std::size_t at, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) {
    (*file)[at + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(value >> (8 * (bytes - 1 - i)));
  }
}

std::uint32_t Crc32(const std::uint8_t* data, std::size_t size) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
    }
  }
  return ~crc;
}

// Small files that declare side x side pixels.
std::vector<Sample> Bombs(std::uint32_t side) {
  std::vector<Sample> bombs;
  image_test::PngSpec png;
  png.width = 1;
  png.height = 1;
  Buffer png_file = image_test::EncodePng(png, {1, 2, 3});
  PutBe(&png_file, 16, side, 4);
  PutBe(&png_file, 20, side, 4);
  PutBe(&png_file, 29, Crc32(png_file.data() + 12, 17), 4);
  bombs.push_back({"png", png_file});

  image_test::JpegSpec jpeg;
  jpeg.width = 8;
  jpeg.height = 8;
  Buffer jpeg_file = image_test::EncodeJpeg(jpeg, Buffer(std::size_t{8} * 8 * 3, 5));
  const Buffer frame = {0xFF, 0xC0};
  const auto found = std::search(jpeg_file.begin(), jpeg_file.end(), frame.begin(), frame.end());
  PutBe(&jpeg_file, static_cast<std::size_t>(found - jpeg_file.begin()) + 5, side, 2);
  PutBe(&jpeg_file, static_cast<std::size_t>(found - jpeg_file.begin()) + 7, side, 2);
  bombs.push_back({"jpeg", jpeg_file});

  image_test::BmpSpec bmp;
  bmp.width = static_cast<int>(side);
  bmp.height = static_cast<int>(side);
  bombs.push_back({"bmp", image_test::EncodeBmp(bmp, {1, 2, 3, 4})});
  bmp.bits = 8;
  bmp.compression = 1;
  bombs.push_back({"rle bmp", image_test::EncodeBmp(bmp, {0, 1})});

  image_test::GifFrame one;
  one.width = 1;
  one.height = 1;
  one.indices = {0};
  bombs.push_back(
      {"gif", image_test::EncodeGif(static_cast<int>(side), static_cast<int>(side), {{0, 0, 0}, {1, 1, 1}}, {one})});

  Buffer tiff = {'I', 'I', 42, 0, 8, 0, 0, 0, 9, 0};
  const std::uint32_t tags[][3] = {{256, 4, side}, {257, 4, side}, {258, 3, 8},    {259, 3, 1},  {262, 3, 1},
                                   {273, 4, 8},    {277, 3, 1},    {278, 4, side}, {279, 4, 100}};
  for (const auto& tag : tags) {
    image_test::AppendLe(&tiff, tag[0], 2);
    image_test::AppendLe(&tiff, tag[1], 2);
    image_test::AppendLe(&tiff, 1, 4);
    image_test::AppendLe(&tiff, tag[2], 4);
  }
  image_test::AppendLe(&tiff, 0, 4);
  bombs.push_back({"tiff", tiff});

  // The WebP formats end at 16384; an extended header can declare more.
  Buffer chunks = image_test::Vp8xChunk(static_cast<int>(side), static_cast<int>(side), 0x02);
  image_test::Append(&chunks, image_test::RiffChunk("ANIM", {0, 0, 0, 0, 0, 0}));
  bombs.push_back({"webp", image_test::Riff(chunks)});
  return bombs;
}

TEST(Hostile, PixelLimitComesBeforeMemory) {
  rusage before = {};
  getrusage(RUSAGE_SELF, &before);
  for (const Sample& bomb : Bombs(60000)) {
    const Status status = DecodeImage(bomb.file.data(), bomb.file.size()).status();
    EXPECT_EQ(status.code(), StatusCode::kTooLarge) << bomb.name;
    EXPECT_EQ(
        status.message(),
        "60000 x 60000 = 3600.0 megapixels, over the limit of 200.0 (--max-megapixels raises it, max_pixels in Python)")
        << bomb.name;
  }
  rusage after = {};
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 50'000) << "KiB";
}

// Under the limit, but with far more pixels than the file has: only what is there is paid for, not 588 MB.
TEST(Hostile, ShortFilesOfBigPicturesAreCheap) {
  rusage before = {};
  getrusage(RUSAGE_SELF, &before);
  for (const Sample& bomb : Bombs(14000)) {
    if (bomb.name == "png" || bomb.name == "jpeg" || bomb.name == "bmp" || bomb.name == "webp") {
      EXPECT_EQ(DecodeImage(bomb.file.data(), bomb.file.size()).status().code(), StatusCode::kCorrupt) << bomb.name;
    }
  }
  rusage after = {};
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 200'000) << "KiB";
}

// Headers too short for bit masks that claim to have some, in files that end before them.
TEST(Hostile, BmpMasksBehindTheEnd) {
  for (std::uint32_t header = 20; header <= 64; header += 4) {
    for (const std::uint32_t compression : {3U, 6U}) {
      for (const std::uint32_t bits : {16U, 32U}) {
        for (std::size_t size = 18; size < 80; ++size) {
          Buffer bmp = {'B', 'M'};
          image_test::AppendLe(&bmp, static_cast<std::uint32_t>(size), 4);
          image_test::AppendLe(&bmp, 0, 4);
          image_test::AppendLe(&bmp, 26, 4);
          image_test::AppendLe(&bmp, header, 4);
          image_test::AppendLe(&bmp, 1, 4);
          image_test::AppendLe(&bmp, 1, 4);
          image_test::AppendLe(&bmp, 1, 2);
          image_test::AppendLe(&bmp, bits, 2);
          image_test::AppendLe(&bmp, compression, 4);
          bmp.resize(size);
          if (header < 40 || size < 66) {
            EXPECT_FALSE(DecodeImage(bmp.data(), bmp.size()).ok()) << header << ' ' << size;
          }
        }
      }
    }
  }
}

TEST(Hostile, TheLimitIsExact) {
  const Buffer file = image_test::EncodeBmp(
      [] {
        image_test::BmpSpec spec;
        spec.width = 2;
        spec.height = 3;
        return spec;
      }(),
      Buffer(24));
  DecodeOptions options;
  options.max_pixels = 6;
  EXPECT_TRUE(DecodeImage(file.data(), file.size(), options).ok());
  options.max_pixels = 5;
  EXPECT_EQ(DecodeImage(file.data(), file.size(), options).status().code(), StatusCode::kTooLarge);
}

TEST(Hostile, ExtremeShapes) {
  for (const int width : {1, 20000}) {
    for (const int height : {1, 20000}) {
      if (width * height > 20000) {
        continue;
      }
      const std::size_t pixels = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
      Buffer rgb(pixels * 3, 9);
      rgb.back() = 77;
      image_test::PngSpec png;
      png.width = width;
      png.height = height;
      const Buffer png_file = image_test::EncodePng(png, rgb);
      image_test::TiffSpec tiff;
      tiff.width = static_cast<std::uint32_t>(width);
      tiff.height = static_cast<std::uint32_t>(height);
      const Buffer tiff_file = image_test::EncodeTiff(tiff, rgb);
      for (const Buffer& file : {png_file, tiff_file}) {
        const Result<Image> image = DecodeImage(file.data(), file.size());
        ASSERT_TRUE(image.ok()) << image.status().message();
        EXPECT_EQ(image->width, width);
        EXPECT_EQ(image->height, height);
        EXPECT_EQ(image->rgb, rgb);
      }
    }
  }
}

// libjpeg would touch every block of the picture in each of thousands of scans of a few bytes.
TEST(Hostile, ScanBombIsRefused) {
  image_test::JpegSpec spec;
  spec.width = 64;
  spec.height = 64;
  spec.progressive = true;
  const Buffer file = image_test::EncodeJpeg(spec, Buffer(std::size_t{64} * 64 * 3, 100));
  const Buffer mark = {0xFF, 0xDA};
  const auto last = std::find_end(file.begin(), file.end(), mark.begin(), mark.end());
  const Buffer scan(last, file.end() - 2);
  Buffer bomb(file.begin(), file.end() - 2);
  for (int i = 0; i < 200; ++i) {
    image_test::Append(&bomb, scan);
  }
  image_test::Append(&bomb, {0xFF, 0xD9});
  const Status status = DecodeImage(bomb.data(), bomb.size()).status();
  EXPECT_EQ(status.code(), StatusCode::kCorrupt);
  EXPECT_EQ(status.message(), "JPEG: more scans than any encoder writes");
}

Status DecodeText(const std::string& text) {
  const Buffer file = Text(text);
  return DecodeImage(file.data(), file.size()).status();
}

TEST(Sniff, RefusesWhatIsNoPicture) {
  for (const char* text : {"hello, world", "RIFF....WAVEfmt ", "\x7F\x45LF", "P", "\xFF", "\x89PNG"}) {
    const Status status = DecodeText(text);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << text;
    EXPECT_EQ(status.message(), "not an image of a known format (JPEG, PNG, WebP, BMP, GIF, TIFF)") << text;
  }
  const Status empty = DecodeImage(nullptr, 0).status();
  EXPECT_EQ(empty.code(), StatusCode::kCorrupt);
  EXPECT_EQ(empty.message(), "empty file");
}

TEST(Sniff, NamesFormatsThatAreNotRead) {
  using std::string_literals::operator""s;
  const std::pair<std::string, std::string> known[] = {
      {"\0\0\0\x1C"s
       "ftypavif\0\0\0\0"s,
       "AVIF"},
      {"\0\0\0\x1C"s
       "ftypheic\0\0\0\0"s,
       "HEIC"},
      {"\0\0\0\x0CjP  \r\n\x87\n"s, "JPEG 2000"},
      {"\xFF\x0A........"s, "JPEG XL"},
      {"8BPS\0\1"s, "Photoshop (PSD)"},
      {"\0\0\1\0\1\0"s, "ICO"},
      {"P6\n1 1\n255\n..."s, "Netpbm (PBM, PGM, PPM, PAM)"},
  };
  for (const auto& [bytes, name] : known) {
    const Status status = DecodeText(bytes);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << name;
    EXPECT_EQ(status.message(), name + " is not read; convert the file to JPEG, PNG, WebP, BMP, GIF or TIFF");
  }
}

class ReadImageTest : public testing::Test {
 public:
  ReadImageTest(const ReadImageTest&) = delete;
  ReadImageTest& operator=(const ReadImageTest&) = delete;

 protected:
  ReadImageTest() {
    std::string pattern = testing::TempDir() + "rrn_image_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~ReadImageTest() override {
    unlink(Path().c_str());
    rmdir(folder_.c_str());
  }
  // A name that is no valid UTF-8 and no picture's.
  std::string Path() const { return folder_ + "/\xFF\xFE name.txt"; }
  void Write(const Buffer& file) const {
    std::ofstream(Path(), std::ios::binary)
        .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  }

  std::string folder_;
};

TEST_F(ReadImageTest, ReadsByContent) {
  image_test::PngSpec png;
  png.width = 1;
  png.height = 1;
  Write(image_test::EncodePng(png, {1, 2, 3}));
  const Result<Image> image = ReadImage(Path());
  ASSERT_TRUE(image.ok()) << image.status().message();
  EXPECT_EQ(image->rgb, (Buffer{1, 2, 3}));
}

TEST_F(ReadImageTest, FailsWithoutAPicture) {
  EXPECT_EQ(ReadImage(Path()).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadImage(Path()).status().message(), "No such file or directory");
  EXPECT_EQ(ReadImage("").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadImage(std::string("/dev/null\0.png", 14)).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadImage(folder_).status().code(), StatusCode::kUnreadable);
  EXPECT_EQ(ReadImage("/dev/null").status().code(), StatusCode::kUnreadable);
  EXPECT_EQ(ReadImage("/dev/null").status().message(), "not a regular file");
  Write({});
  EXPECT_EQ(ReadImage(Path()).status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(ReadImage(Path()).status().message(), "empty file");
  Write(Text("just text"));
  EXPECT_EQ(ReadImage(Path()).status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(ReadImage(Path() + "/x").status().code(), StatusCode::kNotFound);
}

TEST_F(ReadImageTest, RefusesAFileWithoutPermission) {
  if (geteuid() == 0) {
    GTEST_SKIP() << "root may read everything";
  }
  Write(Text("x"));
  chmod(Path().c_str(), 0);
  EXPECT_EQ(ReadImage(Path()).status().code(), StatusCode::kUnreadable);
  EXPECT_EQ(ReadImage(Path()).status().message(), "Permission denied");
}

TEST_F(ReadImageTest, DoesNotWaitForAPipe) {
  ASSERT_EQ(mkfifo(Path().c_str(), 0600), 0);
  EXPECT_EQ(ReadImage(Path()).status().code(), StatusCode::kUnreadable);
}

// The size is refused before the file is read: this one is 3 GiB of nothing on disk.
TEST_F(ReadImageTest, RefusesAnAbsurdSize) {
  image_test::PngSpec png;
  png.width = 1;
  png.height = 1;
  Write(image_test::EncodePng(png, {1, 2, 3}));
  if (truncate(Path().c_str(), off_t{3} << 30) != 0) {
    GTEST_SKIP() << "no sparse files here";
  }
  EXPECT_EQ(ReadImage(Path()).status().code(), StatusCode::kTooLarge);
}

}  // namespace
}  // namespace rrn
