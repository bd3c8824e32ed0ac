#include "search/rounded_rows.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "search/dot_kernel.h"
#include "search/filter_kernel.h"
#include "search/projection.h"

namespace rrn::internal {
namespace {

// Longer rows are compared without the filter: the sums of its products would not fit 32 bits, and the bound on their
// rounding needs |e| <= |x|, which is sure up to 254^2.
constexpr std::size_t kMaxDepth = 64000;

constexpr double kSafety = 1 + 1e-9;  // over the roundings of sums of squares

// Lengths of the halves of narrow columns and rows, in steps.
constexpr double kColumnSteps = 252;
constexpr double kRowSteps = 125;

constexpr std::size_t RoundUp(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

// The sum of squares of `term(d)` for d < dim, in eight lanes that the compiler can vectorise.
template <typename Term>
double SumOfSquares(std::size_t dim, const Term& term) {
  constexpr std::size_t kDoubles = 8;
  std::array<double, kDoubles> sums = {};
  const std::size_t whole = dim - dim % kDoubles;
  for (std::size_t d = 0; d < whole; d += kDoubles) {
    for (std::size_t lane = 0; lane < kDoubles; ++lane) {
      const double value = term(d + lane);
      sums[lane] += value * value;
    }
  }
  for (std::size_t d = whole; d < dim; ++d) sums[0] += term(d) * term(d);
  double sum = 0;
  for (const double lane : sums) sum += lane;
  return sum;
}

float Largest(const float* x, std::size_t dim) {
  std::array<float, kLanes> lanes = {};
  const std::size_t whole = dim - dim % kLanes;
  for (std::size_t d = 0; d < whole; d += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = std::fabs(x[d + lane]);
      lanes[lane] = lanes[lane] < value ? value : lanes[lane];
    }
  }
  for (std::size_t d = whole; d < dim; ++d) lanes[0] = std::max(lanes[0], std::fabs(x[d]));
  return *std::max_element(lanes.begin(), lanes.end());
}

}  // namespace

void FreeBytes::operator()(std::int8_t* bytes) const { std::free(bytes); }

AlignedBytes AllocateBytes(std::size_t bytes) {
  constexpr std::size_t kCacheLine = 64;
  return AlignedBytes(static_cast<std::int8_t*>(std::aligned_alloc(kCacheLine, RoundUp(bytes, kCacheLine))));
}

RoundedRows::RoundedRows(const EmbeddingsView& embeddings, Layout layout)
    : embeddings_(embeddings),
      layout_(layout),
      narrow_(false),
      dim_(embeddings.dim),
      depth_(RoundUp(dim_, kFilterDepth)),
      sum_error_(SumError(dim_)) {}

RoundedRows::RoundedRows(const EmbeddingsView& embeddings, std::shared_ptr<const Projection> projection, Layout layout,
                         bool narrow)
    : embeddings_(embeddings),
      projection_(std::move(projection)),
      layout_(layout),
      narrow_(narrow),
      dim_(layout == Layout::kPacked ? kShortDim : kMediumDim),
      depth_(dim_),
      sum_error_(projection_->error()) {
  static_assert(kShortDim == kFilterDepth && kMediumDim % kFilterDepth == 0);
}

std::size_t RoundedRows::chunks() const { return RoundUp(embeddings_.count, kChunk) / kChunk; }

bool RoundedRows::Allocate() {
  const std::size_t padded = RoundUp(embeddings_.count, kFilterRows);
  if (padded == 0 || depth_ == 0 || depth_ > kMaxDepth) return false;
  bytes_ = AllocateBytes(padded * depth_);
  if (narrow_) narrow_rows_ = AllocateBytes(padded * depth_);
  if (bytes_ == nullptr || (narrow_ && narrow_rows_ == nullptr)) return false;
  try {
    rows_.resize(embeddings_.count);
    scales_.resize(padded);
    sums_.resize(padded);
    bounds_.resize(chunks());
  } catch (const std::bad_alloc& no_memory) {
    static_cast<void>(no_memory);
    bytes_.reset();
    return false;
  }
  return true;
}

namespace {

// Calls `work(chunk)` for all chunks on all threads.
template <typename Work>
Status ForChunks(int threads, std::size_t chunks, const Work& work) {
  std::atomic<std::size_t> next{0};
  return RunOnThreads(
      ThreadCount(threads, chunks),
      [&] {
        for (std::size_t chunk = next++; chunk < chunks; chunk = next++) work(chunk);
      },
      [&] { next = chunks; });
}

}  // namespace

Status RoundedRows::Prepare(int threads) {
  if (!Allocate()) return {};
  Status status = ForChunks(threads, chunks(), [this](std::size_t chunk) {
    RoundChunk(chunk, embeddings_.data + chunk * kChunk * embeddings_.dim);
  });
  ready_ = status.ok();
  return status;
}

Status RoundedRows::PrepareShort(int threads, RoundedRows* packed, RoundedRows* row_by_row) {
  if (!packed->Allocate() || !row_by_row->Allocate()) return {};
  const EmbeddingsView& embeddings = packed->embeddings_;
  const Projection& projection = *packed->projection_;
  Status status = ForChunks(threads, packed->chunks(), [&](std::size_t chunk) {
    const std::size_t count = std::min(kChunk, embeddings.count - chunk * kChunk);
    const float* rows = embeddings.data + chunk * kChunk * embeddings.dim;
    std::vector<float> products(count * projection.directions());
    projection.Multiply(rows, count, products.data());
    std::vector<float> short_rows(count * kMediumDim);
    for (RoundedRows* to : {packed, row_by_row}) {
      projection.Shorten(rows, products.data(), count, to->dim_, short_rows.data());
      to->RoundChunk(chunk, short_rows.data());
    }
  });
  packed->ready_ = row_by_row->ready_ = status.ok();
  return status;
}

void RoundedRows::RoundChunk(std::size_t chunk, const float* x) {
  const std::size_t begin = chunk * kChunk;
  const std::size_t end = std::min(begin + kChunk, scales_.size());
  std::memset(bytes_.get() + begin * depth_, 0, (end - begin) * depth_);
  Bound& bound = bounds_[chunk];
  for (std::size_t row = begin; row < std::min(end, embeddings_.count); ++row) {
    const double error = RoundRow(row, x + (row - begin) * dim_);
    const double length = rows_[row].length;
    if (std::isnan(length)) continue;
    bound.error = std::max(bound.error, error + sum_error_ * length);
    bound.length = std::max(bound.length, length + error);
  }
}

namespace {

// Rounds to multiples of 1 / steps; returns the sum of squares of what is left over. `keep(d, q)` takes the integers.
template <typename Keep>
double Round(const float* x, std::size_t dim, float steps, double scale, const Keep& keep) {
  constexpr std::size_t kPiece = 256;
  std::array<std::int32_t, kPiece> q;
  double squares = 0;
  for (std::size_t begin = 0; begin < dim; begin += kPiece) {
    const std::size_t size = std::min(kPiece, dim - begin);
    const float* from = x + begin;
    for (std::size_t d = 0; d < size; ++d) {
      q[d] = static_cast<std::int32_t>(from[d] * steps + std::copysign(0.5F, from[d]));
    }
    squares += SumOfSquares(
        size, [&](std::size_t d) { return static_cast<double>(from[d]) - scale * static_cast<double>(q[d]); });
    for (std::size_t d = 0; d < size; ++d) keep(begin + d, q[d]);
  }
  return squares;
}

// The length of the longer half of a short row.
double LongerHalf(const float* x) {
  std::array<double, 2> squares = {};
  for (std::size_t d = 0; d < kShortDim; ++d) {
    const double value = x[d];
    squares[d / 2 % 2] += value * value;
  }
  return std::sqrt(std::max(squares[0], squares[1]));
}

}  // namespace

double RoundedRows::RoundRow(std::size_t row, const float* x) {
  Row& rounded = rows_[row];
  const double length = std::sqrt(SquaredLength(x, dim_));
  if (narrow_) std::memset(narrow_rows_.get() + row * depth_, kNarrowOffset, depth_);
  if (length == 0) return 0;
  if (!HasUsualLength(length)) {
    rounded.length = std::numeric_limits<double>::quiet_NaN();
    scales_[row] = std::numeric_limits<float>::quiet_NaN();
    return 0;
  }
  const float largest = Largest(x, dim_);
  float steps = 127 / largest;
  double scale = static_cast<double>(largest) / 127;
  const double half = narrow_ ? LongerHalf(x) : 0;
  if (half > kColumnSteps * scale) {
    scale = half / kColumnSteps;
    steps = static_cast<float>(1 / scale);
  }
  std::int32_t sum = 0;
  double squares = 0;
  if (layout_ == Layout::kPacked) {
    // Sixteen rows lie side by side, four bytes at a time.
    std::int8_t* to = bytes_.get() + row / kPackRows * kPackRows * depth_ + row % kPackRows * 4;
    squares = Round(x, dim_, steps, scale, [&](std::size_t d, std::int32_t q) {
      sum += q;
      to[d / 4 * 4 * kPackRows + d % 4] = static_cast<std::int8_t>(q);
    });
  } else {
    std::int8_t* to = bytes_.get() + row * depth_;
    squares =
        Round(x, dim_, steps, scale, [to](std::size_t d, std::int32_t q) { to[d] = static_cast<std::int8_t>(q); });
  }
  scales_[row] = static_cast<float>(scale);
  sums_[row] = sum;
  const double error = std::sqrt(squares) * kSafety + length * 1e-12;
  rounded = {scale, length * kSafety, error};
  if (narrow_) RoundNarrowRow(row, x, largest, half);
  return error;
}

void RoundedRows::RoundNarrowRow(std::size_t row, const float* x, float largest, double half) {
  constexpr double kMost = kNarrowOffset - 1;
  const double scale = std::max(static_cast<double>(largest) / kMost, half / kRowSteps);
  std::int8_t* to = narrow_rows_.get() + row * depth_;
  const double squares = Round(x, dim_, static_cast<float>(1 / scale), scale, [to](std::size_t d, std::int32_t q) {
    to[d] = static_cast<std::int8_t>(q + kNarrowOffset);
  });
  rows_[row].scale = scale;
  rows_[row].error = std::sqrt(squares) * kSafety + rows_[row].length * 1e-12;
}

void RoundedRows::Unpack(std::uint32_t row, bool offset, std::int8_t* to) const {
  if (narrow_) {
    std::memcpy(to, narrow_rows_.get() + row * depth_, depth_);
    return;
  }
  const std::int8_t* from = bytes_.get() + row / kPackRows * kPackRows * depth_ + row % kPackRows * std::size_t{4};
  for (std::size_t d = 0; d < depth_; d += 4) std::memcpy(to + d, from + d * kPackRows, 4);
  if (!offset) return;
  for (std::size_t d = 0; d < depth_; ++d) to[d] = static_cast<std::int8_t>(static_cast<unsigned char>(to[d]) ^ 0x80U);
}

inline float RoundedRows::Limit(const Row& row, const Bound& bound, float threshold) const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  // Below -1 every similarity is above, whatever the product that was clamped to it.
  if (threshold < -1.0F) return -kInfinity;
  // Its products with finite rows are exactly 0.
  if (row.length == 0) return threshold < 0 ? -kInfinity : kInfinity;
  const double tiny = static_cast<double>(embeddings_.dim) * 0x1p-125;
  const double rest = static_cast<double>(threshold) - row.length * bound.error - row.error * bound.length - tiny;
  const double limit = rest / row.scale;
  return static_cast<float>(limit - std::fabs(limit) * 1e-6 - 1e-37);
}

void RoundedRows::Limits(const std::uint32_t* rows, std::size_t count, const Bound& bound, const float* above,
                         float* limits) const {
  for (std::size_t i = 0; i < count; ++i) limits[i] = Limit(rows_[rows[i]], bound, above[i]);
}

}  // namespace rrn::internal
