#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "rrn/image.h"

namespace rrn {

Result<std::vector<std::uint8_t>> MakeThumbnail(const ImageView& image, int edge, int quality) {
  if (edge < 1) {
    return Status(StatusCode::kInvalidArgument, "edge is " + std::to_string(edge) + ", expected at least 1");
  }
  const int longest = std::max(image.width, image.height);
  if (longest <= edge) return EncodeJpeg(image, quality);
  const auto scaled = [&](int side) {
    return std::max(1, static_cast<int>((std::int64_t{side} * edge + longest / 2) / longest));
  };
  const Result<Image> small = ResizeImage(image, scaled(image.width), scaled(image.height));
  if (!small.ok()) return small.status();
  return EncodeJpeg({small->rgb.data(), small->width, small->height}, quality);
}

}  // namespace rrn
