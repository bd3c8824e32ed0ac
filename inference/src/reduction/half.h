// Conversions between float and the two 16-bit storage types, rounding to nearest even, for kernels and tests.
//
// C++17 has no 16-bit floating-point type, and GCC 12 offers _Float16 to C only, so the bits are moved by hand
// (IEEE 754 binary16; bfloat16 is the upper half of binary32).
#ifndef RRN_REDUCTION_HALF_H_
#define RRN_REDUCTION_HALF_H_

#include <cstdint>
#include <cstring>

namespace rrn::internal {

// Storage of one IEEE 754 binary16 value.
struct Half {
  std::uint16_t bits;
};

// Storage of one bfloat16 value.
struct BFloat16 {
  std::uint16_t bits;
};

inline float FloatFromBits(std::uint32_t bits) noexcept {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline std::uint32_t BitsFromFloat(float value) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float ToFloat(float value) noexcept { return value; }

inline float ToFloat(BFloat16 value) noexcept { return FloatFromBits(static_cast<std::uint32_t>(value.bits) << 16); }

// Without branches, so that loops over it become vector code.
inline float ToFloat(Half value) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16;
  const std::uint32_t rest = value.bits & 0x7fffU;
  const std::uint32_t normal = (rest << 13) + (112U << 23);  // Move the exponent's bias from 15 to 127.
  // Zero or subnormal: the value is rest * 2^-24, and 2^-24 is the last bit of 0.5. Exact, and no float is subnormal.
  const std::uint32_t small = BitsFromFloat(FloatFromBits(0x3f000000U + rest) - 0.5F);
  const std::uint32_t infinite = rest >= 0x7c00U ? 0x7f800000U : 0U;  // Infinity or NaN, whose payload is kept.
  return FloatFromBits(sign | (rest < 0x400U ? small : normal) | infinite);
}

inline void FromFloat(float value, float* out) noexcept { *out = value; }

inline void FromFloat(float value, BFloat16* out) noexcept {
  const std::uint32_t bits = BitsFromFloat(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) {  // NaN: truncate, and keep it quiet.
    out->bits = static_cast<std::uint16_t>((bits >> 16) | 0x40U);
    return;
  }
  out->bits = static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

inline void FromFloat(float value, Half* out) noexcept {
  const std::uint32_t bits = BitsFromFloat(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t rest = bits & 0x7fffffffU;
  std::uint32_t half = 0;
  if (rest > 0x7f800000U) {
    half = 0x7e00U | ((rest >> 13) & 0x1ffU);
  } else if (rest >= 0x47800000U) {  // 65536 and above, infinity included.
    half = 0x7c00U;
  } else if (rest < 0x38800000U) {  // Below 2^-14: adding 0.5 lets the float adder round at the subnormal's last bit.
    half = BitsFromFloat(FloatFromBits(rest) + 0.5F) - BitsFromFloat(0.5F);
  } else {  // A carry out of the mantissa moves into the exponent, up to infinity, as it should.
    half = (rest - (112U << 23) + 0xfffU + ((rest >> 13) & 1U)) >> 13;
  }
  out->bits = static_cast<std::uint16_t>(sign | half);
}

}  // namespace rrn::internal

#endif  // RRN_REDUCTION_HALF_H_
