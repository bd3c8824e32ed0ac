// Rows for the tests of the search, and comparisons of what is found among them, bit for bit.
#ifndef RRN_SEARCH_TEST_ROWS_H_
#define RRN_SEARCH_TEST_ROWS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "rrn/search.h"

namespace rrn {

inline SearchOptions With(float threshold, int threads = 1) {
  SearchOptions options;
  options.threshold = threshold;
  options.threads = threads;
  return options;
}

// Rows around a few centres, so that some pairs are similar.
inline std::vector<float> MakeRows(std::size_t count, std::size_t dim, std::uint32_t seed, float noise = 0.4F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const std::size_t centres = count / 5 + 1;
  std::vector<float> centre(centres * dim);
  for (float& v : centre) v = normal(random);
  std::vector<float> rows(count * dim);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t c = random() % centres;
    for (std::size_t d = 0; d < dim; ++d) rows[i * dim + d] = centre[c * dim + d] + noise * normal(random);
  }
  NormalizeRows(rows.data(), count, dim);
  return rows;
}

inline std::vector<float> OnCircle(const std::vector<float>& degrees) {
  std::vector<float> rows;
  for (const float d : degrees) {
    rows.push_back(std::cos(d * 3.14159265F / 180));
    rows.push_back(std::sin(d * 3.14159265F / 180));
  }
  return rows;
}

// Appends pairs to a list.
inline PairSink CollectInto(std::vector<SimilarPair>* pairs) {
  return [pairs](const SimilarPair* found, std::size_t count) {
    pairs->insert(pairs->end(), found, found + count);
    return true;
  };
}

inline std::vector<SimilarPair> AllPairs(const EmbeddingsView& rows, const SearchOptions& options) {
  std::vector<SimilarPair> pairs;
  const Status status = FindPairs(rows, options, CollectInto(&pairs));
  EXPECT_TRUE(status.ok()) << status.message();
  return pairs;
}

inline std::vector<SimilarPair> AllPairs(const std::vector<float>& rows, std::size_t dim, float threshold,
                                         int threads) {
  return AllPairs({rows.data(), rows.size() / dim, dim}, With(threshold, threads));
}

// The bits of a float: unlike ==, they tell -0 from 0.
inline std::uint32_t Bits(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline bool Same(const std::vector<SimilarPair>& a, const std::vector<SimilarPair>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const SimilarPair& x, const SimilarPair& y) {
    return x.first == y.first && x.second == y.second && Bits(x.similarity) == Bits(y.similarity);
  });
}

inline bool Same(const Neighbours& a, const Neighbours& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const Neighbour& m, const Neighbour& n) {
      return m.index == n.index && Bits(m.similarity) == Bits(n.similarity);
    });
  });
}

}  // namespace rrn

#endif  // RRN_SEARCH_TEST_ROWS_H_
