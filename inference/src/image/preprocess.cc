#include <array>
#include <cstddef>
#include <cstdint>

#include "rrn/image.h"

namespace rrn {

Status PreprocessImage(const ImageView& image, int size, const Preprocessing& preprocessing, float* output) {
  const Result<Image> resized = ResizeImage(image, size, size);
  if (!resized.ok()) {
    return resized.status();
  }
  const std::size_t plane = static_cast<std::size_t>(size) * static_cast<std::size_t>(size);
  for (std::size_t c = 0; c < 3; ++c) {
    // 256 possible values: each is computed once, in the float32 steps that a Python pipeline takes.
    std::array<float, 256> table;
    for (std::size_t value = 0; value < table.size(); ++value) {
      table[value] =
          (static_cast<float>(value) / preprocessing.divisor - preprocessing.mean[c]) / preprocessing.stddev[c];
    }
    const std::uint8_t* from = resized->rgb.data() + (preprocessing.bgr ? 2 - c : c);
    float* to = output + c * plane;
    for (std::size_t i = 0; i < plane; ++i) {
      to[i] = table[from[i * 3]];
    }
  }
  return {};
}

}  // namespace rrn
