#include "store/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "reduction/half.h"

namespace rrn::internal {
namespace {

// The operator's conversion, which its own tests compare with the definition.
std::uint16_t Expected(float value) {
  Half half;
  FromFloat(value, &half);
  return half.bits;
}

TEST(Float16Test, RoundsAsTheOperatorDoes) {
  std::uint64_t different = 0;
  // Every exponent and sign with mantissas around each rounding, and a stride that meets all the rest.
  for (std::uint64_t bits = 0; bits <= 0xffffffffU; bits += 1021) {
    const float value = FloatFromBits(static_cast<std::uint32_t>(bits));
    different += HalfOf(value) != Expected(value) ? 1 : 0;
  }
  for (std::uint32_t high = 0; high <= 0xfffffU; ++high) {
    for (const std::uint32_t low : {0x000U, 0x001U, 0xfffU}) {
      const float value = FloatFromBits(high << 12U | low);
      different += HalfOf(value) != Expected(value) ? 1 : 0;
    }
  }
  EXPECT_EQ(different, 0U);
}

TEST(Float16Test, GivesBackEveryHalf) {
  std::uint64_t different = 0;
  for (std::uint32_t bits = 0; bits <= 0xffffU; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = FloatOf(half);
    different += BitsFromFloat(value) != BitsFromFloat(ToFloat(Half{half})) ? 1 : 0;
    different += !std::isnan(value) && HalfOf(value) != half ? 1 : 0;
  }
  EXPECT_EQ(different, 0U);
}

TEST(Float16Test, FindsWhatDoesNotFit) {
  const float infinite = std::numeric_limits<float>::infinity();
  const std::vector<float> fits = {0, -65'519.99F, 65'519.99F, infinite, -infinite, std::nanf("")};
  EXPECT_EQ(FindOverflow(fits.data(), fits.size()), fits.size());
  const std::vector<float> too_large = {1, infinite, -65'520, 1e30F};
  EXPECT_EQ(FindOverflow(too_large.data(), too_large.size()), 2U);
}

}  // namespace
}  // namespace rrn::internal
