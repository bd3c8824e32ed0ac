#include "image/png_inflate.h"

#ifdef RRN_HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>

namespace rrn::image_internal {

#ifdef RRN_HAVE_LIBDEFLATE

namespace {

constexpr std::size_t kSignatureSize = 8;
// Length, name and checksum.
constexpr std::size_t kChunkFrame = 12;
// Deflate makes at most 1032 bytes of one. What declares more is no picture, and gets no memory.
constexpr std::uint64_t kMaxRatio = 1032;
// Pictures beyond this are rare, and row by row they take less memory.
constexpr std::uint64_t kMaxInflated = 64U << 20;
// Encoders write chunks of 8 KiB and more.
constexpr std::size_t kMaxChunks = 65536;
constexpr unsigned kLargestWindow = 7;
constexpr std::size_t kMaxStoredBlock = 65535;

std::uint32_t BigEndian32(const std::uint8_t* from) {
  return std::uint32_t{from[0]} << 24U | std::uint32_t{from[1]} << 16U | std::uint32_t{from[2]} << 8U | from[3];
}

void Append(std::vector<std::uint8_t>* to, const void* data, std::size_t size) {
  const auto* from = static_cast<const std::uint8_t*>(data);
  to->insert(to->end(), from, from + size);
}

void AppendBigEndian32(std::vector<std::uint8_t>* to, std::uint32_t value) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) {
    to->push_back(static_cast<std::uint8_t>(value >> shift));
  }
}

struct Chunk {
  const std::uint8_t* frame = nullptr;  // Where it begins in the file.
  std::uint32_t size = 0;               // Of its data.

  std::string_view name() const { return {reinterpret_cast<const char*>(frame + 4), 4}; }
  const std::uint8_t* data() const { return frame + 8; }
  bool IsIntact() const { return libdeflate_crc32(0, frame + 4, size + 4) == BigEndian32(frame + 8 + size); }
};

// All chunks up to IEND; none if the file is damaged, or has more than an encoder would write.
std::vector<Chunk> ReadChunks(Bytes file) {
  std::vector<Chunk> chunks;
  std::size_t position = kSignatureSize;
  while (file.size - position >= kChunkFrame && chunks.size() < kMaxChunks) {
    const Chunk chunk{file.data + position, BigEndian32(file.data + position)};
    if (chunk.size > file.size - position - kChunkFrame || !chunk.IsIntact()) {
      break;
    }
    chunks.push_back(chunk);
    if (chunk.name() == "IEND") {
      return chunks;
    }
    position += kChunkFrame + chunk.size;
  }
  return {};
}

// Bytes of all rows with their filter bytes, or 0 for a header that is not one of a plain (not interlaced) PNG.
std::uint64_t InflatedSize(const Chunk& header) {
  if (header.name() != "IHDR" || header.size != 13 || header.data()[12] != 0) {
    return 0;
  }
  const std::uint64_t width = BigEndian32(header.data());
  const std::uint64_t height = BigEndian32(header.data() + 4);
  const unsigned depth = header.data()[8];
  static constexpr unsigned kChannels[] = {1, 0, 3, 1, 2, 0, 4};
  const unsigned type = header.data()[9];
  const unsigned channels = type < 7 ? kChannels[type] : 0;
  if (channels == 0 || depth > 16 || width > 0x7FFFFFFF || height > 0x7FFFFFFF) {
    return 0;
  }
  const std::uint64_t row = (width * channels * depth + 7) / 8 + 1;
  return height > kMaxInflated / row ? 0 : row * height;
}

struct FreeDecompressor {
  void operator()(libdeflate_decompressor* decompressor) const { libdeflate_free_decompressor(decompressor); }
};

// Appends the data as a zlib stream of stored blocks in an IDAT chunk.
void AppendStored(const std::uint8_t* data, std::size_t size, std::vector<std::uint8_t>* to) {
  const std::size_t blocks = (size + kMaxStoredBlock - 1) / kMaxStoredBlock;
  AppendBigEndian32(to, static_cast<std::uint32_t>(2 + blocks * 5 + size + 4));
  Append(to, "IDAT\x78\x01", 6);
  for (std::size_t done = 0; done < size;) {
    const std::size_t part = std::min(size - done, kMaxStoredBlock);
    const auto length = static_cast<unsigned>(part);
    const std::uint8_t head[] = {static_cast<std::uint8_t>(done + part == size ? 1 : 0),
                                 static_cast<std::uint8_t>(length), static_cast<std::uint8_t>(length >> 8U),
                                 static_cast<std::uint8_t>(~length), static_cast<std::uint8_t>(~length >> 8U)};
    Append(to, head, sizeof(head));
    Append(to, data + done, part);
    done += part;
  }
  AppendBigEndian32(to, 0);  // Adler-32
  AppendBigEndian32(to, 0);  // CRC
}

}  // namespace

std::vector<std::uint8_t> InflatePng(Bytes file, const DecodeOptions& options) {
  const std::vector<Chunk> chunks = ReadChunks(file);
  if (chunks.empty()) {
    return {};
  }
  const std::uint64_t size = InflatedSize(chunks.front());
  if (size == 0 ||
      std::uint64_t{BigEndian32(chunks.front().data())} * BigEndian32(chunks.front().data() + 4) > options.max_pixels) {
    return {};
  }
  std::vector<std::uint8_t> compressed;
  std::size_t other = 0;
  std::string_view last;
  bool seen = false;
  for (const Chunk& chunk : chunks) {
    if (chunk.name() == "IDAT") {
      if (seen && last != "IDAT") {
        return {};  // not behind each other
      }
      seen = true;
      // Data that cannot be compressed grows by a few bytes, not by more.
      if (compressed.size() + chunk.size > size + size / 8 + 1024) {
        return {};
      }
      Append(&compressed, chunk.data(), chunk.size);
    } else {
      other += kChunkFrame + chunk.size;
    }
    last = chunk.name();
  }
  if (compressed.empty() || size > compressed.size() * kMaxRatio) {
    return {};
  }
  // libdeflate does not look at the declared window, so it must not matter.
  const unsigned window = compressed.front() >> 4U;
  if (window > kLargestWindow || (window < kLargestWindow && size > 256U << window)) {
    return {};
  }
  const std::unique_ptr<libdeflate_decompressor, FreeDecompressor> decompressor(libdeflate_alloc_decompressor());
  // Not a vector: it would write zeros first.
  const std::unique_ptr<std::uint8_t[]> rows(new std::uint8_t[size]);
  std::size_t used = 0;
  if (decompressor == nullptr ||
      // Without a place for the size of the result it must be exactly `size`.
      libdeflate_zlib_decompress_ex(decompressor.get(), compressed.data(), compressed.size(), rows.get(), size, &used,
                                    nullptr) != LIBDEFLATE_SUCCESS ||
      used != compressed.size()) {
    return {};
  }
  std::vector<std::uint8_t> result;
  result.reserve(kSignatureSize + other + size + (size / kMaxStoredBlock + 1) * 5 + kChunkFrame + 6);
  Append(&result, file.data, kSignatureSize);
  bool stored = false;
  for (const Chunk& chunk : chunks) {
    if (chunk.name() != "IDAT") {
      Append(&result, chunk.frame, kChunkFrame + chunk.size);
    } else if (!stored) {
      AppendStored(rows.get(), size, &result);
      stored = true;
    }
  }
  return result;
}

#else

std::vector<std::uint8_t> InflatePng(Bytes /*file*/, const DecodeOptions& /*options*/) { return {}; }

#endif

}  // namespace rrn::image_internal
