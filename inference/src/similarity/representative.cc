#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <vector>

#include "rrn/similarity.h"

namespace rrn {
namespace {

// What images are ordered by, the largest one first.
using Merit = std::tuple<double, double>;

// Seconds and nanoseconds apart: a double cannot hold both.
Merit ByTime(std::int64_t nanoseconds) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t seconds = nanoseconds / kSecond;
  return {static_cast<double>(seconds), static_cast<double>(nanoseconds % kSecond)};
}

Merit MeritOf(const ImageRecord& image, RepresentativePolicy keep) {
  switch (keep) {
    case RepresentativePolicy::kLargest:
      return {static_cast<double>(image.width) * static_cast<double>(image.height),
              static_cast<double>(image.file.bytes)};
    case RepresentativePolicy::kSharpest:
      return {image.detail.detail, -image.detail.repeated};
    case RepresentativePolicy::kNewest:
      return ByTime(image.file.modified);
    default:
      return {};
  }
}

}  // namespace

const char* RepresentativePolicyName(RepresentativePolicy keep) {
  switch (keep) {
    case RepresentativePolicy::kMostSimilar:
      return "most-similar";
    case RepresentativePolicy::kFirst:
      return "first";
    case RepresentativePolicy::kLargest:
      return "largest";
    case RepresentativePolicy::kSharpest:
      return "sharpest";
    case RepresentativePolicy::kNewest:
      return "newest";
  }
  return "";
}

std::vector<std::uint32_t> RankImages(const std::vector<ImageRecord>& images, RepresentativePolicy keep) {
  std::vector<Merit> merits;
  merits.reserve(images.size());
  for (const ImageRecord& image : images) merits.push_back(MeritOf(image, keep));
  std::vector<std::uint32_t> order(images.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return merits[a] > merits[b]; });
  std::vector<std::uint32_t> ranks(images.size());
  for (std::uint32_t rank = 0; rank < order.size(); ++rank) ranks[order[rank]] = rank;
  return ranks;
}

}  // namespace rrn
