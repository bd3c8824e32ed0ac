// Every set of loops that this machine can run gives the bits of the definition, one element at a time.
#include "reduction/sums.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "reduction/half.h"
#include "rrn/reduction.h"

namespace rrn::internal {
namespace {

constexpr ReductionType kTypes[] = {ReductionType::kFloat32, ReductionType::kFloat16, ReductionType::kBFloat16};

// Random bits of a type, so that subnormals, infinities and NaN are among them, or values around 1.
std::vector<std::uint8_t> RandomElements(ReductionType type, std::int64_t count, bool any_bits, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> values(-2, 2);
  const std::size_t size = ReductionTypeSize(type);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(count) * size);
  for (std::size_t at = 0; at < bytes.size(); at += size) {
    auto bits = static_cast<std::uint32_t>(random());
    if (!any_bits) {
      const float value = values(random);
      bits = BitsFromFloat(value);
      if (type == ReductionType::kFloat16) {
        Half half;
        FromFloat(value, &half);
        bits = half.bits;
      } else if (type == ReductionType::kBFloat16) {
        bits >>= 16U;
      }
    }
    std::memcpy(bytes.data() + at, &bits, size);
  }
  return bytes;
}

float Widen(ReductionType type, const std::uint8_t* data, std::int64_t index) {
  const std::uint8_t* from = data + static_cast<std::size_t>(index) * ReductionTypeSize(type);
  std::uint32_t bits = 0;
  std::memcpy(&bits, from, ReductionTypeSize(type));
  if (type == ReductionType::kFloat16) return ToFloat(Half{static_cast<std::uint16_t>(bits)});
  return FloatFromBits(type == ReductionType::kBFloat16 ? bits << 16U : bits);
}

// 16 sums in turn, then lane i + lane i + 8, and so on.
float SumOfRow(ReductionType type, const std::uint8_t* data, std::int64_t first, std::int64_t pixels) {
  std::array<float, 16> lanes = {};
  for (std::int64_t i = 0; i < pixels; ++i) lanes[static_cast<std::size_t>(i % 16)] += Widen(type, data, first + i);
  for (std::size_t width = 8; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

// Runs of 64 pixels.
float SumOfColumn(ReductionType type, const std::uint8_t* data, std::int64_t first, std::int64_t pitch,
                  std::int64_t pixels) {
  float sum = 0;
  float run = 0;
  for (std::int64_t p = 0; p < pixels; ++p) {
    run += Widen(type, data, first + p * pitch);
    if (p % 64 == 63 || p == pixels - 1) {
      sum += run;
      run = 0;
    }
  }
  return sum;
}

// Which of two NaN an addition hands on is the compiler's choice.
bool SameBits(float first, float second) {
  return (std::isnan(first) && std::isnan(second)) || BitsFromFloat(first) == BitsFromFloat(second);
}

void ExpectSame(const std::vector<float>& expected, const std::vector<float>& found, const std::string& what) {
  ASSERT_EQ(expected.size(), found.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(SameBits(expected[i], found[i])) << what << ", " << i << ": " << expected[i] << ", " << found[i];
  }
}

std::vector<const SumKernelSet*> AvailableSums() {
  if (&ChooseSums() == &kPortableSums) return {&kPortableSums};
  return {&ChooseSums(), &kPortableSums};
}

class SumsTest : public ::testing::TestWithParam<const SumKernelSet*> {};

TEST_P(SumsTest, ChannelsEqualTheDefinition) {
  for (const ReductionType type : kTypes) {
    for (const std::int64_t pixels : {1, 2, 15, 16, 17, 31, 49, 784}) {
      for (const std::int64_t channels : {1, 7, 16, 33}) {
        for (const bool any_bits : {false, true}) {
          // One element further in, where nothing is aligned.
          const auto bytes = RandomElements(type, channels * pixels + 1, any_bits, static_cast<std::uint32_t>(pixels));
          const std::uint8_t* data = bytes.data() + ReductionTypeSize(type);
          std::vector<float> expected(static_cast<std::size_t>(channels), -1.0F);
          std::vector<float> found = expected;
          for (std::int64_t c = 0; c < channels; ++c) {
            expected[static_cast<std::size_t>(c)] = SumOfRow(type, data, c * pixels, pixels);
          }
          GetParam()->For(type).channels(data, channels, pixels, found.data());
          ExpectSame(expected, found, std::to_string(pixels) + " pixels");
        }
      }
    }
  }
}

TEST_P(SumsTest, ColumnsEqualTheDefinition) {
  for (const ReductionType type : kTypes) {
    for (const std::int64_t pixels : {1, 2, 63, 64, 65, 200}) {
      for (std::int64_t count = 1; count <= kSlice; ++count) {
        for (const bool any_bits : {false, true}) {
          const std::int64_t pitch = kSlice + 3;
          const std::int64_t elements = (pixels - 1) * pitch + count + 1;
          const auto bytes = RandomElements(type, elements, any_bits, static_cast<std::uint32_t>(count));
          const std::uint8_t* data = bytes.data() + ReductionTypeSize(type);
          std::vector<float> expected(static_cast<std::size_t>(count), -1.0F);
          std::vector<float> found = expected;
          for (std::int64_t c = 0; c < count; ++c) {
            expected[static_cast<std::size_t>(c)] = SumOfColumn(type, data, c, pitch, pixels);
          }
          GetParam()->For(type).columns(data, pitch, pixels, count, found.data());
          ExpectSame(expected, found, std::to_string(pixels) + " pixels, " + std::to_string(count) + " channels");
        }
      }
    }
  }
}

TEST_P(SumsTest, EveryFloat16AndBFloat16IsWidened) {
  std::vector<std::uint16_t> all(0x10000);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  for (const ReductionType type : {ReductionType::kFloat16, ReductionType::kBFloat16}) {
    std::vector<float> found(all.size());
    GetParam()->For(type).channels(all.data(), static_cast<std::int64_t>(all.size()), 1, found.data());
    for (std::size_t i = 0; i < all.size(); ++i) {
      const float expected = type == ReductionType::kFloat16 ? ToFloat(Half{all[i]}) : ToFloat(BFloat16{all[i]});
      ASSERT_TRUE(SameBits(expected, found[i])) << i;
    }
  }
}

// Around every number that a 16-bit type has, and halfway to the next one, is where rounding can go wrong.
TEST_P(SumsTest, RoundsToNearestEven) {
  std::vector<float> values;
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    for (const float value : {ToFloat(Half{static_cast<std::uint16_t>(i)}), FloatFromBits(i << 16U)}) {
      for (const std::uint32_t offset : {0U, 0x0fffU, 0x1000U, 0x1001U, 0x7fffU, 0x8000U, 0x8001U}) {
        values.push_back(FloatFromBits(BitsFromFloat(value) + offset));
      }
    }
  }
  values.push_back(std::numeric_limits<float>::denorm_min());  // and a length that no vector divides
  const auto count = static_cast<std::int64_t>(values.size());
  for (const ReductionType type : kTypes) {
    const std::size_t size = ReductionTypeSize(type);
    std::vector<std::uint8_t> found(values.size() * size);
    GetParam()->For(type).store(values.data(), count, found.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::uint32_t expected = BitsFromFloat(values[i]);
      if (type == ReductionType::kFloat16) {
        Half half;
        FromFloat(values[i], &half);
        expected = half.bits;
      } else if (type == ReductionType::kBFloat16) {
        BFloat16 half;
        FromFloat(values[i], &half);
        expected = half.bits;
      }
      std::uint32_t bits = 0;
      std::memcpy(&bits, found.data() + i * size, size);
      ASSERT_EQ(bits, expected) << "type " << static_cast<int>(type) << ", " << values[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Available, SumsTest, ::testing::ValuesIn(AvailableSums()),
                         [](const auto& set) { return std::string(set.param->name); });

}  // namespace
}  // namespace rrn::internal
