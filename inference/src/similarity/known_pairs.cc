#include "similarity/known_pairs.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "rrn/similarity.h"

namespace rrn::internal {
namespace {

constexpr char kName[] = "pairs";
// Read in another byte order, this is another number.
constexpr std::uint64_t kMagic = 0x72726E7061697231;  // "rrnpair1"
constexpr std::uint32_t kNoRow = std::numeric_limits<std::uint32_t>::max();

// What is before the slots and the pairs.
struct Header {
  std::uint64_t magic = kMagic;
  std::uint64_t slots = 0;
  std::uint64_t pairs = 0;
  double threshold = 0;
};

// Copies an array to `to`; returns where it ends.
template <typename T>
std::uint8_t* Put(const std::vector<T>& from, std::uint8_t* to) {
  const std::size_t bytes = from.size() * sizeof(T);
  if (bytes > 0) std::memcpy(to, from.data(), bytes);
  return to + bytes;
}

// One call of GroupStoredRows.
class Grouper {
 public:
  Grouper(const StoredView& rows, const SearchOptions& options, const RankRows& rank, const PairSink& sink,
          std::size_t max_pairs)
      : rows_(rows), options_(options), rank_(rank), sink_(sink), max_pairs_(max_pairs) {}

  Result<Grouping> Run() {
    std::optional<KnownPairs> known = Load();
    if (known) {
      MatchRows(*known);
      // Comparing new rows with all costs twice as much for each as comparing all rows among themselves.
      if (2 * new_rows_.size() <= rows_.unit.count) {
        Status status = FindNew(*known);
        if (!status.ok()) return status;
        if (!overflowed_) return FromPairs(*known);
      }
    }
    return FromScratch();
  }

 private:
  std::optional<KnownPairs> Load() const {
    const std::optional<std::vector<std::uint8_t>> bytes = rows_.store->ReadDerived(rows_.key, kName);
    if (!bytes) return std::nullopt;
    std::optional<KnownPairs> known = DecodePairs(*bytes);
    if (known && !(known->threshold <= options_.threshold)) return std::nullopt;
    return known;
  }

  // Which of the known slots are which rows, and which rows are not among them.
  void MatchRows(const KnownPairs& known) {
    const std::vector<std::uint64_t>& slots = *rows_.slots;
    row_of_.assign(known.slots.size(), kNoRow);
    for (std::uint32_t row = 0; row < slots.size(); ++row) {
      const auto found = std::lower_bound(known.slots.begin(), known.slots.end(), slots[row]);
      // A file that was listed under two names has two rows with one slot.
      if (found == known.slots.end() || *found != slots[row] || RowOf(found - known.slots.begin()) != kNoRow) {
        new_rows_.push_back(row);
      } else {
        row_of_[static_cast<std::size_t>(found - known.slots.begin())] = row;
      }
    }
  }

  std::uint32_t RowOf(std::ptrdiff_t position) const { return row_of_[static_cast<std::size_t>(position)]; }

  // Compares the new rows with all; the pairs of the others are known.
  Status FindNew(const KnownPairs& known) {
    for (const SimilarPair& pair : known.pairs) {
      const std::uint32_t first = row_of_[pair.first];
      const std::uint32_t second = row_of_[pair.second];
      if (first == kNoRow || second == kNoRow || !(pair.similarity > options_.threshold)) continue;
      Keep(first, second, pair.similarity);
    }
    if (new_rows_.empty() || overflowed_) return {};
    const std::size_t dim = rows_.unit.dim;
    std::vector<float> copies(new_rows_.size() * dim);
    std::vector<bool> is_new(rows_.unit.count, false);
    for (std::size_t k = 0; k < new_rows_.size(); ++k) {
      is_new[new_rows_[k]] = true;
      std::copy_n(rows_.unit.data + new_rows_[k] * dim, dim, copies.data() + k * dim);
    }
    Status status = FindPairs({copies.data(), new_rows_.size(), dim}, rows_.unit, options_,
                              [&](const SimilarPair* found, std::size_t count) {
                                for (std::size_t k = 0; k < count; ++k) {
                                  const std::uint32_t row = new_rows_[found[k].first];
                                  const std::uint32_t other = found[k].second;
                                  // Pairs of two new rows are found from both.
                                  if (other == row || (is_new[other] && other < row)) continue;
                                  Keep(row, other, found[k].similarity);
                                }
                                return !overflowed_;
                              });
    return overflowed_ ? Status() : status;
  }

  void Keep(std::uint32_t a, std::uint32_t b, float similarity) {
    if (pairs_.size() >= max_pairs_) overflowed_ = true;
    if (!overflowed_) pairs_.push_back({std::min(a, b), std::max(a, b), similarity});
  }

  Result<Grouping> FromPairs(const KnownPairs& known) {
    std::sort(pairs_.begin(), pairs_.end(), [](const SimilarPair& a, const SimilarPair& b) {
      return a.first != b.first ? a.first < b.first : a.second < b.second;
    });
    if (sink_ && !pairs_.empty() && !sink_(pairs_.data(), pairs_.size())) {
      return Status(StatusCode::kCancelled, "cancelled");
    }
    Result<Grouping> grouping = GroupPairs(rows_.unit.count, pairs_, rank_);
    // What is known of rows that are gone is let go when it is half of all.
    const bool stale = known.slots.size() > 2 * (rows_.unit.count - new_rows_.size());
    if (grouping.ok() && (!new_rows_.empty() || stale)) Save();
    return grouping;
  }

  Result<Grouping> FromScratch() {
    pairs_.clear();
    overflowed_ = false;
    const PairSink both = [this](const SimilarPair* found, std::size_t count) {
      for (std::size_t k = 0; k < count; ++k) Keep(found[k].first, found[k].second, found[k].similarity);
      return !sink_ || sink_(found, count);
    };
    Result<Grouping> grouping = GroupRows(rows_.unit, options_, rank_, both);
    if (grouping.ok() && !overflowed_) Save();
    return grouping;
  }

  // Keeps the pairs of stored rows. A store that refuses has said why when the rows were stored.
  void Save() const {
    const std::vector<std::uint64_t>& slots = *rows_.slots;
    std::vector<std::uint32_t> stored;
    for (std::uint32_t row = 0; row < slots.size(); ++row) {
      if (slots[row] != kNotStored) stored.push_back(row);
    }
    std::sort(stored.begin(), stored.end(),
              [&](std::uint32_t a, std::uint32_t b) { return slots[a] != slots[b] ? slots[a] < slots[b] : a < b; });
    stored.erase(std::unique(stored.begin(), stored.end(),
                             [&](std::uint32_t a, std::uint32_t b) { return slots[a] == slots[b]; }),
                 stored.end());
    if (stored.empty()) return;
    KnownPairs known;
    known.threshold = options_.threshold;
    std::vector<std::uint32_t> position(slots.size(), kNoRow);
    for (const std::uint32_t row : stored) {
      position[row] = static_cast<std::uint32_t>(known.slots.size());
      known.slots.push_back(slots[row]);
    }
    for (const SimilarPair& pair : pairs_) {
      const std::uint32_t a = position[pair.first];
      const std::uint32_t b = position[pair.second];
      if (a != kNoRow && b != kNoRow) known.pairs.push_back({std::min(a, b), std::max(a, b), pair.similarity});
    }
    const std::vector<std::uint8_t> bytes = EncodePairs(known);
    static_cast<void>(rows_.store->WriteDerived(rows_.key, kName, bytes.data(), bytes.size()));
  }

  const StoredView& rows_;
  const SearchOptions& options_;
  const RankRows& rank_;
  const PairSink& sink_;
  const std::size_t max_pairs_;
  std::vector<std::uint32_t> row_of_;    // of each known slot
  std::vector<std::uint32_t> new_rows_;  // ascending
  std::vector<SimilarPair> pairs_;
  bool overflowed_ = false;
};

}  // namespace

std::vector<std::uint8_t> EncodePairs(const KnownPairs& known) {
  const Header header{kMagic, known.slots.size(), known.pairs.size(), static_cast<double>(known.threshold)};
  std::vector<std::uint8_t> bytes(sizeof header + known.slots.size() * sizeof(std::uint64_t) +
                                  known.pairs.size() * sizeof(SimilarPair));
  std::memcpy(bytes.data(), &header, sizeof header);
  static_cast<void>(Put(known.pairs, Put(known.slots, bytes.data() + sizeof header)));
  return bytes;
}

std::optional<KnownPairs> DecodePairs(const std::vector<std::uint8_t>& bytes) {
  Header header;
  if (bytes.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, bytes.data(), sizeof header);
  const std::size_t left = bytes.size() - sizeof header;
  if (header.magic != kMagic || header.slots > left / sizeof(std::uint64_t)) return std::nullopt;
  const std::size_t slot_bytes = header.slots * sizeof(std::uint64_t);
  if (header.pairs != (left - slot_bytes) / sizeof(SimilarPair) || (left - slot_bytes) % sizeof(SimilarPair) != 0) {
    return std::nullopt;
  }
  KnownPairs known;
  known.threshold = static_cast<float>(header.threshold);
  known.slots.resize(header.slots);
  known.pairs.resize(header.pairs);
  const std::uint8_t* from = bytes.data() + sizeof header;
  if (slot_bytes > 0) std::memcpy(known.slots.data(), from, slot_bytes);
  if (header.pairs > 0) std::memcpy(known.pairs.data(), from + slot_bytes, left - slot_bytes);
  const bool ascending =
      std::adjacent_find(known.slots.begin(), known.slots.end(),
                         [](std::uint64_t a, std::uint64_t b) { return a >= b; }) == known.slots.end();
  const bool valid = std::all_of(known.pairs.begin(), known.pairs.end(), [&](const SimilarPair& pair) {
    return pair.first < pair.second && pair.second < known.slots.size();
  });
  if (!ascending || !valid) return std::nullopt;
  return known;
}

Result<Grouping> GroupStoredRows(const StoredView& rows, const SearchOptions& options, const RankRows& rank,
                                 const PairSink& sink, std::size_t max_pairs) {
  return Grouper(rows, options, rank, sink, max_pairs).Run();
}

}  // namespace rrn::internal
