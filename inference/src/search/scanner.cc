#include "search/scanner.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "search/dot_kernel.h"
#include "search/filter_kernel.h"

namespace rrn::internal {
namespace {

// When the filter leaves over more than a quarter of a chunk's pairs, it costs more than it saves; this many chunks are
// then scanned without it. In a scan for the nearest rows, every piece raises the bound for the next one.
constexpr std::size_t kChunksWithoutFilter = 7;
constexpr std::size_t kNearestPiecesWithoutFilter = 1;
constexpr std::size_t kLeftOverShare = 4;

// In a tile with this many pairs to check, computing all its 16 products together is faster.
constexpr int kWholeTile = 4;

constexpr std::size_t RoundUp(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

// The columns of a block that exist.
std::uint32_t FirstBits(std::size_t count) {
  return count >= kFilterRows ? ~std::uint32_t{0} : (std::uint32_t{1} << count) - 1;
}

int CountBits(std::uint32_t bits) { return __builtin_popcount(bits); }

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

bool IsNearer(const Neighbour& a, const Neighbour& b) {
  return a.similarity != b.similarity ? a.similarity > b.similarity : a.index < b.index;
}

struct Scanner::Left {
  const std::vector<std::uint32_t>* rows = nullptr;
  const float* data = nullptr;  // [rows, dim]
  std::vector<float> copies;    // of the rows, where they are not side by side
  bool filtering = false;
  AlignedBytes bytes;  // what the filter gets of the rows; in stages the short rows, null without them
  Columns columns = Columns::kOthers;
  std::size_t k = 0;  // keep the k nearest ones; 0: all
  float threshold = 0;
  std::vector<float> above;  // for each row: what a similarity must be above to be kept, at least the threshold
  Neighbours* found = nullptr;

  // The columns of a row come in ascending order.
  void Report(std::size_t i, std::size_t column, float similarity) {
    if (!(similarity > above[i])) return;
    const std::uint32_t row = (*rows)[i];
    const bool wanted = columns == Columns::kAll || (columns == Columns::kLater ? column > row : column != row);
    if (!wanted) return;
    const Neighbour neighbour{static_cast<std::uint32_t>(column), similarity};
    std::vector<Neighbour>& list = (*found)[i];
    if (k == 0) {
      list.push_back(neighbour);
    } else {
      KeepNearest(neighbour, &list, &above[i]);
    }
  }

  // `list` is a heap with the farthest one first. A later column of the same similarity would be listed after it, so it
  // is not kept once the list is full.
  void KeepNearest(const Neighbour& neighbour, std::vector<Neighbour>* list, float* limit) const {
    if (list->size() == k) {
      std::pop_heap(list->begin(), list->end(), IsNearer);
      list->back() = neighbour;
    } else {
      list->push_back(neighbour);
    }
    std::push_heap(list->begin(), list->end(), IsNearer);
    if (list->size() == k) *limit = list->front().similarity;
  }
};

Scanner::Scanner(const EmbeddingsView& embeddings, const SearchTarget& target)
    : embeddings_(embeddings), target_(target) {}

Status Scanner::Prepare(int threads) {
  if (target_.filter.run == nullptr) return {};
  rounded_ = std::make_unique<RoundedRows>(embeddings_, RoundedRows::Layout::kPacked);
  return rounded_->Prepare(threads);
}

Status Scanner::PrepareStages(int threads, const std::shared_ptr<const Projection>& projection) {
  if (target_.filter.run == nullptr) return {};
  in_stages_ = true;
  rounded_ = std::make_unique<RoundedRows>(embeddings_, RoundedRows::Layout::kRowByRow);
  Status status = rounded_->Prepare(threads);
  if (!status.ok() || projection == nullptr) return status;
  short_ = std::make_unique<RoundedRows>(embeddings_, projection, RoundedRows::Layout::kPacked,
                                         target_.filter.run_narrow != nullptr);
  medium_ = std::make_unique<RoundedRows>(embeddings_, projection, RoundedRows::Layout::kRowByRow, false);
  return RoundedRows::PrepareShort(threads, short_.get(), medium_.get());
}

void Scanner::ExactTile(std::size_t row, std::size_t rows, std::size_t column, std::size_t columns, Left* left) const {
  std::array<float, kTileRows * kTileRows> tile;
  const std::size_t dim = embeddings_.dim;
  target_.dot_tile(left->data + row * dim, rows, embeddings_.data + column * dim, columns, dim, tile.data());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) {
      left->Report(row + i, column + j, ClampSimilarity(tile[i * kTileRows + j]));
    }
  }
}

void Scanner::ScanExactly(std::size_t row, std::size_t row_end, std::size_t column, std::size_t column_end,
                          Left* left) const {
  for (std::size_t j = column; j < column_end; j += kTileRows) {
    const std::size_t columns = std::min(kTileRows, column_end - j);
    for (std::size_t i = row; i < row_end; i += kTileRows) {
      if (left->columns == Columns::kLater && j + columns - 1 <= (*left->rows)[i]) break;
      ExactTile(i, std::min(kTileRows, row_end - i), j, columns, left);
    }
  }
}

std::size_t Scanner::Recheck(std::size_t row, std::size_t column, const std::uint32_t* flags, Left* left) const {
  const std::uint32_t columns = FirstBits(embeddings_.count - column);
  const std::size_t rows = std::min(kFilterRows, left->rows->size() - row);
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
        ExactTile(row + i, tile_rows, column + j, std::min(kTileRows, embeddings_.count - column - j), left);
        continue;
      }
      for (std::size_t r = 0; r < tile_rows && count > 0; ++r) {
        for (std::size_t c = 0; c < kTileRows; ++c) {
          if ((tile[r] >> (j + c) & 1U) != 0) ExactTile(row + i + r, 1, column + j + c, 1, left);
        }
      }
    }
  }
  return left_over;
}

Scanner::Left Scanner::Take(const Scanner& from, const std::vector<std::uint32_t>& rows, Columns columns,
                            Neighbours* found) const {
  const std::size_t dim = embeddings_.dim;
  Left left;
  left.rows = &rows;
  left.columns = columns;
  left.found = found;
  left.data = from.embeddings_.data + rows.front() * dim;
  if (rows.back() - rows.front() + 1 != rows.size()) {
    left.copies.resize(rows.size() * dim);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(from.embeddings_.data + rows[i] * dim, dim, left.copies.data() + i * dim);
    }
    left.data = left.copies.data();
  }
  const auto ready = [](const std::unique_ptr<RoundedRows>& some) { return some != nullptr && some->ready(); };
  if (!ready(rounded_) || !ready(from.rounded_)) return left;
  if (in_stages_ && !(ready(short_) && ready(medium_) && ready(from.short_) && ready(from.medium_))) {
    left.filtering = true;
    return left;
  }
  const RoundedRows& filtered = in_stages_ ? *from.short_ : *from.rounded_;
  const std::size_t depth = filtered.depth();
  const std::size_t padded = RoundUp(rows.size(), kFilterRows);
  left.bytes = AllocateBytes(padded * depth);
  left.filtering = in_stages_ || left.bytes != nullptr;
  if (left.bytes == nullptr) return left;
  std::memset(left.bytes.get(), 0, padded * depth);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    filtered.Unpack(rows[i], target_.filter.offset, left.bytes.get() + i * depth);
  }
  return left;
}

bool Scanner::ScanChunk(const Scanner& from, std::size_t column, std::size_t column_end, Left* left) const {
  const std::vector<std::uint32_t>& rows = *left->rows;
  const RoundedRows::Bound& bound = rounded_->bound(column / RoundedRows::kChunk);
  std::array<float, kFilterRows> limits;
  std::array<std::uint32_t, kFilterRows> flags;
  FilterBlock block;
  block.depth = rounded_->depth();
  block.a_limits = limits.data();
  block.flags = flags.data();
  std::size_t looked_at = 0;
  std::size_t left_over = 0;
  for (std::size_t i = 0; i < rows.size(); i += kFilterRows) {
    limits.fill(std::numeric_limits<float>::infinity());
    from.rounded_->Limits(&rows[i], std::min(kFilterRows, rows.size() - i), bound, &left->above[i], limits.data());
    block.a = left->bytes.get() + i * block.depth;
    for (std::size_t j = column; j < column_end; j += kFilterRows) {
      if (left->columns == Columns::kLater && j + kFilterRows - 1 <= rows[i]) continue;
      block.b = rounded_->packed(j);
      block.b_sums = rounded_->sums(j);
      block.b_scales = rounded_->scales(j);
      looked_at += kFilterRows * kFilterRows;
      if (target_.filter.run(block)) left_over += Recheck(i, j, flags.data(), left);
    }
  }
  return left_over * kLeftOverShare > looked_at;
}

// Of the pairs that were looked at, those that a stage left over.
struct Scanner::StagesLeftOver {
  std::size_t looked_at = 0;
  std::size_t by_short = 0;
  std::size_t by_bytes = 0;
};

namespace {

// The pairs of a block that a stage has left over, as 32 i + j.
struct LeftPairs {
  std::array<std::uint16_t, kFilterRows * kFilterRows> pairs;
  std::size_t count = 0;

  // Two rows at a time, because most have no flag or one.
  void Take(const std::uint32_t* flags, std::size_t rows, std::uint32_t columns) {
    count = 0;
    for (std::size_t i = 0; i < rows; i += 2) {
      const std::uint32_t second = i + 1 < rows ? flags[i + 1] & columns : 0;
      std::uint64_t bits = (flags[i] & columns) | std::uint64_t{second} << kFilterRows;
      for (; bits != 0; bits &= bits - 1) {
        const auto place = static_cast<std::size_t>(__builtin_ctzll(bits));
        pairs[count++] = static_cast<std::uint16_t>(i * kFilterRows + place);
      }
    }
  }

  void ToFlags(std::uint32_t* flags) const {
    std::fill_n(flags, kFilterRows, 0U);
    for (std::size_t k = 0; k < count; ++k) flags[pairs[k] / kFilterRows] |= 1U << pairs[k] % kFilterRows;
  }
};

// One stage of pairs of a block: rows that lie row by row.
struct Stage {
  const RoundedRows* rows = nullptr;
  const RoundedRows* columns = nullptr;
  std::array<const std::int8_t*, kFilterRows> bytes;
  std::array<float, kFilterRows> limits;

  void SetRows(const std::uint32_t* some, std::size_t count, const RoundedRows::Bound& bound, const float* above) {
    rows->Limits(some, count, bound, above, limits.data());
    for (std::size_t i = 0; i < count; ++i) bytes[i] = rows->packed(some[i]);
  }

  void Keep(KeepPairsFunction keep, std::size_t column, LeftPairs* left) const {
    const BytePairs pairs{bytes.data(), columns->packed(column), columns->depth(), columns->scales(column),
                          limits.data()};
    left->count = keep(pairs, left->pairs.data(), left->count);
  }
};

}  // namespace

Scanner::StagesLeftOver Scanner::ScanChunkInStages(const Scanner& from, std::size_t column, std::size_t column_end,
                                                   bool use_short, Left* left) const {
  const std::vector<std::uint32_t>& rows = *left->rows;
  const FilterFunction run = target_.filter.run_narrow != nullptr ? target_.filter.run_narrow : target_.filter.run;
  const std::size_t chunk = column / RoundedRows::kChunk;
  Stage medium{from.medium_.get(), medium_.get(), {}, {}};
  Stage whole{from.rounded_.get(), rounded_.get(), {}, {}};
  std::array<float, kFilterRows> limits;
  std::array<std::uint32_t, kFilterRows> flags;
  LeftPairs pairs;
  FilterBlock block;
  block.depth = kShortDim;
  block.a_limits = limits.data();
  block.flags = flags.data();
  StagesLeftOver result;
  for (std::size_t i = 0; i < rows.size(); i += kFilterRows) {
    block.rows = std::min(kFilterRows, rows.size() - i);
    const float* above = &left->above[i];
    whole.SetRows(&rows[i], block.rows, rounded_->bound(chunk), above);
    if (use_short) {
      limits.fill(std::numeric_limits<float>::infinity());
      from.short_->Limits(&rows[i], block.rows, short_->bound(chunk), above, limits.data());
      medium.SetRows(&rows[i], block.rows, medium_->bound(chunk), above);
      block.a = left->bytes.get() + i * block.depth;
    }
    for (std::size_t j = column; j < column_end; j += kFilterRows) {
      if (left->columns == Columns::kLater && j + kFilterRows - 1 <= rows[i]) continue;
      result.looked_at += block.rows * std::min(kFilterRows, column_end - j);
      flags.fill(~std::uint32_t{0});
      if (use_short) {
        block.b = short_->packed(j);
        block.b_sums = short_->sums(j);
        block.b_scales = short_->scales(j);
        if (!run(block)) continue;
      }
      pairs.Take(flags.data(), block.rows, FirstBits(embeddings_.count - j));
      result.by_short += pairs.count;
      if (use_short) medium.Keep(target_.keep_pairs, j, &pairs);
      whole.Keep(target_.keep_pairs, j, &pairs);
      if (pairs.count == 0) continue;
      pairs.ToFlags(flags.data());
      result.by_bytes += Recheck(i, j, flags.data(), left);
    }
  }
  return result;
}

void Scanner::ScanColumns(const Scanner& from, std::size_t column, std::size_t column_end, Left* left) const {
  const FilterScope scope(left->filtering ? &target_.filter : nullptr);
  const std::size_t rows = left->rows->size();
  const std::size_t start = column;
  const std::size_t pause = left->k == 0 ? kChunksWithoutFilter : kNearestPiecesWithoutFilter;
  std::size_t without_filter = 0;
  std::size_t without_short = left->bytes != nullptr ? 0 : std::numeric_limits<std::size_t>::max();
  while (column < column_end) {
    const std::size_t chunk = column / RoundedRows::kChunk;
    std::size_t end = std::min((chunk + 1) * RoundedRows::kChunk, column_end);
    // The bound of the k nearest rises with the first columns most of all, so the first pieces are smaller.
    if (left->k != 0) end = std::min(end, column + std::max(kFilterRows, column - start));
    // Until there are k, everything would be left over.
    const bool full = left->k <= column - start || left->threshold >= -1.0F;
    if (!left->filtering || !full || without_filter > 0) {
      for (std::size_t i = 0; i < rows; i += kFilterRows) {
        ScanExactly(i, std::min(i + kFilterRows, rows), column, end, left);
      }
      if (without_filter > 0) --without_filter;
    } else if (in_stages_) {
      const StagesLeftOver stages = ScanChunkInStages(from, column, end, without_short == 0, left);
      if (stages.by_bytes * kLeftOverShare > stages.looked_at) without_filter = pause;
      if (without_short > 0) {
        if (left->bytes != nullptr) --without_short;
      } else if (stages.by_short * kLeftOverShare > stages.looked_at) {
        without_short = pause;
      }
    } else if (ScanChunk(from, column, end, left)) {
      without_filter = pause;
    }
    column = end;
  }
}

void Scanner::Scan(const std::vector<std::uint32_t>& rows, float threshold, Columns columns, Neighbours* found) const {
  ScanRowsOf(*this, rows, threshold, columns, found);
}

void Scanner::ScanRowsOf(const Scanner& from, const std::vector<std::uint32_t>& rows, float threshold, Columns columns,
                         Neighbours* found) const {
  found->resize(rows.size());
  if (rows.empty()) return;
  Left left = Take(from, rows, columns, found);
  left.threshold = threshold;
  left.above.assign(rows.size(), threshold);
  const std::size_t start = columns == Columns::kLater ? rows.front() / kFilterRows * kFilterRows : 0;
  ScanColumns(from, start, embeddings_.count, &left);
}

void Scanner::ScanNearest(const Scanner& from, const std::vector<std::uint32_t>& rows, const NearestScan& scan,
                          Neighbours* found) const {
  found->assign(rows.size(), {});
  if (rows.empty()) return;
  Left left = Take(from, rows, scan.columns, found);
  left.k = scan.k;
  left.threshold = scan.threshold;
  left.above.assign(rows.size(), scan.threshold);
  ScanColumns(from, scan.begin, scan.end, &left);
  for (std::vector<Neighbour>& list : *found) std::sort_heap(list.begin(), list.end(), IsNearer);
}

}  // namespace rrn::internal
