#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "rrn/image.h"

namespace rrn {
namespace {

// 256 possible values: each is computed once, in the float32 steps that a Python pipeline takes.
std::array<float, 256> TableOf(const Preprocessing& preprocessing, std::size_t channel) {
  std::array<float, 256> table;
  for (std::size_t value = 0; value < table.size(); ++value) {
    table[value] = (static_cast<float>(value) / preprocessing.divisor - preprocessing.mean[channel]) /
                   preprocessing.stddev[channel];
  }
  return table;
}

}  // namespace

Placement PlaceImage(int width, int height, const InputLayout& layout) {
  Placement place = {0, 0, layout.width, layout.height};
  if (!layout.letterbox) return place;
  const double scale = std::min(static_cast<double>(layout.width) / width, static_cast<double>(layout.height) / height);
  const auto side = [scale](int length, int most) {
    return std::clamp(static_cast<int>(std::lround(length * scale)), 1, most);
  };
  place.width = side(width, layout.width);
  place.height = side(height, layout.height);
  place.x = (layout.width - place.width) / 2;
  place.y = (layout.height - place.height) / 2;
  return place;
}

Status PreprocessImage(const ImageView& image, const InputLayout& layout, const Preprocessing& preprocessing,
                       float* output) {
  if (layout.width < 1 || layout.height < 1 || image.width < 1 || image.height < 1) {
    return {StatusCode::kInvalidArgument, "an empty picture, or a side of the network's input below 1"};
  }
  const Placement place = PlaceImage(image.width, image.height, layout);
  const Result<Image> resized = ResizeImage(image, place.width, place.height);
  if (!resized.ok()) return resized.status();
  const auto width = static_cast<std::size_t>(layout.width);
  const std::size_t plane = width * static_cast<std::size_t>(layout.height);
  const bool bars = place.width != layout.width || place.height != layout.height;
  for (std::size_t c = 0; c < 3; ++c) {
    const std::array<float, 256> table = TableOf(preprocessing, c);
    const std::size_t channel = preprocessing.bgr ? 2 - c : c;
    float* to = output + c * plane;
    if (bars) std::fill_n(to, plane, table[layout.fill[channel]]);
    const std::uint8_t* from = resized->rgb.data() + channel;
    for (int y = place.y; y < place.y + place.height; ++y) {
      float* row = to + static_cast<std::size_t>(y) * width + static_cast<std::size_t>(place.x);
      for (int x = 0; x < place.width; ++x, from += 3) row[x] = table[*from];
    }
  }
  return {};
}

Status PreprocessImage(const ImageView& image, int size, const Preprocessing& preprocessing, float* output) {
  return PreprocessImage(image, InputLayout{size, size, false, {}}, preprocessing, output);
}

}  // namespace rrn
