// Our own decoder: no small library of the distributions reads BMP. Written after Microsoft's description of
// BITMAPFILEHEADER, BITMAPINFOHEADER to BITMAPV5HEADER and the two run-length codes, and OS/2's headers.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "image/decoders.h"

namespace rrn::image_internal {
namespace {

constexpr std::size_t kFileHeader = 14;
constexpr std::uint32_t kCoreHeader = 12;  // OS/2 1.x and Windows 2
constexpr std::uint32_t kInfoHeader = 40;  // Windows 3
constexpr std::uint32_t kRgbMaskHeader = 52;
constexpr std::uint32_t kAlphaMaskHeader = 56;
constexpr std::uint32_t kOs2Header = 64;  // OS/2 2.x, which may be cut down to 16
constexpr std::uint32_t kV4Header = 108;
constexpr std::uint32_t kV5Header = 124;

constexpr std::uint32_t kPlain = 0;
constexpr std::uint32_t kRle8 = 1;
constexpr std::uint32_t kRle4 = 2;
constexpr std::uint32_t kBitFields = 3;
constexpr std::uint32_t kJpeg = 4;
constexpr std::uint32_t kPng = 5;
constexpr std::uint32_t kAlphaBitFields = 6;

Status Corrupt(const std::string& what) { return {StatusCode::kCorrupt, "BMP: " + what}; }
Status Unsupported(const std::string& what) { return {StatusCode::kUnsupported, "BMP: " + what}; }

std::uint32_t U16(const std::uint8_t* data) { return std::uint32_t{data[0]} | std::uint32_t{data[1]} << 8; }
std::uint32_t U32(const std::uint8_t* data) { return U16(data) | U16(data + 2) << 16; }

struct Color {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
};

// One channel of a pixel with bit masks.
struct Channel {
  std::uint32_t mask = 0;
  std::uint32_t shift = 0;
  std::uint32_t most = 0;  // The greatest value, all bits set.

  // The value scaled to 0..255 and rounded.
  std::uint8_t Get(std::uint32_t pixel) const {
    if (most == 0) {
      return 0;
    }
    const std::uint64_t value = (pixel & mask) >> shift;
    return static_cast<std::uint8_t>((value * 255 + most / 2) / most);
  }
};

struct Header {
  std::uint32_t size = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  bool top_down = false;
  std::uint32_t bits = 0;
  std::uint32_t compression = kPlain;
  std::size_t pixels_at = 0;        // Where the pixels begin in the file.
  std::array<Channel, 4> channels;  // Red, green, blue and alpha, for 16 and 32 bits.
  std::array<Color, 256> palette;   // Indices beyond the table of the file are black.
};

bool MakeChannel(std::uint32_t mask, Channel* channel) {
  *channel = {};
  if (mask == 0) {
    return true;
  }
  channel->mask = mask;
  while (((mask >> channel->shift) & 1) == 0) {
    ++channel->shift;
  }
  channel->most = mask >> channel->shift;
  // Bits in one piece: adding one to 0..01..1 leaves no bit in common.
  return (channel->most & (channel->most + 1)) == 0;
}

// Size, depth and compression.
Result<Header> ReadHeader(Bytes file) {
  Header header;
  if (file.size < kFileHeader + 4) {
    return Corrupt("the file ends in its header");
  }
  header.pixels_at = U32(file.data + 10);
  header.size = U32(file.data + kFileHeader);
  const std::uint8_t* info = file.data + kFileHeader;
  const bool known = header.size == kCoreHeader || (header.size >= 16 && header.size <= kOs2Header) ||
                     header.size == kV4Header || header.size == kV5Header;
  if (!known) {
    return Unsupported("a header of " + std::to_string(header.size) + " bytes; not a BMP file, or an unknown kind");
  }
  if (file.size - kFileHeader < header.size) {
    return Corrupt("the file ends in its header");
  }
  if (header.size == kCoreHeader) {
    header.width = U16(info + 4);
    header.height = U16(info + 6);
    header.bits = U16(info + 10);
    return header;
  }
  header.width = U32(info + 4);
  header.height = U32(info + 8);
  header.bits = U16(info + 14);
  if ((header.height >> 31) != 0) {
    header.top_down = true;
    header.height = 0U - header.height;
  }
  if ((header.width >> 31) != 0) {
    return Corrupt("a negative width");
  }
  if (header.size >= 20) {
    header.compression = U32(info + 16);
  }
  return header;
}

Status CheckKind(const Header& header) {
  const std::uint32_t bits = header.bits;
  const bool os2 = header.size == kOs2Header || header.size < kInfoHeader;
  if (header.compression == kJpeg || header.compression == kPng) {
    return Unsupported(os2 ? "24-bit run-length code of OS/2" : "a JPEG or PNG inside a BMP");
  }
  if (header.compression == kBitFields && os2) {
    return Unsupported("Huffman code of OS/2");
  }
  if (header.compression > kAlphaBitFields) {
    return Unsupported("compression " + std::to_string(header.compression) + "; 0 to 3 and 6 are read");
  }
  bool fits = false;
  switch (header.compression) {
    case kRle8:
      fits = bits == 8;
      break;
    case kRle4:
      fits = bits == 4;
      break;
    case kBitFields:
    case kAlphaBitFields:
      fits = bits == 16 || bits == 32;
      break;
    default:
      fits = bits == 1 || bits == 2 || bits == 4 || bits == 8 || bits == 16 || bits == 24 || bits == 32;
      break;
  }
  if (!fits) {
    return Corrupt(std::to_string(bits) + " bits for each pixel with compression " +
                   std::to_string(header.compression));
  }
  return {};
}

// The bit masks of 16- and 32-bit pixels. Moves `*table_at`, where the palette begins, behind masks that follow a
// short header.
Status ReadMasks(Bytes file, Header* header, std::size_t* table_at) {
  std::array<std::uint32_t, 4> masks = {0x00FF0000, 0x0000FF00, 0x000000FF, 0};
  if (header->bits == 16) {
    masks = {0x7C00, 0x03E0, 0x001F, 0};
  }
  if (header->compression == kBitFields || header->compression == kAlphaBitFields) {
    std::size_t count = 3;
    if (header->compression == kAlphaBitFields || header->size >= kAlphaMaskHeader) {
      count = 4;
    }
    // Masks stand at the same place in any case: inside the longer headers, or behind the one of 40 bytes.
    const std::size_t masks_at = kFileHeader + kInfoHeader;
    if (header->size < kInfoHeader || file.size < masks_at + count * 4) {
      return Corrupt("the file ends in its header");
    }
    for (std::size_t i = 0; i < count; ++i) {
      masks[i] = U32(file.data + masks_at + i * 4);
    }
    *table_at = std::max(*table_at, masks_at + count * 4);
  }
  std::uint32_t used = 0;
  for (std::size_t i = 0; i < masks.size(); ++i) {
    if (!MakeChannel(masks[i], &header->channels[i]) || (used & masks[i]) != 0) {
      return Unsupported("bit masks that have gaps or overlap");
    }
    used |= masks[i];
  }
  return {};
}

Status ReadPalette(Bytes file, std::size_t table_at, Header* header) {
  const std::uint8_t* info = file.data + kFileHeader;
  const std::size_t entry_size = header->size == kCoreHeader ? 3 : 4;
  std::size_t count = std::size_t{1} << header->bits;
  // The number of colours; 0 means all.
  if (header->size >= 36) {
    const std::size_t declared = U32(info + 32);
    if (declared != 0) {
      count = std::min(count, declared);
    }
  }
  // Some files let the pixels begin inside a full table, and mean a shorter one.
  if (header->pixels_at > table_at) {
    count = std::min(count, (header->pixels_at - table_at) / entry_size);
  }
  if (table_at > file.size || (file.size - table_at) / entry_size < count) {
    return Corrupt("the file ends in its colour table");
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t* entry = file.data + table_at + i * entry_size;
    header->palette[i] = {entry[2], entry[1], entry[0]};
  }
  if (header->pixels_at <= table_at) {
    header->pixels_at = table_at + count * entry_size;
  }
  return {};
}

void PutColor(Color color, std::uint8_t* to) {
  to[0] = color.red;
  to[1] = color.green;
  to[2] = color.blue;
}

// Rows of 1, 2, 4 or 8 bits for each pixel.
void ConvertIndexed(const Header& header, const std::uint8_t* from, std::uint8_t* to) {
  const std::uint32_t bits = header.bits;
  const std::uint32_t mask = (1U << bits) - 1;
  for (std::size_t x = 0; x < header.width; ++x) {
    const std::size_t bit = x * bits;
    const std::uint32_t index = (std::uint32_t{from[bit / 8]} >> (8 - bits - bit % 8)) & mask;
    PutColor(header.palette[index], to + x * 3);
  }
}

// Rows of 16 or 32 bits with masks.
void ConvertMasked(const Header& header, bool use_alpha, const std::uint8_t* from, std::uint8_t* to) {
  const std::size_t step = header.bits / 8;
  for (std::size_t x = 0; x < header.width; ++x) {
    const std::uint32_t pixel = step == 2 ? U16(from) : U32(from);
    const unsigned alpha = use_alpha ? header.channels[3].Get(pixel) : 255U;
    for (std::size_t c = 0; c < 3; ++c) {
      to[c] = OverWhite(header.channels[c].Get(pixel), alpha);
    }
    from += step;
    to += 3;
  }
}

// Rows of 24 bits.
void ConvertBgr(std::size_t width, const std::uint8_t* from, std::uint8_t* to) {
  for (std::size_t x = 0; x < width; ++x) {
    to[0] = from[2];
    to[1] = from[1];
    to[2] = from[0];
    from += 3;
    to += 3;
  }
}

// Many programs write an alpha channel and leave it zero. A picture that cannot be seen is not what they mean.
bool HasAlpha(const Header& header, const std::uint8_t* pixels, std::size_t row_size) {
  const std::uint32_t mask = header.channels[3].mask;
  if (mask == 0) {
    return false;
  }
  const std::size_t step = header.bits / 8;
  for (std::size_t y = 0; y < header.height; ++y) {
    const std::uint8_t* row = pixels + y * row_size;
    for (std::size_t x = 0; x < header.width; ++x) {
      const std::uint8_t* pixel = row + x * step;
      if (((step == 2 ? U16(pixel) : U32(pixel)) & mask) != 0) {
        return true;
      }
    }
  }
  return false;
}

// Row y of the file in the picture: files begin at the bottom unless they say otherwise.
std::uint8_t* RowAt(const Header& header, std::size_t y, Image* image) {
  const std::size_t row = header.top_down ? y : header.height - 1 - y;
  return image->rgb.data() + row * header.width * 3;
}

Status ReadPlainRows(Bytes file, const Header& header, Image* image) {
  const std::uint64_t row_size = (std::uint64_t{header.width} * header.bits + 31) / 32 * 4;
  const std::uint64_t used = (std::uint64_t{header.width} * header.bits + 7) / 8;
  // Before any memory is taken. The padding of the last row is often missing. Neither factor reaches 2^37, 2^32.
  const std::uint64_t available = file.size - header.pixels_at;
  if (available < used || (available - used) / row_size < header.height - 1) {
    return Corrupt("the file ends before its last row");
  }
  image->rgb.resize(std::size_t{header.width} * header.height * 3);
  const std::uint8_t* pixels = file.data + header.pixels_at;
  const bool masked = header.bits == 16 || header.bits == 32;
  const bool use_alpha = masked && HasAlpha(header, pixels, row_size);
  for (std::size_t y = 0; y < header.height; ++y) {
    const std::uint8_t* from = pixels + y * row_size;
    std::uint8_t* to = RowAt(header, y, image);
    if (masked) {
      ConvertMasked(header, use_alpha, from, to);
    } else if (header.bits == 24) {
      ConvertBgr(header.width, from, to);
    } else {
      ConvertIndexed(header, from, to);
    }
  }
  return {};
}

// Unpacks a run-length coded picture. Pixels that the code jumps over have colour 0.
class RleReader {
 public:
  RleReader(Bytes file, const Header& header, Image* image)
      : header_(header), image_(image), next_(file.data + header.pixels_at), end_(file.data + file.size) {}

  Status Read() {
    for (std::size_t i = 0; i < image_->rgb.size(); i += 3) {
      PutColor(header_.palette[0], image_->rgb.data() + i);
    }
    while (true) {
      if (end_ - next_ < 2) {
        // Some writers leave out the end mark behind a complete picture.
        return y_ >= header_.height || (y_ == header_.height - 1 && x_ >= header_.width) ? Status() : TooShort();
      }
      const std::uint8_t first = next_[0];
      const std::uint8_t second = next_[1];
      next_ += 2;
      const bool draws = first != 0 || second > kJump;
      if (draws && (x_ >= header_.width || y_ >= header_.height)) {
        return Corrupt("pixels outside the picture");
      }
      if (first != 0) {
        PutRun(first, second);
        continue;
      }
      if (second == kEndOfPicture) {
        return {};
      }
      if (second == kEndOfLine) {
        x_ = 0;
        ++y_;
      } else if (second == kJump) {
        if (end_ - next_ < 2) {
          return TooShort();
        }
        x_ += next_[0];
        y_ += next_[1];
        next_ += 2;
      } else if (!PutLiterals(second)) {
        return TooShort();
      }
    }
  }

 private:
  // What a second byte means behind a first one of 0; greater ones count literal pixels.
  static constexpr std::uint8_t kEndOfLine = 0;
  static constexpr std::uint8_t kEndOfPicture = 1;
  static constexpr std::uint8_t kJump = 2;

  static Status TooShort() { return Corrupt("the file ends before its last row"); }

  // Pixels behind the end of a row are dropped: some writers pad with them.
  void Put(std::uint8_t index) {
    if (x_ < header_.width && y_ < header_.height) {
      PutColor(header_.palette[index], RowAt(header_, y_, image_) + x_ * 3);
    }
    ++x_;
  }

  void PutRun(unsigned count, std::uint8_t value) {
    for (unsigned i = 0; i < count; ++i) {
      Put(Index(value, i));
    }
  }

  bool PutLiterals(unsigned count) {
    const unsigned size = header_.bits == 8 ? count : (count + 1) / 2;
    if (end_ - next_ < static_cast<std::ptrdiff_t>(size)) {
      return false;
    }
    for (unsigned i = 0; i < count; ++i) {
      Put(Index(next_[header_.bits == 8 ? i : i / 2], i));
    }
    // Literals are padded to an even size; at the very end of a file the pad may be missing.
    next_ += std::min<std::ptrdiff_t>(end_ - next_, size + size % 2);
    return true;
  }

  // The i-th pixel in a byte that holds one or two of them.
  std::uint8_t Index(std::uint8_t value, unsigned i) const {
    if (header_.bits == 8) {
      return value;
    }
    return i % 2 == 0 ? value >> 4 : value & 0xF;
  }

  const Header& header_;
  Image* image_;
  const std::uint8_t* next_;
  const std::uint8_t* end_;
  std::size_t x_ = 0;
  std::size_t y_ = 0;
};

}  // namespace

Result<StoredImage> DecodeBmp(Bytes file, const DecodeOptions& options) {
  Result<Header> header = ReadHeader(file);
  if (!header.ok()) {
    return header.status();
  }
  if (Status status = CheckKind(*header); !status.ok()) {
    return status;
  }
  if (Status status = CheckSize(header->width, header->height, options); !status.ok()) {
    return status;
  }
  std::size_t table_at = kFileHeader + header->size;
  if (header->bits <= 8) {
    if (Status status = ReadPalette(file, table_at, &*header); !status.ok()) {
      return status;
    }
  } else {
    if (Status status = ReadMasks(file, &*header, &table_at); !status.ok()) {
      return status;
    }
    header->pixels_at = std::max(header->pixels_at, table_at);
  }
  if (header->pixels_at > file.size) {
    return Corrupt("the file ends before its pixels");
  }
  StoredImage stored;
  stored.image.width = static_cast<int>(header->width);
  stored.image.height = static_cast<int>(header->height);
  Status status;
  if (header->compression == kRle8 || header->compression == kRle4) {
    stored.image.rgb.resize(std::size_t{header->width} * header->height * 3);
    status = RleReader(file, *header, &stored.image).Read();
  } else {
    status = ReadPlainRows(file, *header, &stored.image);
  }
  if (!status.ok()) {
    return status;
  }
  return stored;
}

}  // namespace rrn::image_internal
