// The filter on the matrix unit of Intel's server processors (AMX int8).
#include <immintrin.h>

#include "search/filter_kernel.h"

namespace rrn::internal {
namespace {

constexpr std::size_t kTile = 16;         // rows and columns of a tile of sums
constexpr std::size_t kTileBytes = 1024;  // 16 rows of 64 bytes

// Without a mask, GCC 12 warns of an uninitialised value in its own header.
constexpr __mmask16 kAll = 0xFFFF;

// What LDTILECFG reads: all eight tiles are 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

// Not a local variable: GCC thinks that the instruction reads eight bytes and would leave out the rest.
constexpr TileConfig kConfig;

}  // namespace

void EnterAmx() { _tile_loadconfig(&kConfig); }

void LeaveAmx() { _tile_release(); }

bool FilterAmx(const FilterBlock& block) {
  alignas(64) std::int32_t sums[kFilterRows * kFilterRows];
  const std::size_t depth = block.depth;
  const std::int8_t* a0 = block.a;
  const std::int8_t* a1 = block.a + kTile * depth;
  const std::int8_t* b0 = block.b;
  const std::int8_t* b1 = block.b + kPackRows * depth;
  // 2 x 2 tiles of sums: every tile that is loaded is used twice.
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::size_t d = 0; d < depth; d += kFilterDepth) {
    _tile_loadd(4, a0 + d, depth);
    _tile_loadd(6, b0, kFilterDepth);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, b1, kFilterDepth);
    _tile_dpbssd(1, 4, 7);
    _tile_loadd(5, a1 + d, depth);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
    b0 += kTileBytes;
    b1 += kTileBytes;
  }
  constexpr std::size_t kStride = kFilterRows * sizeof(std::int32_t);
  _tile_stored(0, sums, kStride);
  _tile_stored(1, sums + kTile, kStride);
  _tile_stored(2, sums + kTile * kFilterRows, kStride);
  _tile_stored(3, sums + kTile * kFilterRows + kTile, kStride);

  const __m512 scales0 = _mm512_loadu_ps(block.b_scales);
  const __m512 scales1 = _mm512_loadu_ps(block.b_scales + kTile);
  std::uint32_t any = 0;
  for (std::size_t i = 0; i < kFilterRows; ++i) {
    const __m512 limit = _mm512_set1_ps(block.a_limits[i]);
    const __m512 left = _mm512_maskz_cvtepi32_ps(kAll, _mm512_load_si512(sums + i * kFilterRows));
    const __m512 right = _mm512_maskz_cvtepi32_ps(kAll, _mm512_load_si512(sums + i * kFilterRows + kTile));
    const std::uint32_t low = _mm512_cmp_ps_mask(_mm512_mul_ps(left, scales0), limit, _CMP_NLE_UQ);
    const std::uint32_t high = _mm512_cmp_ps_mask(_mm512_mul_ps(right, scales1), limit, _CMP_NLE_UQ);
    block.flags[i] = low | high << kTile;
    any |= block.flags[i];
  }
  return any != 0;
}

}  // namespace rrn::internal
