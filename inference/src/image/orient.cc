#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "image/decoders.h"

namespace rrn::image_internal {
namespace {

// Where the pixel (x, y) of the upright picture is stored: first + x * per_column + y * per_row, in pixels.
struct Walk {
  std::ptrdiff_t first;
  std::ptrdiff_t per_column;
  std::ptrdiff_t per_row;
};

Walk WalkFor(int orientation, std::ptrdiff_t width, std::ptrdiff_t height) {
  const std::ptrdiff_t right = width - 1;
  const std::ptrdiff_t bottom = (height - 1) * width;
  switch (orientation) {
    case 2:
      return {right, -1, width};
    case 3:
      return {bottom + right, -1, -width};
    case 4:
      return {bottom, 1, -width};
    case 5:
      return {0, width, 1};
    case 6:
      return {bottom, -width, 1};
    case 7:
      return {bottom + right, -width, -1};
    default:  // 8
      return {right, width, -1};
  }
}

}  // namespace

Image ApplyOrientation(Image image, int orientation) {
  if (orientation < 2 || orientation > 8) {
    return image;
  }
  const bool swaps_axes = orientation >= 5;
  Image upright;
  upright.width = swaps_axes ? image.height : image.width;
  upright.height = swaps_axes ? image.width : image.height;
  upright.rgb.resize(image.rgb.size());
  const Walk walk = WalkFor(orientation, image.width, image.height);
  // Square blocks: one of the two pictures is walked against its rows, and a block of it stays in the cache.
  constexpr int kBlock = 32;
  for (int top = 0; top < upright.height; top += kBlock) {
    const int bottom = std::min(upright.height - top, kBlock) + top;
    for (int left = 0; left < upright.width; left += kBlock) {
      const int right = std::min(upright.width - left, kBlock) + left;
      for (int y = top; y < bottom; ++y) {
        std::uint8_t* to = upright.rgb.data() + (static_cast<std::ptrdiff_t>(y) * upright.width + left) * 3;
        const std::uint8_t* from = image.rgb.data() + (walk.first + y * walk.per_row + left * walk.per_column) * 3;
        for (int x = left; x < right; ++x) {
          to[0] = from[0];
          to[1] = from[1];
          to[2] = from[2];
          to += 3;
          // The step behind the last pixel would leave the picture.
          if (x + 1 < right) {
            from += walk.per_column * 3;
          }
        }
      }
    }
  }
  return upright;
}

}  // namespace rrn::image_internal
