#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "image/resize_rows.h"
#include "rrn/image.h"

namespace rrn {
namespace {

using image_internal::ChooseRowKernels;
using image_internal::Filter;
using image_internal::kHalf;
using image_internal::kPrecision;
using image_internal::kReadAhead;
using image_internal::kRowBlock;
using image_internal::PackWeights;
using image_internal::RowKernels;
using image_internal::Span;

// As in Pillow: halves are added before, and negative numbers, which round the wrong way, are clamped afterwards.
std::int32_t Truncate(double value) { return static_cast<std::int32_t>(value); }

// A triangle as wide as two output pixels, or two source pixels where the picture grows. The order of the operations
// is Pillow's, for the same rounding.
Filter MakeFilter(int input_size, int output_size) {
  Filter filter;
  filter.spans.resize(static_cast<std::size_t>(output_size));
  const double scale = static_cast<double>(input_size) / output_size;
  const double support = std::max(scale, 1.0);
  const double inverse = 1.0 / support;
  std::vector<double> exact;
  for (int i = 0; i < output_size; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(Truncate(center - support + 0.5), 0);
    const int last = std::min(Truncate(center + support + 0.5), input_size);
    exact.clear();
    double sum = 0.0;
    for (int x = 0; x < last - first; ++x) {
      const double distance = std::abs((x + first - center + 0.5) * inverse);
      exact.push_back(distance < 1.0 ? 1.0 - distance : 0.0);
      sum += exact.back();
    }
    Span& span = filter.spans[static_cast<std::size_t>(i)];
    span.first = first;
    span.count = last - first;
    span.weights = filter.weights.size();
    for (const double weight : exact) {
      const double normal = sum != 0.0 ? weight / sum : weight;
      filter.weights.push_back(Truncate(0.5 + normal * (1 << kPrecision)));
    }
  }
  PackWeights(&filter);
  return filter;
}

// The rows of a picture on their way through the first pass, or all of it.
class Rows {
 public:
  // `filter` resizes every row. With none, rows pass as they are.
  Rows(const ImageView& image, const Filter& filter)
      : image_(image),
        filter_(filter),
        source_size_(static_cast<std::size_t>(image.width) * 3),
        size_(filter.spans.empty() ? source_size_ : filter.spans.size() * 3),
        made_(filter.spans.empty() ? 0 : size_ * kRowBlock) {}

  // The size in bytes of a row that Get returns.
  std::size_t size() const { return size_; }

  // Row y: the picture's own, or a resized one that is valid until a row of another block is asked for. Rows are made
  // in blocks of kRowBlock that begin with the row asked for.
  const std::uint8_t* Get(int y) {
    if (filter_.spans.empty()) {
      return Source(y);
    }
    if (y < block_ || y >= block_ + kRowBlock) {
      block_ = y;
      Make(y, made_.data());
    }
    return made_.data() + static_cast<std::size_t>(y - block_) * size_;
  }

 private:
  const std::uint8_t* Source(int y) const { return image_.rgb + static_cast<std::size_t>(y) * source_size_; }

  // Resizes rows y, y + 1 ... as far as there are any.
  void Make(int y, std::uint8_t* to) {
    const int count = std::min(kRowBlock, image_.height - y);
    const std::uint8_t* from[kRowBlock];
    std::uint8_t* target[kRowBlock];
    for (int i = 0; i < count; ++i) {
      from[i] = Source(y + i);
      target[i] = to + static_cast<std::size_t>(i) * size_;
      // Near the end of the picture the kernels would read past it.
      const std::size_t behind = static_cast<std::size_t>(image_.height - (y + i) - 1) * source_size_;
      if (behind < kReadAhead) {
        const auto index = static_cast<std::size_t>(i);
        padded_.resize((source_size_ + kReadAhead) * kRowBlock);
        std::uint8_t* copy = padded_.data() + index * (source_size_ + kReadAhead);
        std::copy_n(from[i], source_size_, copy);
        from[i] = copy;
      }
    }
    kernels_.resize_rows(from, count, filter_, target);
  }

  ImageView image_;
  const Filter& filter_;
  std::size_t source_size_;
  std::size_t size_;
  const RowKernels& kernels_ = ChooseRowKernels();
  std::vector<std::uint8_t> made_;
  std::vector<std::uint8_t> padded_;
  int block_ = -kRowBlock;
};

// Takes the rows of the second pass and puts them into the result, through a filter when the widths come last.
class Output {
 public:
  Output(const Filter& filter, std::size_t row_size, Image* image)
      : filter_(filter),
        output_size_(static_cast<std::size_t>(image->width) * 3),
        image_(image),
        space_(filter.spans.empty() ? 0 : row_size + kReadAhead) {}

  void Put(std::size_t y, const std::vector<std::int32_t>& sums) {
    std::uint8_t* to = image_->rgb.data() + y * output_size_;
    std::uint8_t* row = space_.empty() ? to : space_.data();
    kernels_.to_bytes(sums.data(), sums.size(), row);
    if (!space_.empty()) {
      kernels_.resize_rows(&row, 1, filter_, &to);
    }
  }

  void AddRow(const std::uint8_t* row, std::int32_t weight, std::vector<std::int32_t>* sums) const {
    kernels_.add_row(row, weight, sums->size(), sums->data());
  }

 private:
  const Filter& filter_;
  std::size_t output_size_;
  Image* image_;
  const RowKernels& kernels_ = ChooseRowKernels();
  std::vector<std::uint8_t> space_;
};

// Fewer rows: every source row is made once and added to the few output rows that it counts for.
void ShrinkRows(Rows& rows, const Filter& filter, int input_height, Output* output) {
  struct Pending {
    std::size_t row = 0;
    std::vector<std::int32_t> sums;
  };
  std::vector<Pending> pending;
  std::vector<std::vector<std::int32_t>> spare;
  std::size_t next = 0;
  for (int y = 0; y < input_height; ++y) {
    while (next < filter.spans.size() && filter.spans[next].first <= y) {
      pending.emplace_back();
      pending.back().row = next++;
      if (!spare.empty()) {
        pending.back().sums = std::move(spare.back());
        spare.pop_back();
      }
      pending.back().sums.assign(rows.size(), kHalf);
    }
    const std::uint8_t* row = rows.Get(y);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < pending.size(); ++i) {
      Pending& target = pending[i];
      const Span& span = filter.spans[target.row];
      output->AddRow(row, filter.weights[span.weights + static_cast<std::size_t>(y - span.first)], &target.sums);
      if (y == span.first + span.count - 1) {
        output->Put(target.row, target.sums);
        spare.push_back(std::move(target.sums));
      } else {
        if (kept != i) {
          pending[kept] = std::move(target);
        }
        ++kept;
      }
    }
    pending.resize(kept);
  }
}

// More rows: an output row needs at most three neighbouring source rows, and the next one mostly the same.
void GrowRows(Rows& rows, const Filter& filter, Output* output) {
  static_assert(kRowBlock >= 3);
  std::vector<std::int32_t> sums;
  for (const Span& span : filter.spans) {
    sums.assign(rows.size(), kHalf);
    for (int k = 0; k < span.count; ++k) {
      output->AddRow(rows.Get(span.first + k), filter.weights[span.weights + static_cast<std::size_t>(k)], &sums);
    }
    output->Put(static_cast<std::size_t>(&span - filter.spans.data()), sums);
  }
}

// Whether heights come before widths. The two orders round differently in the last bit; this is the choice of
// Pillow 13 (found by comparing, exact for thousands of random sizes). Earlier versions always begin with the widths;
// they differ from it by one level at most, in pictures much taller than wide.
bool HeightFirst(const ImageView& image, int width, int height) {
  return image.height > height && std::int64_t{image.height} - height > 2 * (std::int64_t{image.width} - width);
}

}  // namespace

Result<Image> ResizeImage(const ImageView& image, int width, int height) {
  if (image.rgb == nullptr || image.width < 1 || image.height < 1) {
    return Status(StatusCode::kInvalidArgument, "resize: the picture is empty");
  }
  if (width < 1 || height < 1) {
    return Status(StatusCode::kInvalidArgument, "resize: expected a size of at least 1 x 1, got " +
                                                    std::to_string(width) + " x " + std::to_string(height));
  }
  Image result;
  result.width = width;
  result.height = height;
  result.rgb.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  const Filter across = width != image.width ? MakeFilter(image.width, width) : Filter();
  if (height == image.height) {
    Rows rows(image, across);
    for (int y = 0; y < height; ++y) {
      std::copy_n(rows.Get(y), rows.size(), result.rgb.data() + static_cast<std::size_t>(y) * rows.size());
    }
    return result;
  }
  const Filter none;
  const bool height_first = HeightFirst(image, width, height);
  const Filter down = MakeFilter(image.height, height);
  Rows rows(image, height_first ? none : across);
  Output output(height_first ? across : none, rows.size(), &result);
  if (height < image.height) {
    ShrinkRows(rows, down, image.height, &output);
  } else {
    GrowRows(rows, down, &output);
  }
  return result;
}

}  // namespace rrn
