#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "rrn/image.h"

namespace rrn {
namespace {

std::size_t Pixels(int width, int height) { return static_cast<std::size_t>(width) * static_cast<std::size_t>(height); }

// The columns (or, with `stride` and `step` exchanged, rows) that differ from the one before them: `count` lines of
// `length` pixels.
std::vector<std::size_t> Distinct(const std::uint8_t* rgb, std::size_t count, std::size_t stride, std::size_t length,
                                  std::size_t step) {
  std::vector<std::size_t> distinct = {0};
  for (std::size_t line = 1; line < count; ++line) {
    const std::uint8_t* here = rgb + line * stride;
    bool same = true;
    for (std::size_t i = 0; i < length && same; ++i) {
      same = std::memcmp(here + i * step, here + i * step - stride, 3) == 0;
    }
    if (!same) distinct.push_back(line);
  }
  return distinct;
}

// The given columns of one row.
void Luma(const std::uint8_t* row, const std::vector<std::size_t>& columns, std::vector<std::int32_t>* luma) {
  luma->clear();
  for (const std::size_t x : columns) {
    luma->push_back((77 * row[3 * x] + 150 * row[3 * x + 1] + 29 * row[3 * x + 2] + 128) >> 8);
  }
}

}  // namespace

Detail MeasureDetail(const ImageView& image) {
  const auto width = static_cast<std::size_t>(image.width);
  const auto height = static_cast<std::size_t>(image.height);
  if (width < 3 || height < 3) return {};
  const std::vector<std::size_t> columns = Distinct(image.rgb, width, 3, height, 3 * width);
  const std::vector<std::size_t> rows = Distinct(image.rgb, height, 3 * width, width, 3);
  const double pixels = static_cast<double>(columns.size()) * static_cast<double>(rows.size());
  Detail result;
  result.repeated = static_cast<double>(Pixels(image.width, image.height)) - pixels;
  if (columns.size() < 3 || rows.size() < 3) return result;
  // Sums of integers: at most 1020^2 for each of 2^31 pixels.
  std::int64_t sum = 0;
  std::int64_t squares = 0;
  std::vector<std::int32_t> above;
  std::vector<std::int32_t> row;
  std::vector<std::int32_t> below;
  Luma(image.rgb + rows[0] * 3 * width, columns, &above);
  Luma(image.rgb + rows[1] * 3 * width, columns, &row);
  for (std::size_t y = 2; y < rows.size(); ++y) {
    Luma(image.rgb + rows[y] * 3 * width, columns, &below);
    for (std::size_t x = 1; x + 1 < row.size(); ++x) {
      const std::int64_t laplacian = above[x] + below[x] + row[x - 1] + row[x + 1] - 4 * row[x];
      if (laplacian >= -kDetailRounding && laplacian <= kDetailRounding) continue;
      sum += laplacian;
      squares += laplacian * laplacian;
    }
    std::swap(above, row);
    std::swap(row, below);
  }
  const double inside = static_cast<double>(columns.size() - 2) * static_cast<double>(rows.size() - 2);
  const double mean = static_cast<double>(sum) / inside;
  result.detail = (static_cast<double>(squares) / inside - mean * mean) * pixels;
  return result;
}

}  // namespace rrn
