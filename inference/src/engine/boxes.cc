// Non-maximum suppression.
#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "rrn/detector.h"

namespace rrn {
namespace {

float Area(const Box& box) { return std::max(box.right - box.left, 0.0F) * std::max(box.bottom - box.top, 0.0F); }

// Intersection over union of two boxes with an area.
float Overlap(const Box& a, const Box& b) {
  const Box common = {std::max(a.left, b.left), std::max(a.top, b.top), std::min(a.right, b.right),
                      std::min(a.bottom, b.bottom), 0};
  const float both = Area(common);
  return both / (Area(a) + Area(b) - both);
}

}  // namespace

std::vector<Box> SuppressOverlaps(std::vector<Box> boxes, float iou, std::size_t most) {
  // Written so that boxes with numbers that are not finite go too.
  boxes.erase(std::remove_if(boxes.begin(), boxes.end(), [](const Box& box) { return !(Area(box) > 0); }), boxes.end());
  std::stable_sort(boxes.begin(), boxes.end(), [](const Box& a, const Box& b) { return a.score > b.score; });
  std::vector<Box> kept;
  for (const Box& box : boxes) {
    if (kept.size() == most) break;
    if (std::none_of(kept.begin(), kept.end(), [&](const Box& better) { return Overlap(better, box) > iou; })) {
      kept.push_back(box);
    }
  }
  return kept;
}

}  // namespace rrn
