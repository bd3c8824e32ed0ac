// Reading images: decode, apply the EXIF orientation, resize, and turn pixels into a network's input.
//
// Every decoder ends in the same form, 8-bit RGB: grey is repeated, palettes are looked up, alpha is laid over white,
// CMYK is converted, 16 bits are rounded to 8. A file that is damaged or cut short is an error and never half a
// picture.
//
// Thread-safety: all functions are pure; call them from as many threads as you like.
#ifndef RRN_IMAGE_H_
#define RRN_IMAGE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rrn/status.h"

namespace rrn {

// An 8-bit RGB picture, rows from top to bottom, pixels interleaved, no padding: width * height * 3 bytes.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;
  // Of the whole picture where it was decoded at a fraction of its size (see DecodeOptions::target), otherwise width
  // and height again. Set by DecodeImage and ReadImage; 0 in other pictures.
  int full_width = 0;
  int full_height = 0;
  // When the camera says that it took the picture: EXIF's DateTimeOriginal in JPEG, PNG and WebP files, in the camera's
  // own local time, as seconds since 1970 without a time zone. Empty where the file does not say.
  std::optional<std::int64_t> captured = std::nullopt;
};

// The same layout over memory that the caller owns and keeps alive.
struct ImageView {
  const std::uint8_t* rgb = nullptr;
  int width = 0;
  int height = 0;
};

// How pictures are decoded.
struct DecodeOptions {
  // Files that declare more pixels than this are refused before any pixel memory is taken: a few bytes can declare
  // a picture of terabytes ("decompression bomb").
  std::uint64_t max_pixels = 200'000'000;
  // The side in pixels of the square that the picture will be resized to afterwards; 0: not known. Where the format
  // makes that cheaper (JPEG, WebP without alpha), a bigger picture is then decoded at a fraction of its size, with
  // both sides still at least kReducingGap times `target`. The resized result hardly differs (see image_test.cc).
  int target = 0;
};

// What is left for the antialiased filter to shrink after decoding at a fraction: the more, the less the fraction's own
// rougher filter shows. Pillow's thumbnails use the same gap.
inline constexpr int kReducingGap = 2;

// Decodes JPEG, PNG, WebP, BMP, GIF (first frame) or TIFF (first page) from memory. The format is told by the
// content, never by a file name. The EXIF (TIFF: own) orientation is applied, so the picture stands upright. The
// picture has its full size unless options.target allows less.
//
// Errors: kUnsupported (not an image, or a format that is not read), kCorrupt (damaged or truncated), kTooLarge (over
// options.max_pixels).
Result<Image> DecodeImage(const std::uint8_t* data, std::size_t size, const DecodeOptions& options = {});

// XXH3 of a file's bytes (128 bits, the most significant byte first): the same for the same content on every machine.
// Not for security.
using ContentHash = std::array<std::uint8_t, 16>;

// A file as it was when it was read.
struct FileProperties {
  std::uint64_t device = 0;  // with `inode`: which file it is, under any name
  std::uint64_t inode = 0;
  std::uint64_t bytes = 0;
  std::int64_t modified = 0;  // nanoseconds since 1970
  ContentHash content = {};   // of all bytes; zeros where the file was not read to its end
};

// Reads the regular file at `path` (any bytes the file system allows) and decodes it.
//   file: if not null, receives what the open file is, also where decoding fails.
//
// Errors: those of DecodeImage, kNotFound, kUnreadable. Messages do not repeat the path.
Result<Image> ReadImage(const std::string& path, const DecodeOptions& options = {}, FileProperties* file = nullptr);

// Resizes to width x height (both >= 1) with an antialiased triangle filter: every source pixel counts, also when the
// picture shrinks a hundredfold. The aspect ratio is not kept. The result equals Pillow 13's
// `Image.resize((width, height), Image.Resampling.BILINEAR)` bit for bit, so Python pipelines can reproduce it.
//
// Errors: kInvalidArgument (an empty picture or a size below 1).
Result<Image> ResizeImage(const ImageView& image, int width, int height);

// Encodes a picture as a baseline JPEG file (YCbCr, colour at half resolution, no metadata). Same arguments, same
// bytes.
//   quality: 1 ... 100, libjpeg's scale.
//   optimize: tables of the picture's own instead of the standard's: some hundredths smaller, several times slower.
//
// Errors: kInvalidArgument (an empty picture, a side over 65500 pixels, or a quality out of range), kRuntime (not
// enough memory).
Result<std::vector<std::uint8_t>> EncodeJpeg(const ImageView& image, int quality, bool optimize = true);

// A small copy as a JPEG file: the longer side is `edge` pixels, or as it is where the picture is smaller.
//   quality: as in EncodeJpeg.
//
// Errors: kInvalidArgument (an empty picture, `edge` below 1, or a quality out of range), kRuntime.
Result<std::vector<std::uint8_t>> MakeThumbnail(const ImageView& image, int edge, int quality);

// How much a picture shows, for choosing the sharpest copy of it.
struct Detail {
  // The variance of the Laplacian of the luma (four neighbours, inside the borders) times the number of pixels. The
  // variance alone would prefer thumbnails, because shrinking makes edges steeper; the product decreases when a sharp
  // picture is shrunk, when it is enlarged (the variance decreases faster than the pixels grow), and when it is blurred
  // or compressed hard. Two things would grow with the pixels alone, and are taken out:
  //   - the rounding to 8 bits: Laplacians of at most kDetailRounding count as 0;
  //   - edges of repeated pixels: rows and columns that equal the one before them are left out first, so a copy that
  //     was enlarged by repeating pixels has the detail of its original.
  // Noise counts as detail, a repeated picture that was compressed afterwards is not recognised, and a smaller copy of
  // a picture that was blurred first can have more.
  double detail = 0;
  double repeated = 0;  // pixels that were left out
};

// Errors of four neighbours and four times the middle, each rounded by at most a half twice, have a standard deviation
// of 1.6; this is four of them.
inline constexpr int kDetailRounding = 6;

// Luma is (77 R + 150 G + 29 B + 128) / 256 in integers. 0 for fewer than 3 x 3 pixels. Same picture, same bits.
Detail MeasureDetail(const ImageView& image);

// How pixels become a network's input: resize to the input size, then (pixel / divisor - mean) / stddev for each
// channel.
struct Preprocessing {
  std::array<float, 3> mean = {0.485F, 0.456F, 0.406F};  // ImageNet; of the network's channels, in their order
  std::array<float, 3> stddev = {0.229F, 0.224F, 0.225F};
  float divisor = 255.0F;  // of pixels from 0 to 255
  bool bgr = false;        // the network's channels are blue, green, red instead of red, green, blue
};

// A network's input of other proportions than a square.
struct InputLayout {
  int width = 0;  // of the input, in pixels
  int height = 0;
  bool letterbox = false;  // keep the picture's proportions, in the middle of the input with bars of `fill` beside it
  std::array<std::uint8_t, 3> fill = {114, 114, 114};  // red, green, blue
};

// Where a picture lies in a network's input, in pixels of the input.
struct Placement {
  int x = 0;
  int y = 0;
  int width = 0;
  int height = 0;
};

// Where a picture of width x height (both >= 1) lies in an input: all of it, or for a letterbox its middle, with sides
// rounded to whole pixels of at least 1.
Placement PlaceImage(int width, int height, const InputLayout& layout);

// Resizes `image` as ResizeImage does to where PlaceImage puts it, and writes float32 [3, height, width] (channels
// first, normalized, the bars included) to `output`, which the caller owns.
//
// Errors: kInvalidArgument (an empty picture or a side below 1).
Status PreprocessImage(const ImageView& image, const InputLayout& layout, const Preprocessing& preprocessing,
                       float* output);

// The same for a square of size x size that the picture fills.
Status PreprocessImage(const ImageView& image, int size, const Preprocessing& preprocessing, float* output);

}  // namespace rrn

#endif  // RRN_IMAGE_H_
