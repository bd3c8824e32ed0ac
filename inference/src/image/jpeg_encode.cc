// jpeglib.h needs what stdio.h declares.
// clang-format off
#include <cstdio>
#include <jpeglib.h>
// clang-format on

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "image/decoders.h"
#include "rrn/image.h"

namespace rrn {
namespace {

// libjpeg ends every error with a longjmp: Write has no objects with destructors, and what it made is freed here.
class JpegWriter {
 public:
  JpegWriter() {
    info_.err = jpeg_std_error(&error_.base);
    error_.base.error_exit = OnError;
    error_.base.output_message = [](j_common_ptr /*info*/) {};
  }
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;
  ~JpegWriter() {
    jpeg_destroy_compress(&info_);
    std::free(memory_);  // NOLINT(cppcoreguidelines-no-malloc): libjpeg's malloc.
  }

  bool Write(const ImageView& image, int quality, bool optimize) {
    if (setjmp(error_.jump) != 0) {
      return false;
    }
    jpeg_create_compress(&info_);
    jpeg_mem_dest(&info_, &memory_, &size_);
    info_.image_width = static_cast<JDIMENSION>(image.width);
    info_.image_height = static_cast<JDIMENSION>(image.height);
    info_.input_components = 3;
    info_.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info_);
    jpeg_set_quality(&info_, quality, TRUE);
    // The one DCT whose bytes do not depend on the instruction set.
    info_.dct_method = JDCT_ISLOW;
    info_.optimize_coding = optimize ? TRUE : FALSE;
    jpeg_start_compress(&info_, TRUE);
    const std::size_t row_size = static_cast<std::size_t>(image.width) * 3;
    while (info_.next_scanline < info_.image_height) {
      // libjpeg only reads, but its interface is older than const.
      auto* row = const_cast<JSAMPROW>(image.rgb + info_.next_scanline * row_size);
      jpeg_write_scanlines(&info_, &row, 1);
    }
    jpeg_finish_compress(&info_);
    return true;
  }

  std::vector<std::uint8_t> bytes() const { return {memory_, memory_ + size_}; }
  std::string error() const { return image_internal::CodecMessage(error_.message); }

 private:
  struct ErrorManager {
    jpeg_error_mgr base = {};
    std::jmp_buf jump = {};
    char message[JMSG_LENGTH_MAX] = {};
  };

  [[noreturn]] static void OnError(j_common_ptr info) {
    // The base is the first member, so the addresses are the same.
    auto* error = reinterpret_cast<ErrorManager*>(info->err);
    info->err->format_message(info, error->message);
    std::longjmp(error->jump, 1);
  }

  jpeg_compress_struct info_ = {};
  ErrorManager error_;
  unsigned char* memory_ = nullptr;
  unsigned long size_ = 0;  // NOLINT(google-runtime-int): the type that libjpeg wants.
};

}  // namespace

Result<std::vector<std::uint8_t>> EncodeJpeg(const ImageView& image, int quality, bool optimize) {
  if (image.rgb == nullptr || image.width < 1 || image.height < 1 || image.width > JPEG_MAX_DIMENSION ||
      image.height > JPEG_MAX_DIMENSION) {
    return Status(StatusCode::kInvalidArgument,
                  "cannot encode a picture of " + std::to_string(image.width) + " x " + std::to_string(image.height) +
                      " pixels as JPEG; expected sides of 1 ... " + std::to_string(JPEG_MAX_DIMENSION));
  }
  if (quality < 1 || quality > 100) {
    return Status(StatusCode::kInvalidArgument, "JPEG quality is " + std::to_string(quality) + ", expected 1 ... 100");
  }
  JpegWriter writer;
  if (!writer.Write(image, quality, optimize)) {
    return Status(StatusCode::kRuntime, "JPEG: " + writer.error());
  }
  try {
    return writer.bytes();
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kRuntime, "JPEG: not enough memory");
  }
}

}  // namespace rrn
