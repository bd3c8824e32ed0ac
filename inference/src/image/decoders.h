// The parts of the image library that its files share: one decoder for each format, and what they have in common.
//
// A decoder gets the whole file in memory, checks the declared size with CheckSize before it takes memory for pixels,
// and returns the picture as it is stored, together with the orientation that the file asks for. DecodeImage turns it
// upright. All functions are pure and thread-safe.
#ifndef RRN_IMAGE_DECODERS_H_
#define RRN_IMAGE_DECODERS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "rrn/image.h"
#include "rrn/status.h"

namespace rrn::image_internal {

// A file in memory, owned by the caller.
struct Bytes {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
};

// A picture as it is stored, and how to turn it: an EXIF orientation, 1 (upright) to 8.
struct StoredImage {
  Image image;
  int orientation = 1;
  std::optional<std::int64_t> captured = std::nullopt;  // as Image::captured
  int full_width = 0;  // Of the picture in the file; 0 where `image` has its full size.
  int full_height = 0;
};

Result<StoredImage> DecodeJpeg(Bytes file, const DecodeOptions& options);
Result<StoredImage> DecodePng(Bytes file, const DecodeOptions& options);
Result<StoredImage> DecodeWebp(Bytes file, const DecodeOptions& options);
Result<StoredImage> DecodeBmp(Bytes file, const DecodeOptions& options);
Result<StoredImage> DecodeGif(Bytes file, const DecodeOptions& options);
Result<StoredImage> DecodeTiff(Bytes file, const DecodeOptions& options);

// Turns the picture upright. An orientation outside 2..8 leaves it as it is.
Image ApplyOrientation(Image image, int orientation);

// Fails with kCorrupt for an empty picture and with kTooLarge for one over the pixel limit. After success
// width * height * 3 fits into std::size_t and both sizes fit into int.
Status CheckSize(std::uint64_t width, std::uint64_t height, const DecodeOptions& options);

// Whether a picture whose sides are divided by `factor` (>= 1) is still big enough for options.target.
bool FractionIsEnough(std::uint64_t width, std::uint64_t height, std::uint64_t factor, const DecodeOptions& options);

// The message of a library as the one line that a Status wants: control characters become spaces.
std::string CodecMessage(const char* text);

// `value` with the given coverage (0..255) over white, rounded.
inline std::uint8_t OverWhite(unsigned value, unsigned alpha) {
  return static_cast<std::uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

// One channel of ink (0 = none) under black ink as light, rounded.
inline std::uint8_t InkToLight(unsigned ink, unsigned black) {
  const unsigned paper = 255 - black;
  return static_cast<std::uint8_t>(paper - (ink * paper + 127) / 255);
}

}  // namespace rrn::image_internal

#endif  // RRN_IMAGE_DECODERS_H_
