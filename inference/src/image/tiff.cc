#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "image/decoders.h"
// The linker takes this file in any case, and before a static libtiff, which then finds these functions instead of
// jbigkit's. A dynamic libtiff does not see them.
#include "image/no_jbig.h"

// The first version that can be told per file where its messages go.
#if TIFFLIB_VERSION >= 20221213
#define RRN_TIFF_HAS_OPEN_OPTIONS 1
#else
#define RRN_TIFF_HAS_OPEN_OPTIONS 0
#endif

namespace rrn::image_internal {
namespace {

struct TiffDeleter {
  void operator()(TIFF* tiff) const { TIFFClose(tiff); }
};
using TiffPointer = std::unique_ptr<TIFF, TiffDeleter>;

// A file in memory as libtiff wants it, and what libtiff says about it.
struct Source {
  Bytes file;
  std::size_t position = 0;
  bool damaged = false;  // libtiff paints over some damage and only talks about it.
  char message[256] = {};
};

tmsize_t OnRead(thandle_t handle, void* to, tmsize_t size) {
  auto* source = static_cast<Source*>(handle);
  if (size < 0 || source->position >= source->file.size) {
    return 0;
  }
  const std::size_t count = std::min(static_cast<std::size_t>(size), source->file.size - source->position);
  std::memcpy(to, source->file.data + source->position, count);
  source->position += count;
  return static_cast<tmsize_t>(count);
}

tmsize_t OnWrite(thandle_t /*handle*/, void* /*from*/, tmsize_t /*size*/) { return -1; }

toff_t OnSeek(thandle_t handle, toff_t offset, int whence) {
  auto* source = static_cast<Source*>(handle);
  // Offsets are unsigned; a sum that wraps lands behind the end and reads nothing.
  const toff_t base = whence == SEEK_CUR ? source->position : whence == SEEK_END ? source->file.size : 0;
  source->position = static_cast<std::size_t>(base + offset);
  return base + offset;
}

int OnClose(thandle_t /*handle*/) { return 0; }

toff_t OnSize(thandle_t handle) { return static_cast<Source*>(handle)->file.size; }

int OnMap(thandle_t handle, void** base, toff_t* size) {
  auto* source = static_cast<Source*>(handle);
  // libtiff only reads from a mapping, but its interface has no const.
  *base = const_cast<std::uint8_t*>(source->file.data);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  *size = source->file.size;
  return 1;
}

void OnUnmap(thandle_t /*handle*/, void* /*base*/, toff_t /*size*/) {}

#if RRN_TIFF_HAS_OPEN_OPTIONS

struct OptionsDeleter {
  void operator()(TIFFOpenOptions* options) const { TIFFOpenOptionsFree(options); }
};

int OnError(TIFF* /*tiff*/, void* user_data, const char* /*module*/, const char* format, va_list arguments) {
  auto* source = static_cast<Source*>(user_data);
  // The first message names the cause, later ones the consequences.
  if (!source->damaged) {
    source->damaged = true;
    std::vsnprintf(source->message, sizeof(source->message), format, arguments);
  }
  return 1;  // Handled: the global handler is not called.
}

// Warnings about metadata do not matter, those about missing pixels do.
int OnWarning(TIFF* tiff, void* user_data, const char* module, const char* format, va_list arguments) {
  char text[256] = {};
  va_list copy;
  va_copy(copy, arguments);
  std::vsnprintf(text, sizeof(text), format, copy);
  va_end(copy);
  const bool jpeg_damage =
      std::strstr(text, "Corrupt JPEG data") != nullptr && std::strstr(text, "extraneous bytes") == nullptr;
  if (jpeg_damage || std::strstr(text, "Premature") != nullptr) {
    return OnError(tiff, user_data, module, format, arguments);
  }
  return 1;
}

TiffPointer Open(Source* source, const DecodeOptions& options) {
  const std::unique_ptr<TIFFOpenOptions, OptionsDeleter> open_options(TIFFOpenOptionsAlloc());
  if (open_options == nullptr) {
    return nullptr;
  }
  TIFFOpenOptionsSetErrorHandlerExtR(open_options.get(), OnError, source);
  TIFFOpenOptionsSetWarningHandlerExtR(open_options.get(), OnWarning, source);
  // Eight 16-bit samples for every pixel that may be, and some space for directories.
  constexpr std::uint64_t kBytesPerPixel = 16;
  constexpr std::uint64_t kDirectories = 64U << 20;
  constexpr std::uint64_t kMost = std::numeric_limits<tmsize_t>::max();
  const std::uint64_t limit = options.max_pixels > (kMost - kDirectories) / kBytesPerPixel
                                  ? kMost
                                  : options.max_pixels * kBytesPerPixel + kDirectories;
  TIFFOpenOptionsSetMaxSingleMemAlloc(open_options.get(), static_cast<tmsize_t>(limit));
  return TiffPointer(
      TIFFClientOpenExt("", "r", source, OnRead, OnWrite, OnSeek, OnClose, OnSize, OnMap, OnUnmap, open_options.get()));
}

#else

TiffPointer Open(Source* source, const DecodeOptions& /*options*/) {
  // Without handlers of its own a file uses the process's, and those of this libtiff print. Switched off once.
  static const bool kSilenced = [] {
    TIFFSetErrorHandler(nullptr);
    TIFFSetWarningHandler(nullptr);
    return true;
  }();
  static_cast<void>(kSilenced);
  return TiffPointer(TIFFClientOpen("", "r", source, OnRead, OnWrite, OnSeek, OnClose, OnSize, OnMap, OnUnmap));
}

#endif

Status Corrupt(const Source& source) {
  const char* text = source.message[0] != '\0' ? source.message : "damaged data";
  return {StatusCode::kCorrupt, "TIFF: " + CodecMessage(text)};
}

// What the fourth (or for grey: second) sample means.
enum class Alpha {
  kNone,
  kMultiplied,  // The colours of the raster are already multiplied with it.
  kUnmultiplied,
};

Alpha AlphaOf(TIFF* tiff, const TIFFRGBAImage& image) {
  std::uint16_t count = 0;
  std::uint16_t* kinds = nullptr;
  const bool declared = TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &count, &kinds) != 0 && count > 0;
  if (image.photometric == PHOTOMETRIC_RGB) {
    if (!declared) {
      // Old writers forget to say that their fourth sample is alpha; libtiff hands the colours on as they are.
      return image.alpha != 0 ? Alpha::kUnmultiplied : Alpha::kNone;
    }
    // libtiff multiplies, or the file already did.
    return kinds[0] != EXTRASAMPLE_UNSPECIFIED ? Alpha::kMultiplied : Alpha::kNone;
  }
  const bool grey = image.photometric == PHOTOMETRIC_MINISBLACK || image.photometric == PHOTOMETRIC_MINISWHITE;
  if (grey && declared && image.alpha != 0) {
    return kinds[0] == EXTRASAMPLE_ASSOCALPHA ? Alpha::kMultiplied : Alpha::kUnmultiplied;
  }
  return Alpha::kNone;
}

void ConvertPixels(const std::uint32_t* raster, std::size_t count, Alpha alpha_kind, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t pixel = raster[i];
    const unsigned alpha = pixel >> 24;
    for (unsigned c = 0; c < 3; ++c) {
      const unsigned value = (pixel >> (8 * c)) & 0xFF;
      if (alpha_kind == Alpha::kNone) {
        rgb[c] = static_cast<std::uint8_t>(value);
      } else if (alpha_kind == Alpha::kMultiplied) {
        rgb[c] = static_cast<std::uint8_t>(std::min(255U, value + 255 - alpha));
      } else {
        rgb[c] = OverWhite(value, alpha);
      }
    }
    rgb += 3;
  }
}

// TIFFRGBAImage in RAII form.
class RgbaReader {
 public:
  RgbaReader() = default;
  RgbaReader(const RgbaReader&) = delete;
  RgbaReader& operator=(const RgbaReader&) = delete;
  ~RgbaReader() {
    if (begun_) {
      TIFFRGBAImageEnd(&image_);
    }
  }

  bool Begin(TIFF* tiff) {
    constexpr int kStopOnError = 1;
    char message[1024] = {};
    begun_ = TIFFRGBAImageBegin(&image_, tiff, kStopOnError, message) != 0;
    // Rows as they are stored: libtiff can only mirror, so turning is done later for all formats alike.
    image_.req_orientation = image_.orientation;
    return begun_;
  }

  bool ReadRows(std::uint32_t first, std::uint32_t count, std::uint32_t* raster) {
    image_.row_offset = static_cast<int>(first);
    image_.col_offset = 0;
    return TIFFRGBAImageGet(&image_, raster, image_.width, count) != 0;
  }

  const TIFFRGBAImage& image() const { return image_; }

 private:
  TIFFRGBAImage image_ = {};
  bool begun_ = false;
};

// How many rows are compressed together. They are read together too, or they would be unpacked again and again.
Result<std::uint32_t> RowsPerBlock(TIFF* tiff, std::uint32_t width, std::uint32_t height) {
  std::uint32_t rows = height;
  if (TIFFIsTiled(tiff) != 0) {
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &rows);
  } else {
    TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &rows);
  }
  // A strip or tile may be declared far bigger than the picture, or with thousands of samples for each pixel.
  const std::uint64_t block = TIFFIsTiled(tiff) != 0 ? TIFFTileSize64(tiff) : TIFFStripSize64(tiff);
  const std::uint64_t limit = std::uint64_t{width} * height * 16 + (std::uint64_t{64} << 20);
  if (rows == 0 || block == 0 || block > limit) {
    return Status(StatusCode::kCorrupt, "TIFF: " + std::to_string(block) + " bytes in a block of a picture of " +
                                            std::to_string(width) + " x " + std::to_string(height));
  }
  return std::min(rows, height);
}

}  // namespace

Result<StoredImage> DecodeTiff(Bytes file, const DecodeOptions& options) {
  Source source{file};
  const TiffPointer tiff = Open(&source, options);
  if (tiff == nullptr) {
    return Corrupt(source);
  }
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  if (TIFFGetField(tiff.get(), TIFFTAG_IMAGEWIDTH, &width) == 0 ||
      TIFFGetField(tiff.get(), TIFFTAG_IMAGELENGTH, &height) == 0) {
    return Status(StatusCode::kCorrupt, "TIFF: no picture in the file");
  }
  if (Status status = CheckSize(width, height, options); !status.ok()) {
    return status;
  }
  std::uint16_t compression = COMPRESSION_NONE;
  TIFFGetFieldDefaulted(tiff.get(), TIFFTAG_COMPRESSION, &compression);
  if (compression == COMPRESSION_JBIG) {
    return Status(StatusCode::kUnsupported, "TIFF: JBIG compression is not read");
  }
  char reason[1024] = {};
  if (TIFFRGBAImageOK(tiff.get(), reason) == 0) {
    return Status(StatusCode::kUnsupported, "TIFF: " + CodecMessage(reason));
  }
  const Result<std::uint32_t> block_rows = RowsPerBlock(tiff.get(), width, height);
  if (!block_rows.ok()) {
    return block_rows.status();
  }
  // Complaints about tags that were repaired on the way are over.
  source.damaged = false;
  source.message[0] = '\0';
  RgbaReader reader;
  if (!reader.Begin(tiff.get())) {
    return Corrupt(source);
  }
  const Alpha alpha = AlphaOf(tiff.get(), reader.image());

  StoredImage stored;
  stored.image.width = static_cast<int>(width);
  stored.image.height = static_cast<int>(height);
  std::vector<std::uint8_t>& rgb = stored.image.rgb;
  rgb.reserve(std::size_t{width} * height * 3);
  std::vector<std::uint32_t> raster(std::size_t{width} * *block_rows);
  for (std::uint32_t row = 0; row < height;) {
    const std::uint32_t count = std::min(*block_rows, height - row);
    if (!reader.ReadRows(row, count, raster.data()) || source.damaged) {
      return Corrupt(source);
    }
    const std::size_t pixels = std::size_t{width} * count;
    rgb.resize(rgb.size() + pixels * 3);
    ConvertPixels(raster.data(), pixels, alpha, rgb.data() + (rgb.size() - pixels * 3));
    row += count;
  }
  stored.orientation = reader.image().orientation;
  return stored;
}

}  // namespace rrn::image_internal
