// The scan in stages against the plain double loop, byte by byte, and the bound of short rows.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "rrn/search.h"
#include "search/projection.h"
#include "search/rounded_rows.h"
#include "search/scanner.h"
#include "search/target.h"
#include "search/test_rows.h"

namespace rrn::internal {
namespace {

// Rows whose directions get weaker and weaker, as those of photos do, some of them near-copies of others.
std::vector<float> DecayingRows(std::size_t count, std::size_t dim, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> rows(count * dim);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t of = i == 0 ? 0 : random() % i;
    const float noise = std::ldexp(1.0F, -static_cast<int>(random() % 12));
    const bool copy = i > 0 && random() % 3 == 0;
    for (std::size_t d = 0; d < dim; ++d) {
      const float fresh = (d == 0 ? 0.4F : 0.0F) + normal(random) / (1.0F + 0.2F * static_cast<float>(d));
      rows[i * dim + d] = copy ? rows[of * dim + d] + noise * fresh : fresh;
    }
  }
  NormalizeRows(rows.data(), count, dim);
  return rows;
}

Neighbours DoubleLoop(const EmbeddingsView& rows, const EmbeddingsView& columns, float threshold, Columns which) {
  Neighbours found(rows.count);
  for (std::uint32_t i = 0; i < rows.count; ++i) {
    for (std::uint32_t j = which == Columns::kLater ? i + 1 : 0; j < columns.count; ++j) {
      const float similarity = CosineSimilarity(rows.data + i * rows.dim, columns.data + j * rows.dim, rows.dim);
      if (similarity > threshold) found[i].push_back({j, similarity});
    }
  }
  return found;
}

std::vector<std::uint32_t> Some(std::size_t count, std::uint32_t step) {
  std::vector<std::uint32_t> rows;
  for (std::uint32_t row = 0; row < count; row += step) rows.push_back(row);
  return rows;
}

// In stages, with a projection of the rows themselves, of others, or with none.
void CheckStages(const std::vector<float>& data, std::size_t dim, float threshold, const std::string& what) {
  const EmbeddingsView view{data.data(), data.size() / dim, dim};
  const EmbeddingsView left{view.data, view.count * 2 / 5, dim};
  const EmbeddingsView right{view.data + left.count * dim, view.count - left.count, dim};
  const Neighbours pairs = DoubleLoop(view, view, threshold, Columns::kLater);
  const Neighbours across = DoubleLoop(left, right, threshold, Columns::kAll);
  for (const SearchTarget& target : AvailableTargets()) {
    for (const std::size_t sample : {std::size_t{0}, std::size_t{2}, view.count}) {
      const std::string where = what + " dim " + std::to_string(dim) + " count " + std::to_string(view.count) +
                                " threshold " + std::to_string(threshold) + " sample " + std::to_string(sample) +
                                " target " + target.name;
      std::shared_ptr<const Projection> projection;
      if (sample > 0) {
        projection =
            std::make_shared<const Projection>(std::vector<EmbeddingsView>{view}, sample, kMediumDim, target.dot_tile);
      }
      Scanner whole(view, target);
      Scanner from(left, target);
      Scanner against(right, target);
      for (Scanner* scanner : {&whole, &from, &against}) ASSERT_TRUE(scanner->PrepareStages(2, projection).ok());
      Neighbours found;
      whole.Scan(Some(view.count, 1), threshold, Columns::kLater, &found);
      ASSERT_TRUE(Same(found, pairs)) << where << " pairs";
      found.clear();
      against.ScanRowsOf(from, Some(left.count, 1), threshold, Columns::kAll, &found);
      ASSERT_TRUE(Same(found, across)) << where << " across";
      found.clear();
      against.ScanRowsOf(from, Some(left.count, 3), threshold, Columns::kAll, &found);
      for (std::size_t i = 0; i < found.size(); ++i) {
        ASSERT_TRUE(Same(Neighbours{found[i]}, Neighbours{across[3 * i]})) << where << " some " << i;
      }
    }
  }
}

TEST(StagesTest, EqualTheDoubleLoop) {
  for (const std::size_t dim : {1U, 2U, 63U, 64U, 65U, 130U, 512U}) {
    for (const std::size_t count : {1U, 2U, 33U, 64U, 301U}) {
      const std::vector<float> rows = DecayingRows(count, dim, static_cast<std::uint32_t>(dim + count));
      for (const float threshold : {-2.0F, -1.0F, -0.3F, 0.0F, 0.5F, 0.75F, 0.95F, 0.999F}) {
        CheckStages(rows, dim, threshold, "decaying");
      }
    }
  }
}

TEST(StagesTest, ThresholdsAtExactSimilaritiesAndBesideThem) {
  const std::size_t dim = 200;
  const std::size_t count = 80;
  const std::vector<float> rows = DecayingRows(count, dim, 4);
  for (std::size_t i = 0; i < 12; ++i) {
    const float at = CosineSimilarity(&rows[i * dim], &rows[(i * i + i + 1) % count * dim], dim);
    for (const float threshold : {at, std::nextafter(at, -1.0F), std::nextafter(at, 1.0F)}) {
      CheckStages(rows, dim, threshold, "exact");
    }
  }
}

TEST(StagesTest, EqualRowsRowsInTheSpanAndRowsOutsideIt) {
  const std::size_t dim = 192;
  std::vector<float> rows(70 * dim, 0.0F);
  for (std::size_t i = 0; i < 70; ++i) {
    if (i < 20) {
      for (std::size_t d = 0; d < dim; ++d) rows[i * dim + d] = std::sin(static_cast<float>(d));  // all equal
    } else {
      rows[i * dim + i % 7] = 1;
      rows[i * dim + 100 + i] = i < 45 ? 0.0F : 0.6F;
    }
  }
  NormalizeRows(rows.data(), 70, dim);
  for (const float threshold : {-1.0F, 0.0F, 0.7F, 0.7352941F, 0.99999F, 1.0F}) {
    CheckStages(rows, dim, threshold, "span");
  }
}

TEST(StagesTest, ZerosAndRowsOfAnyMagnitude) {
  const std::size_t dim = 131;
  std::vector<float> rows = DecayingRows(90, dim, 11);
  const std::vector<float> magnitudes = {0.0F,  -0.0F,  1e-45F,  1e-38F, 1e-30F, 1e-19F, 1e-6F, 0.5F,
                                         -1.0F, 1.001F, 1000.0F, 1e6F,   1e7F,   1e19F,  1e30F, 3e38F};
  for (std::size_t i = 0; i < magnitudes.size(); ++i) {
    for (std::size_t d = 0; d < 2 * dim; ++d) rows[5 * i * dim + d] *= magnitudes[i];
  }
  rows[86 * dim + 3] = std::numeric_limits<float>::quiet_NaN();
  rows[87 * dim + 66] = std::numeric_limits<float>::infinity();
  rows[88 * dim] = -std::numeric_limits<float>::infinity();
  for (const float threshold : {-2.0F, -1.0F, -1e-44F, -0.0F, 0.0F, 1e-44F, 0.75F, 0.999F, 1.0F, 2.0F}) {
    CheckStages(rows, dim, threshold, "magnitudes");
  }
}

// Enough pairs are left over that a stage is skipped for some chunks.
TEST(StagesTest, ManySimilarRowsThenFew) {
  const std::size_t dim = 140;
  std::vector<float> rows = DecayingRows(2600, dim, 13);
  for (std::size_t i = 0; i < 700; ++i) rows[i * dim] += 3;
  NormalizeRows(rows.data(), 2600, dim);
  const EmbeddingsView view{rows.data(), 2600, dim};
  const Neighbours pairs = DoubleLoop(view, view, 0.75F, Columns::kLater);
  for (const SearchTarget& target : AvailableTargets()) {
    if (std::string(target.name) == "portable") continue;
    Scanner scanner(view, target);
    const auto projection =
        std::make_shared<const Projection>(std::vector<EmbeddingsView>{view}, 500, kMediumDim, target.dot_tile);
    ASSERT_TRUE(scanner.PrepareStages(2, projection).ok());
    Neighbours found;
    scanner.Scan(Some(view.count, 1), 0.75F, Columns::kLater, &found);
    ASSERT_TRUE(Same(found, pairs)) << target.name;
  }
}

// Of 2 x `pairs` rows in pairs, whether each pair's product is above all limits of its stages.
bool AllArePossible(const EmbeddingsView& view, const RoundedRows& rows, float threshold) {
  std::vector<std::int8_t> a(rows.depth());
  bool all = true;
  for (std::uint32_t first = 0; first + 1 < view.count; first += 2) {
    float limit = 0;
    rows.Limits(&first, 1, rows.bound(first / RoundedRows::kChunk), &threshold, &limit);
    rows.Unpack(first, false, a.data());
    std::int32_t product = 0;
    for (std::size_t d = 0; d < rows.depth(); ++d) {
      const std::size_t second = first + 1;
      const std::int8_t* packed =
          rows.packed(second / kFilterRows * kFilterRows) + second % kFilterRows / kPackRows * kPackRows * rows.depth();
      product += a[d] * packed[d / 4 * 4 * kPackRows + second % kPackRows * 4 + d % 4];
    }
    all = all && !(static_cast<float>(product) * *rows.scales(first + 1) <= limit);
  }
  return all;
}

// A threshold just below the similarity of two rows must not exclude them. The pairs are such that every term of the
// bound matters: the rest (rows outside the span, whose short rows without it are zeros), what rounding to 8 bits
// leaves (equal rows), and the roundings of the short rows themselves (equal rows inside the span).
TEST(StagesTest, NoPairIsExcludedAtItsOwnSimilarity) {
  const std::size_t dim = 160;
  const std::vector<float> base = DecayingRows(40, dim, 21);
  for (const std::size_t sample : {3U, 40U}) {
    const Projection projection({{base.data(), 40, dim}}, sample, kMediumDim, DotTilePortable);
    const auto shared = std::make_shared<const Projection>(projection);
    for (std::size_t i = 0; i < 40; ++i) {
      std::vector<float> two(base.begin() + static_cast<std::ptrdiff_t>(i * dim),
                             base.begin() + static_cast<std::ptrdiff_t>((i + 1) * dim));
      two.insert(two.end(), two.begin(), two.end());
      const EmbeddingsView view{two.data(), 2, dim};
      RoundedRows rows(view, shared, RoundedRows::Layout::kPacked, false);
      RoundedRows medium(view, shared, RoundedRows::Layout::kRowByRow, false);
      ASSERT_TRUE(RoundedRows::PrepareShort(1, &rows, &medium).ok());
      const float similarity = CosineSimilarity(two.data(), two.data() + dim, dim);
      EXPECT_TRUE(AllArePossible(view, rows, std::nextafter(similarity, -1.0F))) << sample << ' ' << i;
    }
  }
}

// x.y <= u.v for the short rows, up to their error; and without the rest it is not so.
TEST(ProjectionTest, ProductsOfShortRowsBoundThoseOfRows) {
  const std::size_t dim = 300;
  const std::size_t count = 60;
  const std::vector<float> rows = DecayingRows(count, dim, 31);
  for (const std::size_t sample : {1U, 5U, 60U}) {
    const Projection projection({{rows.data(), count, dim}}, sample, kMediumDim, DotTilePortable);
    std::vector<float> products(count * projection.directions());
    projection.Multiply(rows.data(), count, products.data());
    for (const std::size_t size : {kShortDim, kMediumDim}) {
      std::vector<float> short_rows(count * size);
      projection.Shorten(rows.data(), products.data(), count, size, short_rows.data());
      bool some_need_the_rest = false;
      for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t j = 0; j < count; ++j) {
          double exact = 0;
          double bound = 0;
          double inside = 0;
          for (std::size_t d = 0; d < dim; ++d) exact += static_cast<double>(rows[i * dim + d]) * rows[j * dim + d];
          for (std::size_t d = 0; d < size; ++d) {
            bound += static_cast<double>(short_rows[i * size + d]) * short_rows[j * size + d];
          }
          const std::size_t directions = std::min(projection.directions(), size - 1);
          for (std::size_t d = 0; d < directions; ++d) {
            inside += static_cast<double>(products[i * projection.directions() + d]) *
                      products[j * projection.directions() + d];
          }
          EXPECT_LE(exact, bound + projection.error()) << sample << ' ' << size << ' ' << i << ' ' << j;
          some_need_the_rest = some_need_the_rest || exact > inside + projection.error();
        }
      }
      EXPECT_TRUE(some_need_the_rest) << sample << ' ' << size;
    }
  }
}

TEST(ProjectionTest, ShortRowsAreAsLongAsTheRows) {
  const std::size_t dim = 512;
  const std::vector<float> rows = DecayingRows(20, dim, 5);
  const Projection projection({{rows.data(), 20, dim}}, 10, kMediumDim, DotTilePortable);
  std::vector<float> products(20 * projection.directions());
  projection.Multiply(rows.data(), 20, products.data());
  std::vector<float> short_rows(20 * kShortDim);
  projection.Shorten(rows.data(), products.data(), 20, kShortDim, short_rows.data());
  for (std::size_t i = 0; i < 20; ++i) {
    const double squares = SquaredLength(&short_rows[i * kShortDim], kShortDim);
    EXPECT_NEAR(squares, 1.0, 1e-3) << i;
    // The rest is raised by more than what the errors of the products can have taken from it.
    EXPECT_GE(squares, 1.0 + 2 * std::sqrt(128.0) * SumError(dim)) << i;
  }
}

// Roundings are far smaller than what they may be, so no rows show that this is too little.
TEST(ProjectionTest, TheErrorCoversAllItsTerms) {
  for (const std::size_t dim : {1U, 512U, 64000U}) {
    const std::vector<float> rows = DecayingRows(2, dim, 5);
    const Projection projection({{rows.data(), 2, dim}}, 2, kMediumDim, DotTilePortable);
    const double h = std::sqrt(128.0) * SumError(dim) + 1e-6;
    EXPECT_GE(projection.error(), SumError(dim) + 2 * h + h * h) << dim;
    EXPECT_LE(projection.error(), 1.1 * (SumError(dim) + 2 * h + h * h)) << dim;
  }
}

TEST(ProjectionTest, IsTheSameForEveryTarget) {
  const std::size_t dim = 150;
  const std::vector<float> rows = DecayingRows(300, dim, 6);
  std::vector<float> expected;
  for (const SearchTarget& target : AvailableTargets()) {
    const Projection projection({{rows.data(), 300, dim}}, 200, kMediumDim, target.dot_tile);
    std::vector<float> products(300 * projection.directions());
    projection.Multiply(rows.data(), 300, products.data());
    if (expected.empty()) expected = products;
    EXPECT_EQ(products, expected) << target.name;
  }
}

TEST(ProjectionTest, IsChosenForDecayingRowsOnly) {
  const std::size_t dim = 160;
  const std::size_t count = 8192;
  std::vector<float> rows = DecayingRows(count, dim, 7);
  const EmbeddingsView view{rows.data(), count, dim};
  const auto choose = [&](const EmbeddingsView& some, float threshold) {
    return ChooseProjection(some, some, threshold, false, 0.2, DotTilePortable) != nullptr;
  };
  EXPECT_TRUE(choose(view, 0.9F));
  EXPECT_FALSE(choose(view, -0.9F)) << "nearly all pairs would be left over";
  EXPECT_FALSE(choose({rows.data(), count - 1, dim}, 0.9F)) << "too few rows";
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  for (float& value : rows) value = normal(random);
  NormalizeRows(rows.data(), count, dim);
  EXPECT_FALSE(choose(view, 0.5F)) << "without principal directions";
}

// Through the public functions, for all ways to use short rows.
TEST(ShortRowsTest, ChangeNoResult) {
  const std::size_t dim = 160;
  const std::size_t count = 8300;
  const std::vector<float> rows = DecayingRows(count, dim, 9);
  const EmbeddingsView view{rows.data(), count, dim};
  const EmbeddingsView few{rows.data(), 200, dim};
  SearchOptions options = With(0.97F, 2);
  options.short_rows = ShortRows::kNever;
  const std::vector<SimilarPair> pairs = AllPairs(view, options);
  EXPECT_GT(pairs.size(), 1000U);
  const Result<Neighbours> nearest = FindNearest(few, view, 5, options);
  const Result<Grouping> grouping = GroupRows(view, options);
  for (const ShortRows way : {ShortRows::kSampled, ShortRows::kAlways}) {
    options.short_rows = way;
    EXPECT_TRUE(Same(AllPairs(view, options), pairs));
    EXPECT_TRUE(Same(*FindNearest(few, view, 5, options), *nearest));
    const Result<Grouping> again = GroupRows(view, options);
    EXPECT_EQ(again->similar, grouping->similar);
    EXPECT_EQ(again->groups.size(), grouping->groups.size());
    std::vector<SimilarPair> across;
    EXPECT_TRUE(FindPairs(few, view, options, CollectInto(&across)).ok());
    SearchOptions plain = options;
    plain.short_rows = ShortRows::kNever;
    std::vector<SimilarPair> expected;
    EXPECT_TRUE(FindPairs(few, view, plain, CollectInto(&expected)).ok());
    EXPECT_TRUE(Same(across, expected));
  }
}

// The kernel that adds in 16 bits, on rows that reach its limits.
TEST(NarrowKernelTest, FlagsExactlyWhatItShould) {
  std::mt19937 random(18);
  for (const SearchTarget& target : AvailableTargets()) {
    if (target.filter.run_narrow == nullptr) continue;
    std::vector<std::int8_t> a(kFilterRows * kFilterDepth);
    alignas(64) static std::int8_t b[kFilterRows * kFilterDepth];
    std::vector<std::vector<std::int32_t>> products(kFilterRows, std::vector<std::int32_t>(kFilterRows, 0));
    for (std::size_t i = 0; i < kFilterRows; ++i) {
      for (std::size_t d = 0; d < kFilterDepth; ++d) {
        // Halves of 125 and 252 steps, with large numbers of one sign beside each other.
        const int left = i < 2 ? 22 : static_cast<int>(random() % 43) - 21;
        a[i * kFilterDepth + d] = static_cast<std::int8_t>((i == 1 ? -left : left) + kNarrowOffset);
      }
      if (i == 2) {
        for (std::size_t d = 0; d < 4; ++d) a[i * kFilterDepth + d] = static_cast<std::int8_t>(63 + kNarrowOffset);
      }
    }
    for (std::size_t j = 0; j < kFilterRows; ++j) {
      for (std::size_t d = 0; d < kFilterDepth; ++d) {
        int value = j < 2 ? 44 : static_cast<int>(random() % 87) - 43;
        if (j == 1) value = -value;
        if (j == 3) value = d < 4 ? 127 : 0;
        b[j / kPackRows * kPackRows * kFilterDepth + d / 4 * 4 * kPackRows + j % kPackRows * 4 + d % 4] =
            static_cast<std::int8_t>(value);
        for (std::size_t i = 0; i < kFilterRows; ++i) {
          products[i][j] += (a[i * kFilterDepth + d] - kNarrowOffset) * value;
        }
      }
    }
    const std::vector<float> scales(kFilterRows, 0.5F);
    std::vector<float> limits(kFilterRows);
    for (std::size_t i = 0; i < kFilterRows; ++i) {
      limits[i] = static_cast<float>(products[i][(i + 7) % kFilterRows]) * 0.5F;
    }
    std::vector<std::uint32_t> flags(kFilterRows, 0xdeadbeef);
    FilterBlock block{a.data(), b, kFilterDepth, nullptr, scales.data(), limits.data(), flags.data()};
    target.filter.run_narrow(block);
    for (std::size_t i = 0; i < kFilterRows; ++i) {
      for (std::size_t j = 0; j < kFilterRows; ++j) {
        const bool expected = static_cast<float>(products[i][j]) * 0.5F > limits[i];
        EXPECT_EQ((flags[i] >> j & 1U) != 0, expected) << target.name << ' ' << i << ' ' << j;
      }
    }
    const std::vector<std::uint32_t> before = flags;
    block.rows = 5;
    target.filter.run_narrow(block);
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(flags[i], before[i]);
  }
}

}  // namespace
}  // namespace rrn::internal
