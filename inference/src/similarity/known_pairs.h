// Groups of rows in a store, from the pairs that an earlier run found: only rows that are new are compared.
#ifndef RRN_SIMILARITY_KNOWN_PAIRS_H_
#define RRN_SIMILARITY_KNOWN_PAIRS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "rrn/search.h"
#include "rrn/status.h"
#include "rrn/store.h"

namespace rrn::internal {

// Up to this many pairs of a store are kept: 48 MB.
inline constexpr std::size_t kMostKnownPairs = 4'000'000;

// Pairs above `threshold` among rows that were all compared with each other. A slot's row never changes, so the pairs
// of two slots stay true as long as the slots do.
struct KnownPairs {
  float threshold = 0;
  std::vector<std::uint64_t> slots;  // ascending
  std::vector<SimilarPair> pairs;    // positions in `slots`, first < second
};

// As derived data of a store, in this machine's byte order.
std::vector<std::uint8_t> EncodePairs(const KnownPairs& known);

// Empty where that is not what EncodePairs wrote.
std::optional<KnownPairs> DecodePairs(const std::vector<std::uint8_t>& bytes);

// The rows to group, and where they are stored.
struct StoredView {
  EmbeddingsView unit;
  const std::vector<std::uint64_t>* slots = nullptr;  // one for each row, or kNotStored
  Store* store = nullptr;
  ColumnKey key;
};

// As GroupRows with the exact search, with the same result. What the store knows of pairs is used and brought up to
// date; up to `max_pairs` are kept. Errors: those of GroupRows; the store has none, because it is of use only.
Result<Grouping> GroupStoredRows(const StoredView& rows, const SearchOptions& options, const RankRows& rank,
                                 const PairSink& sink, std::size_t max_pairs);

}  // namespace rrn::internal

#endif  // RRN_SIMILARITY_KNOWN_PAIRS_H_
