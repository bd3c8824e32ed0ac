#include "rrn/search.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "search/dot_kernel.h"
#include "search/test_rows.h"

namespace rrn {
namespace {

TEST(NormalizeRowsTest, GivesUnitLengthAndKeepsZeros) {
  std::vector<float> rows = {3, 4, 0, 0, 1e-30F, 0, 1e30F, 1e30F};
  NormalizeRows(rows.data(), 4, 2);
  EXPECT_FLOAT_EQ(rows[0], 0.6F);
  EXPECT_FLOAT_EQ(rows[1], 0.8F);
  EXPECT_EQ(rows[2], 0.0F);
  EXPECT_EQ(rows[3], 0.0F);
  EXPECT_FLOAT_EQ(rows[4], 1.0F);
  EXPECT_FLOAT_EQ(rows[6], std::sqrt(0.5F));
}

TEST(DotTest, EveryInstructionSetGivesTheSameBits) {
  std::vector<std::pair<std::string, internal::DotTileFunction>> kernels;
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") != 0) kernels.emplace_back("avx2", internal::DotTileAvx2);
  if (__builtin_cpu_supports("avx512f") != 0) kernels.emplace_back("avx512", internal::DotTileAvx512);
#endif
  for (const std::size_t dim : {1U, 5U, 16U, 17U, 100U, 512U, 513U}) {
    const std::vector<float> rows = MakeRows(8, dim, static_cast<std::uint32_t>(dim));
    for (std::size_t a = 1; a <= internal::kTileRows; ++a) {
      for (std::size_t b = 1; b <= internal::kTileRows; ++b) {
        std::array<float, 16> expected = {};
        internal::DotTilePortable(rows.data(), a, rows.data() + 4 * dim, b, dim, expected.data());
        for (const auto& [name, kernel] : kernels) {
          std::array<float, 16> got = {};
          kernel(rows.data(), a, rows.data() + 4 * dim, b, dim, got.data());
          for (std::size_t i = 0; i < got.size(); ++i) {
            EXPECT_EQ(Bits(expected[i]), Bits(got[i])) << name << " dim " << dim;
          }
        }
      }
    }
  }
}

TEST(DotTest, IsCloseToDoublePrecision) {
  const std::size_t dim = 512;
  const std::vector<float> rows = MakeRows(20, dim, 3);
  for (std::size_t i = 0; i < 20; ++i) {
    for (std::size_t j = 0; j < 20; ++j) {
      double exact = 0;
      for (std::size_t d = 0; d < dim; ++d) {
        exact += static_cast<double>(rows[i * dim + d]) * static_cast<double>(rows[j * dim + d]);
      }
      // 512 / 16 additions in a lane and 4 across lanes of terms whose magnitudes sum to at most 1.
      EXPECT_NEAR(CosineSimilarity(&rows[i * dim], &rows[j * dim], dim), exact, 37 * 0x1p-24);
    }
  }
}

TEST(EstimateTest, IsCloseAndNeedsTwoRows) {
  const std::size_t dim = 24;
  const std::vector<float> rows = MakeRows(700, dim, 2);
  EXPECT_EQ(EstimateSimilarShare({rows.data(), 0, dim}, 0.5F), 0);
  EXPECT_EQ(EstimateSimilarShare({rows.data(), 1, dim}, -1), 0);
  EXPECT_EQ(EstimateSimilarShare({rows.data(), 700, dim}, 1), 0);
  const double all = 700.0 * 699.0 / 2;
  const double exact = static_cast<double>(AllPairs(rows, dim, 0.1F, 1).size()) / all;
  // Six standard deviations of the mean of 4096 drawings.
  EXPECT_NEAR(EstimateSimilarShare({rows.data(), 700, dim}, 0.1F), exact, 6 * std::sqrt(0.25 / 4096));
}

}  // namespace
}  // namespace rrn
