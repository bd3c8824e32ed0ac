#include "store/float16.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "vector files are little-endian, and this code copies numbers as they lie in memory"
#endif

namespace rrn::internal {

std::uint16_t HalfOf(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<std::uint16_t>((bits >> 16U) & 0x8000U);
  const std::uint32_t rest = bits & 0x7fffffffU;
  std::uint32_t half = 0;
  if (rest > 0x7f800000U) {  // NaN: quiet, with the upper bits of its payload
    half = 0x7e00U | ((rest >> 13U) & 0x1ffU);
  } else if (rest >= 0x47800000U) {  // 65536 and above
    half = 0x7c00U;
  } else if (rest < 0x38800000U) {  // below 2^-14: adding 0.5 lets the adder round at the last bit of a subnormal
    const float sum = std::fabs(value) + 0.5F;
    std::memcpy(&half, &sum, sizeof half);
    half -= 0x3f000000U;
  } else {  // a carry out of the mantissa moves into the exponent, up to infinity, as it should
    half = (rest - (112U << 23U) + 0xfffU + ((rest >> 13U) & 1U)) >> 13U;
  }
  return static_cast<std::uint16_t>(sign | half);
}

float FloatOf(std::uint16_t half) {
  const std::uint32_t rest = half & 0x7fffU;
  std::uint32_t bits = 0;
  if (rest >= 0x7c00U) {
    bits = 0x7f800000U | ((rest & 0x3ffU) << 13U);
  } else if (rest >= 0x400U) {
    bits = (rest << 13U) + (112U << 23U);  // moves the exponent's bias from 15 to 127
  } else {
    const float small = static_cast<float>(rest) * 0x1p-24F;
    std::memcpy(&bits, &small, sizeof bits);
  }
  bits |= static_cast<std::uint32_t>(half & 0x8000U) << 16U;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::size_t FindOverflow(const float* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (std::fabs(values[i]) >= 65520.0F && std::isfinite(values[i])) return i;
  }
  return count;
}

void ToBytes(const float* values, std::size_t count, StoreFloat floats, std::uint8_t* bytes) {
  if (floats == StoreFloat::kFloat32) {
    std::memcpy(bytes, values, count * sizeof(float));
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint16_t half = HalfOf(values[i]);
    std::memcpy(bytes + 2 * i, &half, sizeof half);
  }
}

void FromBytes(const std::uint8_t* bytes, std::size_t count, StoreFloat floats, float* values) {
  if (floats == StoreFloat::kFloat32) {
    std::memcpy(values, bytes, count * sizeof(float));
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::uint16_t half;
    std::memcpy(&half, bytes + 2 * i, sizeof half);
    values[i] = FloatOf(half);
  }
}

}  // namespace rrn::internal
