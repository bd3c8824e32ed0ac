// Which image of a group is kept.
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "rrn/image.h"
#include "rrn/parallel.h"
#include "rrn/search.h"
#include "rrn/similarity.h"
#include "rrn/status.h"

namespace rrn {
namespace {

// What images are ordered by, the largest one first.
using Merit = std::tuple<double, double>;

constexpr Merit kUnreadable = {-1, -1};

std::vector<std::int32_t> Luma(const ImageView& image, int y) {
  const auto width = static_cast<std::size_t>(image.width);
  const std::uint8_t* rgb = image.rgb + static_cast<std::size_t>(y) * width * 3;
  std::vector<std::int32_t> row(width);
  for (std::size_t x = 0; x < width; ++x) {
    row[x] = (77 * rgb[3 * x] + 150 * rgb[3 * x + 1] + 29 * rgb[3 * x + 2] + 128) >> 8;
  }
  return row;
}

Merit MeritOf(const std::string& path, Keep keep, std::uint64_t max_pixels) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return kUnreadable;
  if (keep == Keep::kNewest) {
    // Seconds and nanoseconds apart: a double cannot hold both. Files from before 1970 come after unreadable ones.
    return {static_cast<double>(info.st_mtim.tv_sec), static_cast<double>(info.st_mtim.tv_nsec)};
  }
  try {
    const Result<Image> image = ReadImage(path, {max_pixels, 0});
    if (!image.ok()) return kUnreadable;
    if (keep == Keep::kSharpest) return {Detail({image->rgb.data(), image->width, image->height}), 0};
    return {static_cast<double>(image->width) * image->height, static_cast<double>(info.st_size)};
  } catch (const std::bad_alloc&) {
    return kUnreadable;
  }
}

}  // namespace

const char* KeepName(Keep keep) {
  switch (keep) {
    case Keep::kMostSimilar:
      return "most-similar";
    case Keep::kFirst:
      return "first";
    case Keep::kLargest:
      return "largest";
    case Keep::kSharpest:
      return "sharpest";
    case Keep::kNewest:
      return "newest";
  }
  return "";
}

double Detail(const ImageView& image) {
  if (image.width < 3 || image.height < 3) return 0;
  // Sums of integers: at most 1020^2 for each of 2^31 pixels.
  std::int64_t sum = 0;
  std::int64_t squares = 0;
  std::vector<std::int32_t> above = Luma(image, 0);
  std::vector<std::int32_t> row = Luma(image, 1);
  for (int y = 2; y < image.height; ++y) {
    std::vector<std::int32_t> below = Luma(image, y);
    for (std::size_t x = 1; x + 1 < row.size(); ++x) {
      const std::int64_t laplacian = above[x] + below[x] + row[x - 1] + row[x + 1] - 4 * row[x];
      sum += laplacian;
      squares += laplacian * laplacian;
    }
    above = std::move(row);
    row = std::move(below);
  }
  const double inside = static_cast<double>(image.width - 2) * (image.height - 2);
  const double mean = static_cast<double>(sum) / inside;
  const double variance = static_cast<double>(squares) / inside - mean * mean;
  return variance * image.width * image.height;
}

Result<std::vector<std::uint32_t>> RankImages(const std::vector<std::string>& paths,
                                              const std::vector<std::uint32_t>& similar, Keep keep,
                                              std::uint64_t max_pixels, int threads, const Progress& progress) {
  std::vector<std::uint32_t> ranks(paths.size(), 0);
  if (keep == Keep::kFirst) return ranks;  // Equal ranks: the order of the paths.
  std::vector<std::uint32_t> order;
  for (std::uint32_t i = 0; i < paths.size(); ++i) {
    if (similar[i] > 0) order.push_back(i);
  }
  std::vector<Merit> merits(paths.size(), kUnreadable);
  std::atomic<std::size_t> next{0};
  std::atomic<bool> cancelled{false};
  std::mutex mutex;
  std::size_t done = 0;
  Status status = RunOnThreads(
      ThreadCount(threads, order.size()),
      [&] {
        for (std::size_t i = next++; i < order.size() && !cancelled; i = next++) {
          merits[order[i]] = MeritOf(paths[order[i]], keep, max_pixels);
          const std::lock_guard<std::mutex> lock(mutex);
          ++done;
          if (progress && !cancelled && !progress(done, order.size())) cancelled = true;
        }
      },
      [&] { cancelled = true; });
  if (!status.ok()) return status;
  if (cancelled) return Status(StatusCode::kCancelled, "cancelled");
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return merits[a] > merits[b]; });
  for (std::uint32_t rank = 0; rank < order.size(); ++rank) ranks[order[rank]] = rank;
  return ranks;
}

}  // namespace rrn
