#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "image/decoders.h"
#include "image/exif.h"

namespace rrn::image_internal {
namespace {

struct DemuxerDeleter {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};

constexpr std::size_t kRiffHeader = 12;
constexpr std::size_t kChunkHeader = 8;

std::uint32_t LittleEndian32(const std::uint8_t* data) {
  return std::uint32_t{data[0]} | std::uint32_t{data[1]} << 8 | std::uint32_t{data[2]} << 16 |
         std::uint32_t{data[3]} << 24;
}

Status Corrupt(const char* what) { return {StatusCode::kCorrupt, std::string("WebP: ") + what}; }

const char* Explain(VP8StatusCode code) {
  switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return "not enough memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "a feature that libwebp does not know";
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "the file ends too early";
    default:
      return "damaged data";
  }
}

// What the EXIF chunk says of a RIFF container that is known to be complete.
ExifFacts ContainerExif(Bytes riff) {
  std::size_t at = kRiffHeader;
  while (riff.size - at >= kChunkHeader) {
    const std::size_t size = LittleEndian32(riff.data + at + 4);
    const std::size_t left = riff.size - at - kChunkHeader;
    if (size > left) {
      break;
    }
    if (std::memcmp(riff.data + at, "EXIF", 4) == 0) {
      return ReadExif(riff.data + at + kChunkHeader, size);
    }
    // Chunks of odd size are padded; the pad of the last one may be missing.
    at += kChunkHeader + std::min(left, size + size % 2);
  }
  return {};
}

// Decodes one VP8 or VP8L picture, possibly with an ALPH chunk, and lays it over white. width and height are the
// picture's own, or with `scale` smaller ones, to which areas are averaged.
Status DecodePicture(Bytes data, int width, int height, bool scale, bool has_alpha, std::vector<std::uint8_t>* rgb) {
  const std::size_t pixels = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  const std::size_t channels = has_alpha ? 4 : 3;
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) {
    return {StatusCode::kRuntime, "WebP: libwebp is not the version that this program was built for"};
  }
  if (static_cast<std::uint64_t>(width) * channels > 0x7FFFFFFF) {
    return Corrupt("damaged data");
  }
  rgb->resize(pixels * channels);
  config.options.use_scaling = scale ? 1 : 0;
  config.options.scaled_width = width;
  config.options.scaled_height = height;
  config.output.colorspace = has_alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = rgb->data();
  config.output.u.RGBA.stride = width * static_cast<int>(channels);
  config.output.u.RGBA.size = rgb->size();
  const VP8StatusCode code = WebPDecode(data.data, data.size, &config);
  WebPFreeDecBuffer(&config.output);
  if (code != VP8_STATUS_OK) {
    return Corrupt(Explain(code));
  }
  if (has_alpha) {
    // In place: the three bytes written never overtake the four bytes read.
    const std::uint8_t* from = rgb->data();
    std::uint8_t* to = rgb->data();
    for (std::size_t i = 0; i < pixels; ++i, from += 4, to += 3) {
      const unsigned alpha = from[3];
      to[0] = OverWhite(from[0], alpha);
      to[1] = OverWhite(from[1], alpha);
      to[2] = OverWhite(from[2], alpha);
    }
    rgb->resize(pixels * 3);
  }
  return {};
}

// The first frame on a white canvas.
Status DecodeFirstFrame(Bytes file, Image* image) {
  const WebPData data = {file.data, file.size};
  const std::unique_ptr<WebPDemuxer, DemuxerDeleter> demuxer(WebPDemux(&data));
  if (demuxer == nullptr) {
    return Corrupt("damaged animation");
  }
  WebPIterator frame = {};
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) {
    return Corrupt("an animation without frames");
  }
  const Bytes picture{frame.fragment.bytes, frame.fragment.size};
  const int left = frame.x_offset;
  const int top = frame.y_offset;
  const int width = frame.width;
  const int height = frame.height;
  const bool complete = frame.complete != 0;
  WebPDemuxReleaseIterator(&frame);  // Only the iterator: the bytes are the file's.
  if (!complete || left < 0 || top < 0 || width <= 0 || height <= 0 || left > image->width - width ||
      top > image->height - height) {
    return Corrupt("a frame that is incomplete or outside the picture");
  }
  std::vector<std::uint8_t> rgb;
  if (Status status = DecodePicture(picture, width, height, /*scale=*/false, /*has_alpha=*/true, &rgb); !status.ok()) {
    return status;
  }
  const std::size_t canvas_row = static_cast<std::size_t>(image->width) * 3;
  const std::size_t frame_row = static_cast<std::size_t>(width) * 3;
  image->rgb.assign(canvas_row * static_cast<std::size_t>(image->height), 255);
  for (int y = 0; y < height; ++y) {
    std::memcpy(image->rgb.data() + static_cast<std::size_t>(top + y) * canvas_row + static_cast<std::size_t>(left) * 3,
                rgb.data() + static_cast<std::size_t>(y) * frame_row, frame_row);
  }
  return {};
}

int LargestFraction(int width, int height, const DecodeOptions& options) {
  int fraction = 1;
  while (FractionIsEnough(static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(height),
                          static_cast<std::uint64_t>(fraction) + 1, options)) {
    ++fraction;
  }
  return fraction;
}

}  // namespace

Result<StoredImage> DecodeWebp(Bytes file, const DecodeOptions& options) {
  // libwebp itself is content when the pixels happen to be complete.
  const std::uint64_t riff_size = std::uint64_t{LittleEndian32(file.data + 4)} + 8;
  if (riff_size > file.size || riff_size < kRiffHeader) {
    return Corrupt("the file ends too early");
  }
  const Bytes riff{file.data, static_cast<std::size_t>(riff_size)};
  WebPBitstreamFeatures features = {};
  const VP8StatusCode code = WebPGetFeatures(riff.data, riff.size, &features);
  if (code != VP8_STATUS_OK) {
    return Corrupt(Explain(code));
  }
  if (features.width < 0 || features.height < 0) {
    return Corrupt("damaged data");
  }
  if (Status status =
          CheckSize(static_cast<std::uint64_t>(features.width), static_cast<std::uint64_t>(features.height), options);
      !status.ok()) {
    return status;
  }
  StoredImage stored;
  const bool plain = features.has_animation == 0;
  // Colours under transparent pixels must not bleed into an average.
  const int fraction = plain && features.has_alpha == 0 ? LargestFraction(features.width, features.height, options) : 1;
  stored.image.width = (features.width + fraction - 1) / fraction;
  stored.image.height = (features.height + fraction - 1) / fraction;
  stored.full_width = features.width;
  stored.full_height = features.height;
  const Status status = plain ? DecodePicture(riff, stored.image.width, stored.image.height, fraction > 1,
                                              features.has_alpha != 0, &stored.image.rgb)
                              : DecodeFirstFrame(riff, &stored.image);
  if (!status.ok()) {
    return status;
  }
  const ExifFacts exif = ContainerExif(riff);
  stored.orientation = exif.orientation;
  stored.captured = exif.captured;
  return stored;
}

}  // namespace rrn::image_internal
