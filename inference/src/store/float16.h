// Rows as they are kept in a vector file. The conversion is the one of reduction/half.h, which this room may not use; a
// test compares the two.
#ifndef RRN_STORE_FLOAT16_H_
#define RRN_STORE_FLOAT16_H_

#include <cstddef>
#include <cstdint>

#include "rrn/store.h"

namespace rrn::internal {

// IEEE 754 binary16, rounded to nearest, ties to even. Finite values of 65520 and above become infinite.
std::uint16_t HalfOf(float value);

// Exact.
float FloatOf(std::uint16_t half);

// Bytes of one number.
inline std::size_t SizeOf(StoreFloat floats) { return floats == StoreFloat::kFloat16 ? 2 : 4; }

// The first of `count` values that is finite, but not as float16; `count` if all can be kept.
std::size_t FindOverflow(const float* values, std::size_t count);

// `count` values to the bytes of a vector file, and back. The bytes need no alignment.
void ToBytes(const float* values, std::size_t count, StoreFloat floats, std::uint8_t* bytes);
void FromBytes(const std::uint8_t* bytes, std::size_t count, StoreFloat floats, float* values);

}  // namespace rrn::internal

#endif  // RRN_STORE_FLOAT16_H_
