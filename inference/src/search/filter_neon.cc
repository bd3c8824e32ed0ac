// The filter for ARM processors with the dot product instructions (ARMv8.2 and later).
#include <arm_neon.h>

#include "search/filter_kernel.h"

namespace rrn::internal {

bool FilterNeonDot(const FilterBlock& block) {
  constexpr std::size_t kRows = 4;  // 4 x 4 registers of sums, of 32
  constexpr std::size_t kRegisters = 4;
  constexpr std::size_t kColumns = 4;
  constexpr std::uint32_t kBits[kColumns] = {1, 2, 4, 8};
  const uint32x4_t bits = vld1q_u32(kBits);
  std::uint32_t any = 0;
  for (std::size_t i = 0; i < kFilterRows; ++i) block.flags[i] = 0;
  for (std::size_t pack = 0; pack < 2; ++pack) {
    const std::int8_t* right = block.b + pack * kPackRows * block.depth;
    for (std::size_t i = 0; i < kFilterRows; i += kRows) {
      int32x4_t sums[kRows][kRegisters];
      for (auto& row : sums) {
        for (int32x4_t& sum : row) sum = vdupq_n_s32(0);
      }
      for (std::size_t d = 0; d < block.depth; d += 16) {
        int8x16_t a[kRows];
        for (std::size_t r = 0; r < kRows; ++r) a[r] = vld1q_s8(block.a + (i + r) * block.depth + d);
        for (std::size_t c = 0; c < kRegisters; ++c) {
          const std::int8_t* b = right + d * kPackRows + c * 16;
          const int8x16_t b0 = vld1q_s8(b);
          const int8x16_t b1 = vld1q_s8(b + 64);
          const int8x16_t b2 = vld1q_s8(b + 128);
          const int8x16_t b3 = vld1q_s8(b + 192);
          for (std::size_t r = 0; r < kRows; ++r) {
            sums[r][c] = vdotq_laneq_s32(sums[r][c], b0, a[r], 0);
            sums[r][c] = vdotq_laneq_s32(sums[r][c], b1, a[r], 1);
            sums[r][c] = vdotq_laneq_s32(sums[r][c], b2, a[r], 2);
            sums[r][c] = vdotq_laneq_s32(sums[r][c], b3, a[r], 3);
          }
        }
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const float32x4_t limit = vdupq_n_f32(block.a_limits[i + r]);
        for (std::size_t c = 0; c < kRegisters; ++c) {
          const std::size_t column = pack * kPackRows + c * kColumns;
          const float32x4_t value = vmulq_f32(vcvtq_f32_s32(sums[r][c]), vld1q_f32(block.b_scales + column));
          const std::uint32_t found = vaddvq_u32(vbicq_u32(bits, vcleq_f32(value, limit)));
          block.flags[i + r] |= found << column;
          any |= found;
        }
      }
    }
  }
  return any != 0;
}

}  // namespace rrn::internal
