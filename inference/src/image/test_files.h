// Small image files for the tests, written in memory: through the codec libraries' encoders, or by hand where a library
// has no encoder (BMP, WebP containers). Encoders here may end the process on an error: only tests use them.
#ifndef RRN_IMAGE_TEST_FILES_H_
#define RRN_IMAGE_TEST_FILES_H_

// jpeglib.h needs what stdio.h declares.
// clang-format off
#include <cstdio>
#include <jpeglib.h>
// clang-format on

#include <gif_lib.h>
#include <png.h>
#include <tiffio.h>
#include <webp/encode.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace rrn::image_test {

using Buffer = std::vector<std::uint8_t>;
using Rgb = std::array<int, 3>;

inline void Append(Buffer* to, const Buffer& from) { to->insert(to->end(), from.begin(), from.end()); }
inline void AppendLe(Buffer* to, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) {
    to->push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  }
}
inline Buffer Text(const std::string& text) { return {text.begin(), text.end()}; }

// An EXIF block of either byte order with one tag.
inline Buffer ExifBlock(int orientation, bool big_endian = false) {
  const auto low = static_cast<std::uint8_t>(orientation);
  if (big_endian) {
    return {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, low, 0, 0, 0, 0, 0, 0};
  }
  return {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, low, 0, 0, 0, 0, 0, 0, 0};
}

// A little-endian EXIF block whose tag DateTimeOriginal is `time`, 19 characters.
inline Buffer ExifBlockWithTime(const std::string& time) {
  constexpr std::uint32_t kFirst = 8;             // one entry: where the EXIF directory is
  constexpr std::uint32_t kSecond = kFirst + 18;  // one entry: the time
  constexpr std::uint32_t kText = kSecond + 18;
  Buffer block = {'I', 'I', 42, 0};
  AppendLe(&block, kFirst, 4);
  const auto directory = [&block](std::uint32_t tag, std::uint32_t type, std::uint32_t count, std::uint32_t value) {
    AppendLe(&block, 1, 2);
    AppendLe(&block, tag, 2);
    AppendLe(&block, type, 2);
    AppendLe(&block, count, 4);
    AppendLe(&block, value, 4);
    AppendLe(&block, 0, 4);
  };
  directory(0x8769, 4, 1, kSecond);
  directory(0x9003, 2, static_cast<std::uint32_t>(time.size()) + 1, kText);
  Append(&block, Text(time));
  block.push_back(0);
  return block;
}

struct JpegSpec {
  int width = 0;
  int height = 0;
  int components = 3;
  J_COLOR_SPACE pixels = JCS_RGB;  // What `data` is.
  J_COLOR_SPACE stored = JCS_YCbCr;
  bool progressive = false;
  bool arithmetic = false;
  bool adobe_marker = false;
  bool separate_scans = false;  // One for each component.
  int restart_rows = 0;
  Buffer exif;
};

inline Buffer EncodeJpeg(const JpegSpec& spec, const Buffer& data) {
  jpeg_compress_struct info = {};
  jpeg_error_mgr error = {};
  info.err = jpeg_std_error(&error);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): the type that libjpeg wants.
  jpeg_mem_dest(&info, &memory, &size);
  info.image_width = static_cast<JDIMENSION>(spec.width);
  info.image_height = static_cast<JDIMENSION>(spec.height);
  info.input_components = spec.components;
  info.in_color_space = spec.pixels;
  jpeg_set_defaults(&info);
  jpeg_set_colorspace(&info, spec.stored);
  jpeg_set_quality(&info, 100, TRUE);
  for (int i = 0; i < info.num_components; ++i) {
    info.comp_info[i].h_samp_factor = 1;
    info.comp_info[i].v_samp_factor = 1;
  }
  if (spec.progressive) {
    jpeg_simple_progression(&info);
  }
  std::vector<jpeg_scan_info> scans;
  if (spec.separate_scans) {
    for (int i = 0; i < spec.components; ++i) {
      scans.push_back({1, {i, 0, 0, 0}, 0, 63, 0, 0});
    }
    info.scan_info = scans.data();
    info.num_scans = static_cast<int>(scans.size());
  }
  info.arith_code = spec.arithmetic ? TRUE : FALSE;
  info.write_Adobe_marker = spec.adobe_marker ? TRUE : FALSE;
  info.restart_in_rows = spec.restart_rows;
  jpeg_start_compress(&info, TRUE);
  if (!spec.exif.empty()) {
    Buffer app1 = {'E', 'x', 'i', 'f', 0, 0};
    Append(&app1, spec.exif);
    jpeg_write_marker(&info, JPEG_APP0 + 1, app1.data(), static_cast<unsigned>(app1.size()));
  }
  Buffer row(static_cast<std::size_t>(spec.width * spec.components));
  while (info.next_scanline < info.image_height) {
    std::memcpy(row.data(), data.data() + info.next_scanline * row.size(), row.size());
    JSAMPROW rows[] = {row.data()};
    jpeg_write_scanlines(&info, rows, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  Buffer file(memory, memory + size);
  std::free(memory);  // NOLINT(cppcoreguidelines-no-malloc): libjpeg's malloc.
  return file;
}

struct PngSpec {
  int width = 0;
  int height = 0;
  int bits = 8;
  int color_type = PNG_COLOR_TYPE_RGB;
  bool interlaced = false;
  std::vector<png_color> palette;
  Buffer palette_alpha;
  int transparent = -1;  // The grey value, or each of the RGB values.
  Buffer exif;
};

// `data`: rows as PNG stores them (packed below 8 bits, big-endian at 16).
inline Buffer EncodePng(const PngSpec& spec, Buffer data) {
  Buffer file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &file,
      [](png_structp p, png_bytep from, png_size_t size) {
        auto* to = static_cast<Buffer*>(png_get_io_ptr(p));
        to->insert(to->end(), from, from + size);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(spec.width), static_cast<png_uint_32>(spec.height), spec.bits,
               spec.color_type, spec.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
               PNG_FILTER_TYPE_BASE);
  if (!spec.palette.empty()) {
    png_set_PLTE(png, info, spec.palette.data(), static_cast<int>(spec.palette.size()));
  }
  Buffer palette_alpha = spec.palette_alpha;
  png_color_16 color = {};
  if (spec.transparent >= 0) {
    const auto value = static_cast<png_uint_16>(spec.transparent);
    color = {0, value, value, value, value};
    png_set_tRNS(png, info, nullptr, 0, &color);
  } else if (!palette_alpha.empty()) {
    png_set_tRNS(png, info, palette_alpha.data(), static_cast<int>(palette_alpha.size()), nullptr);
  }
  Buffer exif = spec.exif;
  if (!exif.empty()) {
    png_set_eXIf_1(png, info, static_cast<png_uint_32>(exif.size()), exif.data());
  }
  png_write_info(png, info);
  const std::size_t row_size = data.size() / static_cast<std::size_t>(spec.height);
  std::vector<png_bytep> rows;
  rows.reserve(static_cast<std::size_t>(spec.height));
  for (int y = 0; y < spec.height; ++y) {
    rows.push_back(data.data() + static_cast<std::size_t>(y) * row_size);
  }
  png_write_image(png, rows.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return file;
}

// A simple lossless WebP file.
inline Buffer EncodeWebp(int width, int height, const Buffer& rgba) {
  std::uint8_t* memory = nullptr;
  const std::size_t size = WebPEncodeLosslessRGBA(rgba.data(), width, height, width * 4, &memory);
  Buffer file(memory, memory + size);
  WebPFree(memory);
  return file;
}

inline Buffer EncodeLossyWebp(int width, int height, const Buffer& rgba) {
  std::uint8_t* memory = nullptr;
  const std::size_t size = WebPEncodeRGBA(rgba.data(), width, height, width * 4, 95.0F, &memory);
  Buffer file(memory, memory + size);
  WebPFree(memory);
  return file;
}

inline Buffer RiffChunk(const std::string& name, const Buffer& data) {
  Buffer chunk = Text(name);
  AppendLe(&chunk, static_cast<std::uint32_t>(data.size()), 4);
  Append(&chunk, data);
  if (data.size() % 2 != 0) {
    chunk.push_back(0);
  }
  return chunk;
}

inline Buffer Riff(const Buffer& chunks) {
  Buffer file = Text("RIFF");
  AppendLe(&file, static_cast<std::uint32_t>(chunks.size() + 4), 4);
  Append(&file, Text("WEBP"));
  Append(&file, chunks);
  return file;
}

inline Buffer Vp8xChunk(int width, int height, std::uint8_t flags) {
  Buffer data = {flags, 0, 0, 0};
  AppendLe(&data, static_cast<std::uint32_t>(width - 1), 3);
  AppendLe(&data, static_cast<std::uint32_t>(height - 1), 3);
  return RiffChunk("VP8X", data);
}

// The chunks of a simple file.
inline Buffer PictureChunks(const Buffer& simple) { return {simple.begin() + 12, simple.end()}; }

inline Buffer WebpWithExif(int width, int height, const Buffer& rgba, const Buffer& exif) {
  constexpr std::uint8_t kHasExif = 0x08;
  Buffer chunks = Vp8xChunk(width, height, kHasExif);
  Append(&chunks, PictureChunks(EncodeWebp(width, height, rgba)));
  Append(&chunks, RiffChunk("EXIF", exif));
  return Riff(chunks);
}

// An animation of frames of one size on a canvas; the first at (left, top), both even, the others at 0, 0.
inline Buffer AnimatedWebp(int canvas_width, int canvas_height, int left, int top, int width, int height,
                           const std::vector<Buffer>& frames) {
  constexpr std::uint8_t kAnimationAndAlpha = 0x12;
  Buffer chunks = Vp8xChunk(canvas_width, canvas_height, kAnimationAndAlpha);
  Append(&chunks, RiffChunk("ANIM", {0, 0, 255, 255, 0, 0}));
  for (const Buffer& frame : frames) {
    Buffer data;
    AppendLe(&data, static_cast<std::uint32_t>(left / 2), 3);
    AppendLe(&data, static_cast<std::uint32_t>(top / 2), 3);
    AppendLe(&data, static_cast<std::uint32_t>(width - 1), 3);
    AppendLe(&data, static_cast<std::uint32_t>(height - 1), 3);
    AppendLe(&data, 100, 3);
    data.push_back(0);
    Append(&data, PictureChunks(EncodeWebp(width, height, frame)));
    Append(&chunks, RiffChunk("ANMF", data));
    left = 0;
    top = 0;
  }
  return Riff(chunks);
}

struct GifFrame {
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
  bool interlaced = false;
  int transparent = NO_TRANSPARENT_COLOR;
  Buffer indices;
};

inline Buffer EncodeGif(int canvas_width, int canvas_height, const std::vector<GifColorType>& colors,
                        const std::vector<GifFrame>& frames) {
  Buffer file;
  int error = 0;
  GifFileType* gif = EGifOpen(
      &file,
      [](GifFileType* g, const GifByteType* from, int size) {
        auto* to = static_cast<Buffer*>(g->UserData);
        to->insert(to->end(), from, from + size);
        return size;
      },
      &error);
  EGifSetGifVersion(gif, true);
  ColorMapObject* map = GifMakeMapObject(static_cast<int>(colors.size()), colors.data());
  EGifPutScreenDesc(gif, canvas_width, canvas_height, 8, 0, map);
  for (const GifFrame& frame : frames) {
    if (frame.transparent != NO_TRANSPARENT_COLOR) {
      const GraphicsControlBlock control = {0, false, 0, frame.transparent};
      GifByteType extension[4] = {};
      EGifGCBToExtension(&control, extension);
      EGifPutExtension(gif, GRAPHICS_EXT_FUNC_CODE, sizeof(extension), extension);
    }
    EGifPutImageDesc(gif, frame.left, frame.top, frame.width, frame.height, frame.interlaced, nullptr);
    Buffer line;
    const auto put = [&](int y) {
      const auto first = frame.indices.begin() + static_cast<std::ptrdiff_t>(y) * frame.width;
      line.assign(first, first + frame.width);
      EGifPutLine(gif, line.data(), frame.width);
    };
    if (frame.interlaced) {
      constexpr int kFirst[] = {0, 4, 2, 1};
      constexpr int kStep[] = {8, 8, 4, 2};
      for (int pass = 0; pass < 4; ++pass) {
        for (int y = kFirst[pass]; y < frame.height; y += kStep[pass]) {
          put(y);
        }
      }
    } else {
      for (int y = 0; y < frame.height; ++y) {
        put(y);
      }
    }
  }
  GifFreeMapObject(map);
  EGifCloseFile(gif, &error);
  return file;
}

struct TiffSpec {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  int bits = 8;
  int samples = 3;
  int photometric = PHOTOMETRIC_RGB;
  int compression = COMPRESSION_NONE;
  int planar = PLANARCONFIG_CONTIG;
  int sample_format = SAMPLEFORMAT_UINT;
  int orientation = 0;  // 0: no tag.
  int extra_sample = -1;
  std::uint32_t tile = 0;  // The side of a tile; 0: strips.
  std::uint32_t strip_rows = 1;
  std::vector<std::array<std::uint16_t, 3>> palette;
  const char* mode = "w";
};

// `data`: rows (or with PLANARCONFIG_SEPARATE: planes of rows) as TIFF stores them, 16-bit samples in the machine's
// byte order.
inline Buffer EncodeTiff(const TiffSpec& spec, Buffer data) {
  struct Memory {
    Buffer bytes;
    std::size_t position = 0;
  };
  Memory memory;
  TIFF* tiff = TIFFClientOpen(
      "", spec.mode, &memory,
      [](thandle_t handle, void* to, tmsize_t size) -> tmsize_t {
        auto* m = static_cast<Memory*>(handle);
        const std::size_t left = m->bytes.size() - std::min(m->bytes.size(), m->position);
        const std::size_t count = std::min(left, static_cast<std::size_t>(size));
        if (count > 0) {
          std::memcpy(to, m->bytes.data() + m->position, count);
        }
        m->position += count;
        return static_cast<tmsize_t>(count);
      },
      [](thandle_t handle, void* from, tmsize_t size) -> tmsize_t {
        auto* m = static_cast<Memory*>(handle);
        m->bytes.resize(std::max(m->bytes.size(), m->position + static_cast<std::size_t>(size)));
        std::memcpy(m->bytes.data() + m->position, from, static_cast<std::size_t>(size));
        m->position += static_cast<std::size_t>(size);
        return size;
      },
      [](thandle_t handle, toff_t offset, int whence) -> toff_t {
        auto* m = static_cast<Memory*>(handle);
        const toff_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? m->position : m->bytes.size();
        m->position = static_cast<std::size_t>(base + offset);
        return m->position;
      },
      [](thandle_t) { return 0; },
      [](thandle_t handle) -> toff_t { return static_cast<Memory*>(handle)->bytes.size(); },
      [](thandle_t, void**, toff_t*) { return 0; }, [](thandle_t, void*, toff_t) {});
  TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, spec.width);
  TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, spec.height);
  TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, spec.bits);
  TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, spec.samples);
  TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, spec.photometric);
  TIFFSetField(tiff, TIFFTAG_COMPRESSION, spec.compression);
  TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, spec.planar);
  TIFFSetField(tiff, TIFFTAG_SAMPLEFORMAT, spec.sample_format);
  if (spec.orientation != 0) {
    TIFFSetField(tiff, TIFFTAG_ORIENTATION, spec.orientation);
  }
  if (spec.extra_sample >= 0) {
    const auto kind = static_cast<std::uint16_t>(spec.extra_sample);
    TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, &kind);
  }
  if (!spec.palette.empty()) {
    std::vector<std::uint16_t> channels[3];
    for (const auto& color : spec.palette) {
      for (std::size_t c = 0; c < 3; ++c) {
        channels[c].push_back(color[c]);
      }
    }
    TIFFSetField(tiff, TIFFTAG_COLORMAP, channels[0].data(), channels[1].data(), channels[2].data());
  }
  const std::uint32_t planes =
      spec.planar == PLANARCONFIG_SEPARATE ? static_cast<std::uint32_t>(spec.samples) : std::uint32_t{1};
  const std::size_t row_size = data.size() / (std::size_t{spec.height} * planes);
  if (spec.tile == 0) {
    TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, spec.strip_rows);
    std::uint32_t strip = 0;
    for (std::uint32_t plane = 0; plane < planes; ++plane) {
      for (std::uint32_t y = 0; y < spec.height; y += spec.strip_rows) {
        const std::size_t rows = std::min(spec.strip_rows, spec.height - y);
        TIFFWriteEncodedStrip(tiff, strip++, data.data() + (plane * spec.height + y) * row_size,
                              static_cast<tmsize_t>(rows * row_size));
      }
    }
  } else {
    TIFFSetField(tiff, TIFFTAG_TILEWIDTH, spec.tile);
    TIFFSetField(tiff, TIFFTAG_TILELENGTH, spec.tile);
    const std::size_t pixel_size = row_size / spec.width;
    for (std::uint32_t top = 0; top < spec.height; top += spec.tile) {
      for (std::uint32_t left = 0; left < spec.width; left += spec.tile) {
        const std::size_t tile_row = spec.tile * pixel_size;
        Buffer tile(spec.tile * tile_row);
        for (std::uint32_t y = top; y < std::min(spec.height, top + spec.tile); ++y) {
          const std::size_t count = std::min(spec.width - left, spec.tile) * pixel_size;
          std::memcpy(tile.data() + (y - top) * tile_row, data.data() + y * row_size + left * pixel_size, count);
        }
        TIFFWriteTile(tiff, tile.data(), left, top, 0, 0);
      }
    }
  }
  TIFFClose(tiff);
  return std::move(memory.bytes);
}

struct BmpSpec {
  int width = 0;
  int height = 0;  // Negative: rows from the top.
  int bits = 24;
  std::uint32_t header = 40;
  std::uint32_t compression = 0;
  std::vector<std::uint32_t> masks;    // Red, green, blue and perhaps alpha.
  std::vector<std::uint32_t> palette;  // 0xRRGGBB
};

// `data`: everything behind the colour table.
inline Buffer EncodeBmp(const BmpSpec& spec, const Buffer& data) {
  Buffer info;
  AppendLe(&info, spec.header, 4);
  if (spec.header == 12) {
    AppendLe(&info, static_cast<std::uint32_t>(spec.width), 2);
    AppendLe(&info, static_cast<std::uint32_t>(spec.height), 2);
  } else {
    AppendLe(&info, static_cast<std::uint32_t>(spec.width), 4);
    AppendLe(&info, static_cast<std::uint32_t>(spec.height), 4);
  }
  AppendLe(&info, 1, 2);
  AppendLe(&info, static_cast<std::uint32_t>(spec.bits), 2);
  if (spec.header > 12) {
    AppendLe(&info, spec.compression, 4);
    AppendLe(&info, static_cast<std::uint32_t>(data.size()), 4);
    AppendLe(&info, 2835, 4);
    AppendLe(&info, 2835, 4);
    AppendLe(&info, static_cast<std::uint32_t>(spec.palette.size()), 4);
    AppendLe(&info, 0, 4);
  }
  for (const std::uint32_t mask : spec.masks) {
    AppendLe(&info, mask, 4);
  }
  info.resize(std::max(info.size(), std::size_t{spec.header}));
  for (const std::uint32_t color : spec.palette) {
    AppendLe(&info, color, spec.header == 12 ? 3 : 4);
  }
  Buffer file = {'B', 'M'};
  AppendLe(&file, static_cast<std::uint32_t>(14 + info.size() + data.size()), 4);
  AppendLe(&file, 0, 4);
  AppendLe(&file, static_cast<std::uint32_t>(14 + info.size()), 4);
  Append(&file, info);
  Append(&file, data);
  return file;
}

}  // namespace rrn::image_test

#endif  // RRN_IMAGE_TEST_FILES_H_
