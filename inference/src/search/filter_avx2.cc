// The filter for AVX2.
#include "search/filter_avx.h"

namespace rrn::internal {
namespace {

// The instruction multiplies unsigned by signed bytes and adds two products in 16 bits, saturated. |b| times a with b's
// sign is the same product, and 2 * 127 * 127 stays below 2^15.
struct MultiplyAvx2 {
  struct Right {
    __m256i value;
    __m256i magnitude;
  };
  static __m256i Start(const std::int32_t* /*sums*/) { return _mm256_setzero_si256(); }
  static Right Prepare(__m256i b) { return {b, _mm256_abs_epi8(b)}; }
  static __m256i Add(__m256i sums, __m256i a, const Right& b) {
    const __m256i twos = _mm256_maddubs_epi16(b.magnitude, _mm256_sign_epi8(a, b.value));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(twos, _mm256_set1_epi16(1)));
  }
};

constexpr std::size_t kBytes = 32;

// dot(a, b) of `dim` bytes, a multiple of kBytes.
inline std::int32_t DotWhole(const std::int8_t* a, const std::int8_t* b, std::size_t dim) {
  __m256i sums = _mm256_setzero_si256();
  for (std::size_t d = 0; d < dim; d += kBytes) {
    const __m256i left = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + d));
    const __m256i right = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + d));
    sums = MultiplyAvx2::Add(sums, left, MultiplyAvx2::Prepare(right));
  }
  constexpr int kSwapHalves = 0x4E;
  constexpr int kSwapNeighbours = 0xB1;
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, kSwapHalves));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, kSwapNeighbours)));
}

// A row's bytes have kNarrowOffset added: 127 (127 + 127) stays below 2^15. Sums may leave 16 bits on the way; without
// what the offset has added, the last ones do not, and only those count. Each register has two halves of 8 columns.
struct NarrowSums {
  __m256i rows[4][2];
};

// Minus what the offset adds to the sums of 8 columns, of a pack of 16.
__m256i NarrowStart(const __m256i* right) {
  const __m256i offsets = _mm256_set1_epi8(kNarrowOffset);
  __m256i start = _mm256_setzero_si256();
  for (std::size_t d = 0; d < kFilterDepth; d += 4) {
    start = _mm256_sub_epi16(start, _mm256_maddubs_epi16(offsets, _mm256_loadu_si256(right + d / 2)));
  }
  return start;
}

__m256i FourBytes(const std::int8_t* from) {
  std::int32_t four = 0;
  __builtin_memcpy(&four, from, sizeof four);
  return _mm256_set1_epi32(four);
}

// Keeps the compiler from computing all products first and adding them in a tree, for which there are no registers.
inline void KeepOrder(__m256i* value) { __asm__("" : "+x"(*value)); }

// Not inlined, so that nothing else takes a register.
__attribute__((noinline)) void AddNarrow(const std::int8_t* left, const __m256i* right, __m256i start0, __m256i start1,
                                         NarrowSums* sums) {
  __m256i rows[4][2] = {{start0, start1}, {start0, start1}, {start0, start1}, {start0, start1}};
#pragma GCC unroll 16
  for (std::size_t d = 0; d < kFilterDepth; d += 4) {
    const __m256i b0 = _mm256_loadu_si256(right + d / 2);
    const __m256i b1 = _mm256_loadu_si256(right + d / 2 + 1);
#pragma GCC unroll 4
    for (std::size_t r = 0; r < 4; ++r) {
      const __m256i a = FourBytes(left + r * kFilterDepth + d);
      rows[r][0] = _mm256_add_epi16(rows[r][0], _mm256_maddubs_epi16(a, b0));
      rows[r][1] = _mm256_add_epi16(rows[r][1], _mm256_maddubs_epi16(a, b1));
      KeepOrder(&rows[r][0]);
      KeepOrder(&rows[r][1]);
    }
  }
  for (std::size_t r = 0; r < 4; ++r) {
    sums->rows[r][0] = rows[r][0];
    sums->rows[r][1] = rows[r][1];
  }
}

// The flags of 16 columns.
std::uint32_t FlagNarrow(const __m256i* sums, const float* scales, float most) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256 limit = _mm256_set1_ps(most);
  std::uint32_t flags = 0;
  constexpr std::size_t kColumns = 8;
  for (std::size_t half = 0; half < 2; ++half) {
    const __m256 whole = _mm256_cvtepi32_ps(_mm256_madd_epi16(sums[half], ones));
    const __m256 value = _mm256_mul_ps(whole, _mm256_loadu_ps(scales + kColumns * half));
    const int found = _mm256_movemask_ps(_mm256_cmp_ps(value, limit, _CMP_NLE_UQ));
    flags |= static_cast<std::uint32_t>(found) << kColumns * half;
  }
  return flags;
}

}  // namespace

std::int32_t DotBytesAvx2(const std::int8_t* a, const std::int8_t* b, std::size_t dim) {
  const std::size_t whole = dim - dim % kBytes;
  std::int32_t sum = DotWhole(a, b, whole);
  for (std::size_t d = whole; d < dim; ++d) sum += a[d] * b[d];
  return sum;
}

std::size_t KeepPairsAvx2(const BytePairs& bytes, std::uint16_t* pairs, std::size_t count) {
  static_assert(kFilterDepth % kBytes == 0);
  return KeepPairs(bytes, pairs, count, DotWhole);
}

bool FilterAvx2(const FilterBlock& block) { return FilterAvx<MultiplyAvx2>(block); }

bool FilterNarrowAvx2(const FilterBlock& block) {
  constexpr std::size_t kRows = 4;
  std::uint32_t any = 0;
  for (std::size_t i = 0; i < block.rows; ++i) block.flags[i] = 0;
  for (std::size_t pack = 0; pack < 2; ++pack) {
    const auto* right = reinterpret_cast<const __m256i*>(block.b + pack * kPackRows * kFilterDepth);
    const std::size_t column = pack * kPackRows;
    const __m256i start0 = NarrowStart(right);
    const __m256i start1 = NarrowStart(right + 1);
    for (std::size_t i = 0; i < block.rows; i += kRows) {
      NarrowSums sums;
      AddNarrow(block.a + i * kFilterDepth, right, start0, start1, &sums);
      for (std::size_t r = 0; r < kRows; ++r) {
        const std::uint32_t both = FlagNarrow(sums.rows[r], block.b_scales + column, block.a_limits[i + r]);
        block.flags[i + r] |= both << column;
        any |= both;
      }
    }
  }
  return any != 0;
}

}  // namespace rrn::internal
