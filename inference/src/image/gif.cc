#include <gif_lib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "image/decoders.h"

namespace rrn::image_internal {
namespace {

struct GifDeleter {
  void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};
using GifPointer = std::unique_ptr<GifFileType, GifDeleter>;

struct Source {
  Bytes file;
  std::size_t position = 0;
};

int OnRead(GifFileType* gif, GifByteType* to, int size) {
  auto* source = static_cast<Source*>(gif->UserData);
  const std::size_t count = std::min(static_cast<std::size_t>(size), source->file.size - source->position);
  std::memcpy(to, source->file.data + source->position, count);
  source->position += count;
  return static_cast<int>(count);
}

Status Corrupt(int error) {
  const char* text = GifErrorString(error);
  return {StatusCode::kCorrupt, "GIF: " + CodecMessage(text != nullptr ? text : "damaged data")};
}

// Reads up to the first picture. Returns its transparent colour, or NO_TRANSPARENT_COLOR.
Result<int> FindFirstPicture(GifFileType* gif) {
  int transparent = NO_TRANSPARENT_COLOR;
  while (true) {
    GifRecordType type = UNDEFINED_RECORD_TYPE;
    if (DGifGetRecordType(gif, &type) == GIF_ERROR) {
      return Corrupt(gif->Error);
    }
    if (type == IMAGE_DESC_RECORD_TYPE) {
      return transparent;
    }
    if (type != EXTENSION_RECORD_TYPE) {
      return Status(StatusCode::kCorrupt, "GIF: no picture in the file");
    }
    int function = 0;
    GifByteType* block = nullptr;
    if (DGifGetExtension(gif, &function, &block) == GIF_ERROR) {
      return Corrupt(gif->Error);
    }
    GraphicsControlBlock control = {};
    if (function == GRAPHICS_EXT_FUNC_CODE && block != nullptr &&
        DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK) {
      transparent = control.TransparentColor;
    }
    while (block != nullptr) {
      if (DGifGetExtensionNext(gif, &block) == GIF_ERROR) {
        return Corrupt(gif->Error);
      }
    }
  }
}

// The colours of the first picture; indices beyond the table are black. Without any table: shades of grey.
std::vector<GifColorType> Palette(const GifFileType& gif) {
  std::vector<GifColorType> colors(256);
  const ColorMapObject* map = gif.Image.ColorMap != nullptr ? gif.Image.ColorMap : gif.SColorMap;
  for (std::size_t i = 0; i < colors.size(); ++i) {
    if (map == nullptr) {
      const auto grey = static_cast<GifByteType>(i);
      colors[i] = {grey, grey, grey};
    } else if (i < static_cast<std::size_t>(map->ColorCount)) {
      colors[i] = map->Colors[i];
    }
  }
  return colors;
}

// Whether the rest of the file, from behind the first picture, goes on to the end mark: without it the file is cut
// short. Later frames are only stepped over. Bytes that mean nothing end the search in peace: some programs append
// data.
bool ReachesTrailer(Bytes file, std::size_t at) {
  constexpr std::uint8_t kExtension = 0x21;
  constexpr std::uint8_t kPicture = 0x2C;
  while (at < file.size) {
    const std::uint8_t kind = file.data[at];
    if (kind == kExtension) {
      at += 2;  // The mark and the kind of extension.
    } else if (kind == kPicture) {
      constexpr std::size_t kDescriptor = 10;
      if (file.size - at < kDescriptor) {
        return false;
      }
      const unsigned flags = file.data[at + kDescriptor - 1];
      const std::size_t colors = (flags & 0x80) != 0 ? std::size_t{2} << (flags & 7) : 0;
      at += kDescriptor + colors * 3 + 1;  // The last byte is the code size.
    } else {
      return true;
    }
    // Blocks, each behind its size, up to an empty one.
    std::size_t block = 1;
    while (block != 0) {
      if (at >= file.size) {
        return false;
      }
      block = file.data[at];
      at += 1 + block;
    }
  }
  return false;
}

// The order in which the rows of a picture are stored.
std::vector<int> RowOrder(int height, bool interlaced) {
  struct Pass {
    int first;
    int step;
  };
  static constexpr Pass kPlain[] = {{0, 1}};
  static constexpr Pass kInterlaced[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};
  const Pass* passes = interlaced ? kInterlaced : kPlain;
  std::vector<int> rows;
  rows.reserve(static_cast<std::size_t>(height));
  for (int pass = 0; pass < (interlaced ? 4 : 1); ++pass) {
    for (int y = passes[pass].first; y < height; y += passes[pass].step) {
      rows.push_back(y);
    }
  }
  return rows;
}

}  // namespace

Result<StoredImage> DecodeGif(Bytes file, const DecodeOptions& options) {
  Source source{file};
  int error = 0;
  const GifPointer gif(DGifOpen(&source, OnRead, &error));
  if (gif == nullptr) {
    return Corrupt(error);
  }
  // Not DGifSlurp: it would unpack every frame of an animation.
  const Result<int> transparent = FindFirstPicture(gif.get());
  if (!transparent.ok()) {
    return transparent.status();
  }
  if (DGifGetImageDesc(gif.get()) == GIF_ERROR) {
    return Corrupt(gif->Error);
  }
  const GifImageDesc& frame = gif->Image;
  if (frame.Left < 0 || frame.Top < 0 || frame.Width <= 0 || frame.Height <= 0) {
    return Status(StatusCode::kCorrupt, "GIF: the picture is declared as empty");
  }
  // A picture that leaves the canvas makes the canvas bigger, as in other programs. All numbers have 16 bits.
  const int width = std::max(gif->SWidth, frame.Left + frame.Width);
  const int height = std::max(gif->SHeight, frame.Top + frame.Height);
  if (Status status = CheckSize(static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(height), options);
      !status.ok()) {
    return status;
  }
  StoredImage stored;
  stored.image.width = width;
  stored.image.height = height;
  const std::size_t row_size = static_cast<std::size_t>(width) * 3;
  stored.image.rgb.assign(row_size * static_cast<std::size_t>(height), 255);
  const std::vector<GifColorType> colors = Palette(*gif);
  std::vector<GifPixelType> line(static_cast<std::size_t>(frame.Width));
  for (const int y : RowOrder(frame.Height, frame.Interlace)) {
    if (DGifGetLine(gif.get(), line.data(), frame.Width) == GIF_ERROR) {
      return Corrupt(gif->Error);
    }
    std::uint8_t* to = stored.image.rgb.data() + static_cast<std::size_t>(frame.Top + y) * row_size +
                       static_cast<std::size_t>(frame.Left) * 3;
    for (const GifPixelType index : line) {
      if (index != *transparent) {
        to[0] = colors[index].Red;
        to[1] = colors[index].Green;
        to[2] = colors[index].Blue;
      }
      to += 3;
    }
  }
  if (!ReachesTrailer(file, source.position)) {
    return Status(StatusCode::kCorrupt, "GIF: the file ends too early");
  }
  return stored;
}

}  // namespace rrn::image_internal
