#include "image/resize_rows.h"

#include <algorithm>

namespace rrn::image_internal {
namespace {

std::uint8_t ToByte(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

void ResizeRows(const std::uint8_t* const* from, int count, const Filter& filter, std::uint8_t* const* to) {
  for (int row = 0; row < count; ++row) {
    std::uint8_t* target = to[row];
    for (const Span& span : filter.spans) {
      const std::uint8_t* pixel = from[row] + static_cast<std::size_t>(span.first) * 3;
      const std::int32_t* weight = filter.weights.data() + span.weights;
      std::int32_t sums[] = {kHalf, kHalf, kHalf};
      for (int i = 0; i < span.count; ++i) {
        for (int c = 0; c < 3; ++c) {
          sums[c] += pixel[i * 3 + c] * weight[i];
        }
      }
      for (int c = 0; c < 3; ++c) {
        target[c] = ToByte(sums[c]);
      }
      target += 3;
    }
  }
}

void AddRow(const std::uint8_t* row, std::int32_t weight, std::size_t size, std::int32_t* sums) {
  for (std::size_t i = 0; i < size; ++i) {
    sums[i] += row[i] * weight;
  }
}

void ToBytes(const std::int32_t* sums, std::size_t size, std::uint8_t* to) {
  for (std::size_t i = 0; i < size; ++i) {
    to[i] = ToByte(sums[i]);
  }
}

}  // namespace

const RowKernels kPortableRowKernels = {ResizeRows, AddRow, ToBytes};

void PackWeights(Filter* filter) {
  filter->packed.clear();
  for (Span& span : filter->spans) {
    span.packed = filter->packed.size();
    const auto weight = [&](int i) {
      return i < span.count ? static_cast<std::uint32_t>(filter->weights[span.weights + static_cast<std::size_t>(i)])
                            : 0U;
    };
    constexpr std::uint32_t kLowMask = (1U << kLowBits) - 1;
    for (int i = 0; i < span.count; i += 4) {
      for (const int pair : {i, i + 2}) {
        filter->packed.push_back((weight(pair) & kLowMask) | (weight(pair + 1) & kLowMask) << 16U);
      }
      for (const int pair : {i, i + 2}) {
        filter->packed.push_back(weight(pair) >> kLowBits | weight(pair + 1) >> kLowBits << 16U);
      }
    }
  }
}

const RowKernels& ChooseRowKernels() {
#if defined(__x86_64__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) {
    return kAvx2RowKernels;
  }
#endif
  return kPortableRowKernels;
}

}  // namespace rrn::image_internal
