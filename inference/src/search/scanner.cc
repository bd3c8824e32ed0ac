#include "search/scanner.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "base/parallel.h"

namespace rrn::internal {
namespace {

// Longer rows are compared without the filter: the sums of its products would not fit 32 bits, and the bound on their
// rounding in scanner.h needs |e| <= |x|, which is sure up to 254^2.
constexpr std::size_t kMaxDepth = 64000;

// When the filter leaves over more than a quarter of a chunk's pairs, it costs more than it saves; this many chunks are
// then scanned without it.
constexpr std::size_t kChunksWithoutFilter = 7;
constexpr std::size_t kLeftOverShare = 4;

// In a tile with so many pairs to check, computing all its 16 products at once is faster.
constexpr int kWholeTile = 4;

constexpr double kShortest = 0x1p-20;
constexpr double kLongest = 0x1p20;

constexpr std::size_t RoundUp(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

// g of scanner.h.
double SumError(std::size_t dim) {
  const std::size_t terms = RoundUp(dim, kLanes) / kLanes + 4;
  const double roundings = static_cast<double>(terms) * 0x1p-24;
  return roundings / (1 - roundings) + 1e-6;
}

// The columns of a block that exist.
std::uint32_t FirstBits(std::size_t count) {
  return count >= kFilterRows ? ~std::uint32_t{0} : (std::uint32_t{1} << count) - 1;
}

int CountBits(std::uint32_t bits) { return __builtin_popcount(bits); }

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

// The instructions of some filters need the thread to be made ready for them.
class FilterScope {
 public:
  explicit FilterScope(const Filter* filter) : filter_(filter) {
    if (filter_ != nullptr && filter_->enter != nullptr) filter_->enter();
  }
  ~FilterScope() {
    if (filter_ != nullptr && filter_->leave != nullptr) filter_->leave();
  }
  FilterScope(const FilterScope&) = delete;
  FilterScope& operator=(const FilterScope&) = delete;

 private:
  const Filter* filter_;
};

}  // namespace

float ClampSimilarity(float similarity) { return std::clamp(similarity, -1.0F, 1.0F); }

struct Scanner::Left {
  const std::vector<std::uint32_t>* rows = nullptr;
  const float* data = nullptr;  // [rows, dim]
  Columns columns = Columns::kOthers;
  std::vector<std::vector<GroupMember>>* found = nullptr;

  void Report(std::size_t i, std::size_t column, float similarity, float threshold) const {
    const std::uint32_t row = (*rows)[i];
    const bool wanted = columns == Columns::kAll || (columns == Columns::kLater ? column > row : column != row);
    if (similarity > threshold && wanted) {
      (*found)[i].push_back({static_cast<std::uint32_t>(column), similarity});
    }
  }
};

void Scanner::Free::operator()(std::int8_t* bytes) const { std::free(bytes); }

// On cache lines; null where there is not enough memory.
Scanner::Bytes Scanner::Allocate(std::size_t bytes) {
  constexpr std::size_t kCacheLine = 64;
  return Bytes(static_cast<std::int8_t*>(std::aligned_alloc(kCacheLine, RoundUp(bytes, kCacheLine))));
}

Scanner::Scanner(const EmbeddingsView& embeddings, float threshold, const SearchPath& path)
    : embeddings_(embeddings),
      threshold_(threshold),
      path_(path),
      depth_(RoundUp(embeddings.dim, kFilterDepth)),
      sum_error_(SumError(embeddings.dim)) {}

Status Scanner::Prepare(int threads) {
  const std::size_t padded = RoundUp(embeddings_.count, kFilterRows);
  // Below -1 everything is similar, whatever its product.
  if (path_.filter.run == nullptr || padded == 0 || depth_ == 0 || depth_ > kMaxDepth || threshold_ < -1.0F) return {};
  const std::size_t chunks = RoundUp(padded, kChunk) / kChunk;
  packed_ = Allocate(padded * depth_);
  if (packed_ == nullptr) return {};
  try {
    rounded_.resize(embeddings_.count);
    scales_.resize(padded);
    sums_.resize(padded);
    bounds_.resize(chunks);
  } catch (const std::bad_alloc& no_memory) {
    static_cast<void>(no_memory);
    packed_.reset();
    return {};
  }
  std::atomic<std::size_t> next{0};
  Status status = RunOnThreads(
      ThreadCount(threads, chunks),
      [&] {
        for (std::size_t chunk = next++; chunk < chunks; chunk = next++) RoundChunk(chunk);
      },
      [&] { next = chunks; });
  filtering_ = status.ok();
  return status;
}

void Scanner::RoundChunk(std::size_t chunk) {
  const std::size_t begin = chunk * kChunk;
  const std::size_t end = std::min(begin + kChunk, scales_.size());
  std::memset(packed_.get() + begin * depth_, 0, (end - begin) * depth_);
  ChunkBound& bound = bounds_[chunk];
  for (std::size_t row = begin; row < std::min(end, embeddings_.count); ++row) {
    RoundRow(row);
    const Rounded& r = rounded_[row];
    if (std::isnan(r.length)) continue;
    bound.error = std::max(bound.error, r.error + sum_error_ * r.length);
    bound.length = std::max(bound.length, r.length + r.error);
  }
}

void Scanner::RoundRow(std::size_t row) {
  constexpr double kSafety = 1 + 1e-9;  // over the roundings of sums of squares
  const std::size_t dim = embeddings_.dim;
  const float* x = embeddings_.data + row * dim;
  Rounded& rounded = rounded_[row];
  const double length = std::sqrt(SumOfSquares(dim, [x](std::size_t d) { return static_cast<double>(x[d]); }));
  if (length == 0) return;
  if (!(length >= kShortest && length <= kLongest)) {
    rounded.length = std::numeric_limits<double>::quiet_NaN();
    scales_[row] = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  const float largest = Largest(x, dim);
  const float steps = 127 / largest;
  const double scale = static_cast<double>(largest) / 127;
  // Sixteen rows lie side by side, four bytes at a time.
  std::int8_t* to = packed_.get() + row / kPackRows * kPackRows * depth_ + row % kPackRows * 4;
  std::int32_t sum = 0;
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
    for (std::size_t d = 0; d < size; ++d) {
      sum += q[d];
      to[(begin + d) / 4 * 4 * kPackRows + d % 4] = static_cast<std::int8_t>(q[d]);
    }
  }
  rounded.scale = scale;
  rounded.length = length * kSafety;
  rounded.error = std::sqrt(squares) * kSafety + length * 1e-12;
  scales_[row] = static_cast<float>(scale);
  sums_[row] = sum;
}

void Scanner::Unpack(std::uint32_t row, std::int8_t* to) const {
  const std::int8_t* from = packed_.get() + row / kPackRows * kPackRows * depth_ + row % kPackRows * std::size_t{4};
  for (std::size_t d = 0; d < depth_; d += 4) std::memcpy(to + d, from + d * kPackRows, 4);
  if (!path_.filter.offset) return;
  for (std::size_t d = 0; d < depth_; ++d) to[d] = static_cast<std::int8_t>(static_cast<unsigned char>(to[d]) ^ 0x80U);
}

// What t q.p must be above, rounded down.
float Scanner::Limit(std::size_t row, const ChunkBound& bound) const {
  const Rounded& r = rounded_[row];
  // Its products with finite rows are exactly 0.
  if (r.length == 0) return std::numeric_limits<float>::infinity() * (threshold_ < 0 ? -1.0F : 1.0F);
  const double tiny = static_cast<double>(embeddings_.dim) * 0x1p-125;
  const double rest = static_cast<double>(threshold_) - r.length * bound.error - r.error * bound.length - tiny;
  const double limit = rest / r.scale;
  return static_cast<float>(limit - std::fabs(limit) * 1e-6 - 1e-37);
}

void Scanner::ExactTile(const Left& left, std::size_t row, std::size_t rows, std::size_t column,
                        std::size_t columns) const {
  std::array<float, kTileRows * kTileRows> tile;
  const std::size_t dim = embeddings_.dim;
  path_.dot_tile(left.data + row * dim, rows, embeddings_.data + column * dim, columns, dim, tile.data());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) {
      left.Report(row + i, column + j, ClampSimilarity(tile[i * kTileRows + j]), threshold_);
    }
  }
}

void Scanner::ScanExactly(const Left& left, std::size_t row, std::size_t row_end, std::size_t column,
                          std::size_t column_end) const {
  for (std::size_t j = column; j < column_end; j += kTileRows) {
    const std::size_t columns = std::min(kTileRows, column_end - j);
    for (std::size_t i = row; i < row_end; i += kTileRows) {
      if (left.columns == Columns::kLater && j + columns - 1 <= (*left.rows)[i]) break;
      ExactTile(left, i, std::min(kTileRows, row_end - i), j, columns);
    }
  }
}

std::size_t Scanner::Recheck(const Left& left, std::size_t row, std::size_t column, const std::uint32_t* flags) const {
  const std::uint32_t columns = FirstBits(embeddings_.count - column);
  const std::size_t rows = std::min(kFilterRows, left.rows->size() - row);
  std::size_t left_over = 0;
  for (std::size_t i = 0; i < rows; i += kTileRows) {
    const std::size_t tile_rows = std::min(kTileRows, rows - i);
    std::array<std::uint32_t, kTileRows> tile = {};
    std::uint32_t any = 0;
    for (std::size_t r = 0; r < tile_rows; ++r) any |= tile[r] = flags[i + r] & columns;
    if (any == 0) continue;
    for (std::size_t j = 0; j < kFilterRows && any >> j != 0; j += kTileRows) {
      int count = 0;
      for (const std::uint32_t bits : tile) count += CountBits(bits >> j & 0xFU);
      left_over += static_cast<std::size_t>(count);
      if (count >= kWholeTile) {
        ExactTile(left, row + i, tile_rows, column + j, std::min(kTileRows, embeddings_.count - column - j));
        continue;
      }
      for (std::size_t r = 0; r < tile_rows && count > 0; ++r) {
        for (std::size_t c = 0; c < kTileRows; ++c) {
          if ((tile[r] >> (j + c) & 1U) != 0) ExactTile(left, row + i + r, 1, column + j + c, 1);
        }
      }
    }
  }
  return left_over;
}

void Scanner::Scan(const std::vector<std::uint32_t>& rows, Columns columns,
                   std::vector<std::vector<GroupMember>>* found) const {
  ScanRowsOf(*this, rows, columns, found);
}

void Scanner::ScanRowsOf(const Scanner& from, const std::vector<std::uint32_t>& rows, Columns columns,
                         std::vector<std::vector<GroupMember>>* found) const {
  found->resize(rows.size());
  if (rows.empty()) return;
  const std::size_t dim = embeddings_.dim;
  Left left{&rows, from.embeddings_.data + rows.front() * dim, columns, found};
  std::vector<float> copies;
  if (rows.back() - rows.front() + 1 != rows.size()) {
    copies.resize(rows.size() * dim);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(from.embeddings_.data + rows[i] * dim, dim, copies.data() + i * dim);
    }
    left.data = copies.data();
  }
  const std::size_t padded = RoundUp(rows.size(), kFilterRows);
  const Bytes bytes = filtering_ && from.filtering_ ? Allocate(padded * depth_) : nullptr;
  const bool filtering = bytes != nullptr;
  if (filtering) {
    std::memset(bytes.get(), 0, padded * depth_);
    for (std::size_t i = 0; i < rows.size(); ++i) from.Unpack(rows[i], bytes.get() + i * depth_);
  }
  std::vector<float> limits(padded, std::numeric_limits<float>::infinity());
  FilterBlock block;
  block.depth = depth_;
  std::array<std::uint32_t, kFilterRows> flags;
  block.flags = flags.data();

  const FilterScope scope(filtering ? &path_.filter : nullptr);
  const std::size_t start = columns == Columns::kLater ? rows.front() / kFilterRows * kFilterRows : 0;
  std::size_t without_filter = 0;
  for (std::size_t begin = start; begin < embeddings_.count;) {
    const std::size_t chunk = begin / kChunk;
    const std::size_t end = std::min((chunk + 1) * kChunk, embeddings_.count);
    if (!filtering || without_filter > 0) {
      for (std::size_t i = 0; i < rows.size(); i += kFilterRows) {
        ScanExactly(left, i, std::min(i + kFilterRows, rows.size()), begin, end);
      }
      if (without_filter > 0) --without_filter;
      begin = end;
      continue;
    }
    for (std::size_t i = 0; i < rows.size(); ++i) limits[i] = from.Limit(rows[i], bounds_[chunk]);
    std::size_t looked_at = 0;
    std::size_t left_over = 0;
    for (std::size_t i = 0; i < rows.size(); i += kFilterRows) {
      block.a = bytes.get() + i * depth_;
      block.a_limits = limits.data() + i;
      for (std::size_t j = begin; j < end; j += kFilterRows) {
        if (columns == Columns::kLater && j + kFilterRows - 1 <= rows[i]) continue;
        block.b = packed_.get() + j * depth_;
        block.b_sums = sums_.data() + j;
        block.b_scales = scales_.data() + j;
        looked_at += kFilterRows * kFilterRows;
        if (path_.filter.run(block)) left_over += Recheck(left, i, j, flags.data());
      }
    }
    if (left_over * kLeftOverShare > looked_at) without_filter = kChunksWithoutFilter;
    begin = end;
  }
}

}  // namespace rrn::internal
