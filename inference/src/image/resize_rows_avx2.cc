#include <immintrin.h>

#include <cstring>

#include "image/resize_rows.h"

namespace rrn::image_internal {
namespace {

// Four pixels of two rows, 12 bytes each, as 16-bit numbers: R0 R1 G0 G1 B0 B1 of the pair, and two zeros.
__m256i FirstPair(__m256i pixels) {
  const __m128i order = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
  return _mm256_shuffle_epi8(pixels, _mm256_broadcastsi128_si256(order));
}

__m256i SecondPair(__m256i pixels) {
  const __m128i order = _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  return _mm256_shuffle_epi8(pixels, _mm256_broadcastsi128_si256(order));
}

__m128i Load16(const std::uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

__m256i Broadcast(std::uint32_t value) { return _mm256_set1_epi32(static_cast<int>(value)); }

// One output pixel of two rows, in the lowest three bytes of either half. Sums may wrap around in their parts: the
// whole fits into 32 bits, and addition does not care for the order.
__m256i ResizePixel(const std::uint8_t* first, const std::uint8_t* second, const std::uint32_t* weights, int count) {
  __m256i low = _mm256_setzero_si256();
  __m256i high = _mm256_setzero_si256();
  for (int i = 0; i < count; i += 4) {
    const __m256i pixels = _mm256_inserti128_si256(_mm256_castsi128_si256(Load16(first)), Load16(second), 1);
    const __m256i pair = FirstPair(pixels);
    const __m256i next = SecondPair(pixels);
    low = _mm256_add_epi32(low, _mm256_add_epi32(_mm256_madd_epi16(pair, Broadcast(weights[0])),
                                                 _mm256_madd_epi16(next, Broadcast(weights[1]))));
    high = _mm256_add_epi32(high, _mm256_add_epi32(_mm256_madd_epi16(pair, Broadcast(weights[2])),
                                                   _mm256_madd_epi16(next, Broadcast(weights[3]))));
    first += 12;
    second += 12;
    weights += 4;
  }
  __m256i sum = _mm256_add_epi32(low, _mm256_slli_epi32(high, kLowBits));
  sum = _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(kHalf)), kPrecision);
  sum = _mm256_packus_epi32(sum, sum);
  return _mm256_packus_epi16(sum, sum);
}

void ResizeTwoRows(const std::uint8_t* first, const std::uint8_t* second, const Filter& filter, std::uint8_t* to_first,
                   std::uint8_t* to_second) {
  for (const Span& span : filter.spans) {
    const std::size_t offset = static_cast<std::size_t>(span.first) * 3;
    const __m256i pixel = ResizePixel(first + offset, second + offset, filter.packed.data() + span.packed, span.count);
    const int bytes[] = {_mm_cvtsi128_si32(_mm256_castsi256_si128(pixel)),
                         _mm_cvtsi128_si32(_mm256_extracti128_si256(pixel, 1))};
    std::memcpy(to_first, &bytes[0], 3);
    std::memcpy(to_second, &bytes[1], 3);
    to_first += 3;
    to_second += 3;
  }
}

void ResizeRows(const std::uint8_t* const* from, int count, const Filter& filter, std::uint8_t* const* to) {
  for (int row = 0; row < count; row += 2) {
    // An odd one is done twice.
    const int next = row + 1 < count ? row + 1 : row;
    ResizeTwoRows(from[row], from[next], filter, to[row], to[next]);
  }
}

void AddRow(const std::uint8_t* row, std::int32_t weight, std::size_t size, std::int32_t* sums) {
  for (std::size_t i = 0; i < size; ++i) {
    sums[i] += row[i] * weight;
  }
}

void ToBytes(const std::int32_t* sums, std::size_t size, std::uint8_t* to) {
  for (std::size_t i = 0; i < size; ++i) {
    const std::int32_t value = sums[i] >> kPrecision;
    to[i] = static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
  }
}

}  // namespace

const RowKernels kAvx2RowKernels = {ResizeRows, AddRow, ToBytes};

}  // namespace rrn::image_internal
