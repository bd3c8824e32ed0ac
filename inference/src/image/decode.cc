#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "base/files.h"
#include "base/hash.h"
#include "base/text.h"
#include "image/decoders.h"
#include "rrn/image.h"

namespace rrn {
namespace {

using image_internal::ApplyOrientation;
using image_internal::Bytes;
using image_internal::DecodeBmp;
using image_internal::DecodeGif;
using image_internal::DecodeJpeg;
using image_internal::DecodePng;
using image_internal::DecodeTiff;
using image_internal::DecodeWebp;
using image_internal::StoredImage;

using Decoder = Result<StoredImage> (*)(Bytes file, const DecodeOptions& options);

// Enough to recognise every format.
constexpr std::size_t kSniffSize = 32;
constexpr std::size_t kMaxFileSize = std::size_t{2} << 30;

using namespace std::string_view_literals;

bool HasAt(Bytes file, std::size_t at, std::string_view text) {
  return file.size >= at && file.size - at >= text.size() && std::memcmp(file.data + at, text.data(), text.size()) == 0;
}

// The name of a format that is known but not read, or empty.
std::string_view RefusedFormat(Bytes file) {
  struct Magic {
    std::size_t at;
    std::string_view text;
    std::string_view name;
  };
  static constexpr Magic kRefused[] = {
      {4, "ftypavif"sv, "AVIF"},
      {4, "ftypavis"sv, "AVIF"},
      {4, "ftypheic"sv, "HEIC"},
      {4, "ftypheix"sv, "HEIC"},
      {4, "ftyphevc"sv, "HEIC"},
      {4, "ftyphevx"sv, "HEIC"},
      {4, "ftypheim"sv, "HEIC"},
      {4, "ftypheis"sv, "HEIC"},
      {4, "ftypmif1"sv, "HEIC or AVIF"},
      {4, "ftypmsf1"sv, "HEIC or AVIF"},
      {4, "ftypcrx "sv, "CR3 raw"},
      {4, "ftyp"sv, "MP4 or QuickTime video"},
      {0, "\0\0\0\x0CjP  \r\n\x87\n"sv, "JPEG 2000"},
      {0, "\xFF\x4F\xFF\x51"sv, "JPEG 2000"},
      {0, "\0\0\0\x0CJXL \r\n\x87\n"sv, "JPEG XL"},
      {0, "\xFF\x0A"sv, "JPEG XL"},
      {0, "II\xBC\x01"sv, "JPEG XR"},
      {0, "8BPS"sv, "Photoshop (PSD)"},
      {0, "\0\0\1\0"sv, "ICO"},
      {0, "\0\0\2\0"sv, "CUR"},
      {0, "\x8AMNG\r\n\x1A\n"sv, "MNG"},
      {0, "\x8BJNG\r\n\x1A\n"sv, "JNG"},
      {0, "qoif"sv, "QOI"},
      {0, "DDS "sv, "DDS"},
      {0, "\x76\x2F\x31\x01"sv, "OpenEXR"},
      {0, "#?RADIANCE"sv, "Radiance HDR"},
      {0, "gimp xcf"sv, "GIMP (XCF)"},
      {0, "BPG\xFB"sv, "BPG"},
      {0, "%PDF"sv, "PDF"},
      {0, "%!PS"sv, "PostScript"},
      {0, "<svg"sv, "SVG"},
  };
  for (const Magic& magic : kRefused) {
    if (HasAt(file, magic.at, magic.text)) {
      return magic.name;
    }
  }
  const bool portable_map = file.size >= 3 && file.data[0] == 'P' && file.data[1] >= '1' && file.data[1] <= '7' &&
                            (file.data[2] == '\n' || file.data[2] == ' ' || file.data[2] == '\r');
  return portable_map ? "Netpbm (PBM, PGM, PPM, PAM)"sv : std::string_view();
}

Result<Decoder> FindDecoder(Bytes file) {
  struct Magic {
    std::size_t at;
    std::string_view text;
    Decoder decoder;
  };
  static constexpr Magic kRead[] = {
      {0, "\xFF\xD8\xFF"sv, DecodeJpeg}, {0, "\x89PNG\r\n\x1A\n"sv, DecodePng},
      {8, "WEBP"sv, DecodeWebp},         {0, "GIF87a"sv, DecodeGif},
      {0, "GIF89a"sv, DecodeGif},        {0, "II\x2A\0"sv, DecodeTiff},
      {0, "MM\0\x2A"sv, DecodeTiff},     {0, "II\x2B\0"sv, DecodeTiff},
      {0, "MM\0\x2B"sv, DecodeTiff},     {0, "BM"sv, DecodeBmp},
  };
  if (file.size == 0) {
    return Status(StatusCode::kCorrupt, "empty file");
  }
  for (const Magic& magic : kRead) {
    if (HasAt(file, magic.at, magic.text) && (magic.at == 0 || HasAt(file, 0, "RIFF"sv))) {
      return magic.decoder;
    }
  }
  const std::string_view refused = RefusedFormat(file);
  if (!refused.empty()) {
    return Status(StatusCode::kUnsupported,
                  std::string(refused) + " is not read; convert the file to JPEG, PNG, WebP, BMP, GIF or TIFF");
  }
  return Status(StatusCode::kUnsupported, "not an image of a known format (JPEG, PNG, WebP, BMP, GIF, TIFF)");
}

Status SystemError(int error) {
  const bool missing = error == ENOENT || error == ENOTDIR;
  return {missing ? StatusCode::kNotFound : StatusCode::kUnreadable, ErrorText(error)};
}

// Reads until `size` bytes are there or the file ends. Returns how many came.
Result<std::size_t> ReadFully(int file, std::uint8_t* data, std::size_t size) {
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t got = read(file, data + filled, size - filled);
    if (got == 0) {
      break;
    }
    if (got > 0) {
      filled += static_cast<std::size_t>(got);
    } else if (errno != EINTR) {
      return SystemError(errno);
    }
  }
  return filled;
}

// `content`: if not null, receives the hash of a file of a known format.
Result<Image> ReadOpenFile(int file, std::size_t size, const DecodeOptions& options, ContentHash* content) {
  // The head alone tells films and archives from pictures: reading gigabytes only to refuse them would be a waste.
  std::uint8_t head[kSniffSize];
  const std::size_t head_wanted = std::min(size, kSniffSize);
  const Result<std::size_t> head_size = ReadFully(file, head, head_wanted);
  if (!head_size.ok()) {
    return head_size.status();
  }
  const Result<Decoder> decoder = FindDecoder({head, *head_size});
  if (!decoder.ok()) {
    return decoder.status();
  }
  if (size > kMaxFileSize) {
    return Status(StatusCode::kTooLarge, "the file has " + std::to_string(size) + " bytes; at most " +
                                             std::to_string(kMaxFileSize) + " are read");
  }
  // Not a vector: it would write zeros first.
  const std::unique_ptr<std::uint8_t[]> data(new std::uint8_t[size]);
  std::memcpy(data.get(), head, *head_size);
  const Result<std::size_t> rest_size = ReadFully(file, data.get() + *head_size, size - *head_size);
  if (!rest_size.ok()) {
    return rest_size.status();
  }
  const std::size_t filled = *head_size + *rest_size;
  if (content != nullptr) {
    Hash hash;
    hash.Add(data.get(), filled);
    *content = hash.Bytes();
  }
  return DecodeImage(data.get(), filled, options);
}

// Calls `read` and turns the standard library's exceptions about memory into a Status.
template <typename Read>
Result<Image> GuardMemory(const Read& read) {
  try {
    return read();
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kRuntime, "not enough memory for the picture");
  } catch (const std::length_error&) {
    return Status(StatusCode::kRuntime, "not enough memory for the picture");
  }
}

}  // namespace

namespace image_internal {
namespace {

// Without printf, which would follow the process's locale.
std::string Megapixels(std::uint64_t pixels) {
  if (pixels > 0 && pixels < 100'000) {
    return std::to_string(pixels) + "e-6";
  }
  const std::uint64_t tenths = pixels / 100'000 + (pixels % 100'000 >= 50'000 ? 1 : 0);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

}  // namespace

Status CheckSize(std::uint64_t width, std::uint64_t height, const DecodeOptions& options) {
  const std::string size = std::to_string(width) + " x " + std::to_string(height);
  if (width == 0 || height == 0) {
    return {StatusCode::kCorrupt, "the picture is declared as empty (" + size + ")"};
  }
  constexpr std::uint64_t kMaxSide = std::numeric_limits<int>::max();
  if (width > kMaxSide || height > kMaxSide) {
    return {StatusCode::kTooLarge, size + " pixels; a side can have at most " + std::to_string(kMaxSide)};
  }
  // Sides below 2^31 cannot overflow here, and the result times 3 fits into 64 bits.
  const std::uint64_t pixels = width * height;
  if (pixels > options.max_pixels) {
    return {StatusCode::kTooLarge, size + " = " + Megapixels(pixels) + " megapixels, over the limit of " +
                                       Megapixels(options.max_pixels) +
                                       " (--max-megapixels raises it, max_pixels in Python)"};
  }
  return {};
}

bool FractionIsEnough(std::uint64_t width, std::uint64_t height, std::uint64_t factor, const DecodeOptions& options) {
  if (options.target <= 0) {
    return false;
  }
  const std::uint64_t least = static_cast<std::uint64_t>(options.target) * kReducingGap * factor;
  return width >= least && height >= least;
}

std::string CodecMessage(const char* text) {
  std::string line = OneLine(text, ' ');
  while (!line.empty() && (line.back() == ' ' || line.back() == '.')) {
    line.pop_back();
  }
  return line;
}

}  // namespace image_internal

Result<Image> DecodeImage(const std::uint8_t* data, std::size_t size, const DecodeOptions& options) {
  const Bytes file{data, size};
  const Result<Decoder> decoder = FindDecoder(file);
  if (!decoder.ok()) {
    return decoder.status();
  }
  return GuardMemory([&]() -> Result<Image> {
    Result<StoredImage> stored = (*decoder)(file, options);
    if (!stored.ok()) {
      return stored.status();
    }
    const int orientation = stored->orientation;
    const std::optional<std::int64_t> captured = stored->captured;
    const bool at_fraction = stored->full_width > 0;
    int full_width = at_fraction ? stored->full_width : stored->image.width;
    int full_height = at_fraction ? stored->full_height : stored->image.height;
    if (orientation >= 5 && orientation <= 8) {
      std::swap(full_width, full_height);
    }
    Image upright = ApplyOrientation(std::move(stored->image), orientation);
    upright.full_width = full_width;
    upright.full_height = full_height;
    upright.captured = captured;
    return upright;
  });
}

Result<Image> ReadImage(const std::string& path, const DecodeOptions& options, FileProperties* file_properties) {
  if (path.find('\0') != std::string::npos) {
    return Status(StatusCode::kNotFound, "no such file: the path has a zero byte in it");
  }
  // O_NONBLOCK: opening a pipe without a writer would block.
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.value() < 0) {
    return SystemError(errno);
  }
  struct stat info = {};
  if (fstat(file.value(), &info) != 0) {
    return SystemError(errno);
  }
  if (S_ISDIR(info.st_mode)) {
    return Status(StatusCode::kUnreadable, "not a regular file but a directory");
  }
  if (!S_ISREG(info.st_mode)) {
    return Status(StatusCode::kUnreadable, "not a regular file");
  }
  if (file_properties != nullptr) {
    constexpr std::int64_t kNanoseconds = 1'000'000'000;
    *file_properties = {info.st_dev,
                        info.st_ino,
                        static_cast<std::uint64_t>(info.st_size),
                        info.st_mtim.tv_sec * kNanoseconds + info.st_mtim.tv_nsec,
                        {}};
  }
  ContentHash* const content = file_properties == nullptr ? nullptr : &file_properties->content;
  return GuardMemory(
      [&] { return ReadOpenFile(file.value(), static_cast<std::size_t>(info.st_size), options, content); });
}

}  // namespace rrn
