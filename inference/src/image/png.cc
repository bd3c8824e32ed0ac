#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <string>
#include <vector>

#include "image/decoders.h"
#include "image/exif.h"
#include "image/png_inflate.h"

namespace rrn::image_internal {
namespace {

// No chunk that is needed comes near; text and colour profiles, which may, are skipped unread.
constexpr png_alloc_size_t kMaxChunkMemory = 8U << 20;
constexpr png_uint_32 kMaxSide = 0x7FFFFFFF;

// libpng ends every error with a longjmp. Each call into it therefore happens in a member function that has no
// objects with destructors of its own, right behind a setjmp.
class PngReader {
 public:
  // With `trusted` checksums are not looked at.
  PngReader(Bytes file, bool trusted) : file_(file), trusted_(trusted) {}
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  // Reads up to the first pixel. No memory for pixels is taken.
  bool ReadHeader() {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, OnError, OnWarning);
    if (png_ == nullptr) {
      return false;
    }
    if (setjmp(png_jmpbuf(png_)) != 0) {
      return false;
    }
    info_ = png_create_info_struct(png_);
    png_set_read_fn(png_, this, OnRead);
    // The pixel limit is checked by the caller, who can say what to do about it.
    png_set_user_limits(png_, kMaxSide, kMaxSide);
    png_set_chunk_malloc_max(png_, kMaxChunkMemory);
    if (trusted_) {
      png_set_crc_action(png_, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
      png_set_option(png_, PNG_IGNORE_ADLER32, PNG_OPTION_ON);
    } else {
      png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    }
    png_set_benign_errors(png_, 1);
    // Never inflated and never stored. tRNS and eXIf are wanted.
    static constexpr png_byte kSkipped[] =
        "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0"
        "sCAL\0sPLT\0sRGB\0sTER\0tEXt\0tIME\0zTXt";
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, kSkipped, static_cast<int>(sizeof(kSkipped) / 5));
    png_read_info(png_, info_);
    return true;
  }

  // Asks for 8-bit RGB or RGBA rows.
  bool Start() {
    if (setjmp(png_jmpbuf(png_)) != 0) {
      return false;
    }
    png_set_expand(png_);
    png_set_scale_16(png_);
    png_set_gray_to_rgb(png_);
    passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool ReadRow(std::uint8_t* row) {
    if (setjmp(png_jmpbuf(png_)) != 0) {
      return false;
    }
    png_read_row(png_, row, nullptr);
    return true;
  }

  // Reads on to the IEND chunk: without it the file is cut short.
  bool Finish() {
    if (setjmp(png_jmpbuf(png_)) != 0) {
      return false;
    }
    png_read_end(png_, info_);
    return true;
  }

  png_uint_32 width() const { return png_get_image_width(png_, info_); }
  png_uint_32 height() const { return png_get_image_height(png_, info_); }
  std::size_t channels() const { return png_get_channels(png_, info_); }
  int passes() const { return passes_; }

  // Valid after Finish: the chunk may come behind the pixels.
  ExifFacts Exif() const {
    png_bytep exif = nullptr;
    png_uint_32 size = 0;
    if (png_get_eXIf_1(png_, info_, &size, &exif) == 0 || exif == nullptr) {
      return {};
    }
    return ReadExif(exif, size);
  }

  Status Error() const { return {StatusCode::kCorrupt, "PNG: " + CodecMessage(message_)}; }

 private:
  [[noreturn]] static void OnError(png_structp png, png_const_charp message) {
    auto* self = static_cast<PngReader*>(png_get_error_ptr(png));
    const std::size_t size = std::min(std::strlen(message), sizeof(self->message_) - 1);
    std::memcpy(self->message_, message, size);
    self->message_[size] = '\0';
    png_longjmp(png, 1);
  }

  static void OnWarning(png_structp /*png*/, png_const_charp /*message*/) {}

  static void OnRead(png_structp png, png_bytep to, png_size_t size) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
    if (size > self->file_.size - self->position_) {
      png_error(png, "the file ends too early");
    }
    std::memcpy(to, self->file_.data + self->position_, size);
    self->position_ += size;
  }

  Bytes file_;
  bool trusted_;
  std::size_t position_ = 0;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  int passes_ = 1;
  char message_[128] = "libpng cannot start";
};

// Lays RGBA over white. `rgb` may be the memory of `rgba`: it is never ahead.
void FlattenPixels(const std::uint8_t* rgba, std::size_t count, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < count; ++i) {
    const unsigned alpha = rgba[3];
    rgb[0] = OverWhite(rgba[0], alpha);
    rgb[1] = OverWhite(rgba[1], alpha);
    rgb[2] = OverWhite(rgba[2], alpha);
    rgba += 4;
    rgb += 3;
  }
}

// Row after row, so that a short file that declares a big picture costs only the rows that it has.
bool ReadPlain(PngReader* reader, std::size_t width, std::size_t height, std::vector<std::uint8_t>* rgb) {
  const std::size_t row_size = width * 3;
  std::vector<std::uint8_t> rgba(reader->channels() == 4 ? width * 4 : 0);
  rgb->reserve(row_size * height);
  for (std::size_t y = 0; y < height; ++y) {
    rgb->resize(rgb->size() + row_size);
    std::uint8_t* row = rgb->data() + y * row_size;
    if (!reader->ReadRow(rgba.empty() ? row : rgba.data())) {
      return false;
    }
    if (!rgba.empty()) {
      FlattenPixels(rgba.data(), width, row);
    }
  }
  return true;
}

// Every pass fills in some pixels of the rows that the passes before it left.
bool ReadInterlaced(PngReader* reader, std::size_t width, std::size_t height, std::vector<std::uint8_t>* rgb) {
  const std::size_t channels = reader->channels();
  rgb->resize(width * height * channels);
  for (int pass = 0; pass < reader->passes(); ++pass) {
    for (std::size_t y = 0; y < height; ++y) {
      if (!reader->ReadRow(rgb->data() + y * width * channels)) {
        return false;
      }
    }
  }
  if (channels == 4) {
    FlattenPixels(rgb->data(), width * height, rgb->data());
    rgb->resize(width * height * 3);
  }
  return true;
}

Result<StoredImage> Decode(Bytes file, const DecodeOptions& options, bool trusted) {
  PngReader reader(file, trusted);
  if (!reader.ReadHeader()) {
    return reader.Error();
  }
  if (Status status = CheckSize(reader.width(), reader.height(), options); !status.ok()) {
    return status;
  }
  if (!reader.Start()) {
    return reader.Error();
  }
  StoredImage stored;
  stored.image.width = static_cast<int>(reader.width());
  stored.image.height = static_cast<int>(reader.height());
  const bool read = reader.passes() > 1 ? ReadInterlaced(&reader, reader.width(), reader.height(), &stored.image.rgb)
                                        : ReadPlain(&reader, reader.width(), reader.height(), &stored.image.rgb);
  if (!read || !reader.Finish()) {
    return reader.Error();
  }
  const ExifFacts exif = reader.Exif();
  stored.orientation = exif.orientation;
  stored.captured = exif.captured;
  return stored;
}

}  // namespace

Result<StoredImage> DecodePng(Bytes file, const DecodeOptions& options) {
  constexpr std::size_t kFirstChunkName = 12;
  if (file.size >= kFirstChunkName + 4 && std::memcmp(file.data + kFirstChunkName, "CgBI", 4) == 0) {
    return Status(StatusCode::kUnsupported, "PNG in Apple's own CgBI variant is not read");
  }
  const std::vector<std::uint8_t> inflated = InflatePng(file, options);
  return inflated.empty() ? Decode(file, options, /*trusted=*/false)
                          : Decode({inflated.data(), inflated.size()}, options, /*trusted=*/true);
}

}  // namespace rrn::image_internal
