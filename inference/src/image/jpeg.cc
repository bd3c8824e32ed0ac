// jpeglib.h needs what stdio.h declares, and jerror.h needs jpeglib.h.
// clang-format off
#include <cstdio>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <string>
#include <vector>

#include "image/decoders.h"
#include "image/exif.h"

namespace rrn::image_internal {
namespace {

// A progressive file may declare a scan of a few bytes that touches every block of a big picture, thousands of times.
// Encoders write about ten scans; the more pixels, the fewer more are let through.
constexpr std::int64_t kMaxScans = 100;
constexpr std::int64_t kMinMaxScans = 20;
constexpr std::int64_t kMaxScannedPixels = 4'000'000'000;

// libjpeg ends every error with a longjmp. Each call into it therefore happens in a member function that has no
// objects with destructors of its own, right behind a setjmp.
class JpegReader {
 public:
  explicit JpegReader(Bytes file) : file_(file) {
    info_.err = jpeg_std_error(&error_.base);
    error_.base.error_exit = OnError;
    error_.base.emit_message = OnMessage;
    error_.base.output_message = OnOutput;
    progress_.base.progress_monitor = OnProgress;
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info_); }

  bool ReadHeader() {
    if (setjmp(error_.jump) != 0) {
      return false;
    }
    jpeg_create_decompress(&info_);
    info_.progress = &progress_.base;
    jpeg_mem_src(&info_, file_.data, file_.size);
    jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(&info_, TRUE);
    return true;
  }

  // Decodes at 1 / `fraction` of the size: 1, 2, 4 or 8, for which libjpeg-turbo has vector code.
  bool Start(J_COLOR_SPACE color_space, unsigned fraction) {
    if (setjmp(error_.jump) != 0) {
      return false;
    }
    info_.out_color_space = color_space;
    info_.scale_num = 1;
    info_.scale_denom = fraction;
    const std::int64_t pixels = std::max<std::int64_t>(std::int64_t{info_.image_width} * info_.image_height, 1);
    progress_.max_scans = std::clamp(kMaxScannedPixels / pixels, kMinMaxScans, kMaxScans);
    jpeg_start_decompress(&info_);
    return true;
  }

  bool ReadRow(std::uint8_t* row) {
    if (setjmp(error_.jump) != 0) {
      return false;
    }
    // A memory source never suspends, so a row always comes.
    jpeg_read_scanlines(&info_, &row, 1);
    return true;
  }

  // Reads on to the end marker: without it the file is cut short.
  bool Finish() {
    if (setjmp(error_.jump) != 0) {
      return false;
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  // Whether pixel data came for every component. libjpeg would show a missing one as flat grey.
  bool HasAllComponents() const { return progress_.seen == (1U << static_cast<unsigned>(info_.num_components)) - 1; }

  ExifFacts Exif() const {
    for (jpeg_saved_marker_ptr marker = info_.marker_list; marker != nullptr; marker = marker->next) {
      constexpr char kExif[] = {'E', 'x', 'i', 'f', 0};
      if (marker->data_length > sizeof(kExif) && std::memcmp(marker->data, kExif, sizeof(kExif)) == 0) {
        return ReadExif(marker->data, marker->data_length);
      }
    }
    return {};
  }

  Status Error() const {
    return {error_.unsupported ? StatusCode::kUnsupported : StatusCode::kCorrupt,
            "JPEG: " + CodecMessage(error_.message)};
  }

  const jpeg_decompress_struct& info() const { return info_; }

 private:
  struct ErrorManager {
    jpeg_error_mgr base = {};
    std::jmp_buf jump = {};
    bool unsupported = false;
    char message[JMSG_LENGTH_MAX] = {};
  };
  struct Progress {
    jpeg_progress_mgr base = {};
    std::int64_t max_scans = kMaxScans;
    unsigned seen = 0;  // One bit for each component that a scan had data for.
  };

  // The base is the first member of both structures, so their addresses are the same.
  static ErrorManager* ErrorOf(j_common_ptr info) { return reinterpret_cast<ErrorManager*>(info->err); }

  [[noreturn]] static void OnError(j_common_ptr info) {
    ErrorManager* error = ErrorOf(info);
    info->err->format_message(info, error->message);
    switch (info->err->msg_code) {
      case JERR_ARITH_NOTIMPL:
      case JERR_BAD_PRECISION:
      case JERR_CCIR601_NOTIMPL:
      case JERR_CONVERSION_NOTIMPL:
      case JERR_FRACT_SAMPLE_NOTIMPL:
      case JERR_NOTIMPL:
      case JERR_NOT_COMPILED:
      case JERR_SOF_UNSUPPORTED:
        error->unsupported = true;
        break;
      default:
        break;
    }
    std::longjmp(error->jump, 1);
  }

  // libjpeg calls damage a warning and paints over it.
  static void OnMessage(j_common_ptr info, int level) {
    if (level >= 0) {
      return;
    }
    switch (info->err->msg_code) {
      case JWRN_ADOBE_XFORM:
      case JWRN_BOGUS_ICC:
      case JWRN_BOGUS_PROGRESSION:
      case JWRN_EXTRANEOUS_DATA:
      case JWRN_JFIF_MAJOR:
        return;
      default:
        OnError(info);
    }
  }

  static void OnOutput(j_common_ptr /*info*/) {}

  static void OnProgress(j_common_ptr common) {
    auto* info = reinterpret_cast<j_decompress_ptr>(common);
    auto* progress = reinterpret_cast<Progress*>(common->progress);
    if (info->input_scan_number > progress->max_scans) {
      ErrorManager* error = ErrorOf(common);
      constexpr char kMessage[] = "more scans than any encoder writes";
      static_assert(sizeof(kMessage) <= sizeof(error->message));
      std::memcpy(error->message, kMessage, sizeof(kMessage));
      std::longjmp(error->jump, 1);
    }
    for (int i = 0; i < info->comps_in_scan; ++i) {
      progress->seen |= 1U << static_cast<unsigned>(info->cur_comp_info[i]->component_index);
    }
  }

  Bytes file_;
  jpeg_decompress_struct info_ = {};
  ErrorManager error_;
  Progress progress_;
};

// Four inks to light. Adobe's programs store ink the other way round (255 = none) and say so with their marker.
void ConvertCmykRow(const std::uint8_t* cmyk, int width, bool inverted, std::uint8_t* rgb) {
  const unsigned flip = inverted ? 255U : 0U;
  for (int x = 0; x < width; ++x) {
    const unsigned black = cmyk[3] ^ flip;
    for (int c = 0; c < 3; ++c) {
      rgb[c] = InkToLight(cmyk[c] ^ flip, black);
    }
    cmyk += 4;
    rgb += 3;
  }
}

}  // namespace

Result<StoredImage> DecodeJpeg(Bytes file, const DecodeOptions& options) {
  JpegReader reader(file);
  if (!reader.ReadHeader()) {
    return reader.Error();
  }
  const jpeg_decompress_struct& info = reader.info();
  if (Status status = CheckSize(info.image_width, info.image_height, options); !status.ok()) {
    return status;
  }
  const bool inks = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  if (info.jpeg_color_space == JCS_UNKNOWN) {
    return Status(StatusCode::kUnsupported,
                  "JPEG: " + std::to_string(info.num_components) + " components; 1, 3 or 4 are read");
  }
  unsigned fraction = 8;
  while (fraction > 1 && !FractionIsEnough(info.image_width, info.image_height, fraction, options)) {
    fraction /= 2;
  }
  if (!reader.Start(inks ? JCS_CMYK : JCS_RGB, fraction)) {
    return reader.Error();
  }

  StoredImage stored;
  const ExifFacts exif = reader.Exif();
  stored.orientation = exif.orientation;
  stored.captured = exif.captured;
  stored.image.width = static_cast<int>(info.output_width);
  stored.image.height = static_cast<int>(info.output_height);
  stored.full_width = static_cast<int>(info.image_width);
  stored.full_height = static_cast<int>(info.image_height);
  std::vector<std::uint8_t>& rgb = stored.image.rgb;
  const std::size_t row_size = std::size_t{info.output_width} * 3;
  // Reserved memory is not touched: a short file that declares a big picture costs only the rows that it has.
  rgb.reserve(row_size * info.output_height);
  std::vector<std::uint8_t> cmyk(inks ? std::size_t{info.output_width} * 4 : 0);
  while (info.output_scanline < info.output_height) {
    rgb.resize(rgb.size() + row_size);
    std::uint8_t* row = rgb.data() + (rgb.size() - row_size);
    if (!reader.ReadRow(inks ? cmyk.data() : row)) {
      return reader.Error();
    }
    if (inks) {
      ConvertCmykRow(cmyk.data(), stored.image.width, info.saw_Adobe_marker != 0, row);
    }
  }
  if (!reader.Finish()) {
    return reader.Error();
  }
  if (!reader.HasAllComponents()) {
    return Status(StatusCode::kCorrupt, "JPEG: the data of a colour component is missing");
  }
  return stored;
}

}  // namespace rrn::image_internal
