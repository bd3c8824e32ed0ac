// Every target of this machine against the plain double loop, byte by byte.
#include "search/scanner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "rrn/search.h"
#include "search/target.h"
#include "search/test_rows.h"

#ifdef __linux__
#include <csignal>
#endif

namespace rrn::internal {
namespace {

std::vector<std::uint32_t> AllRows(std::size_t count) {
  std::vector<std::uint32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0U);
  return rows;
}

Neighbours DoubleLoop(const EmbeddingsView& e, float threshold, const std::vector<std::uint32_t>& rows,
                      Columns columns) {
  Neighbours found(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::uint32_t j = columns == Columns::kLater ? rows[i] + 1 : 0; j < e.count; ++j) {
      if (j == rows[i]) continue;
      const float similarity = CosineSimilarity(e.data + rows[i] * e.dim, e.data + j * e.dim, e.dim);
      if (similarity > threshold) found[i].push_back({j, similarity});
    }
  }
  return found;
}

void ExpectSame(const Neighbours& got, const Neighbours& expected, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].size(), expected[i].size()) << what << " row " << i;
    for (std::size_t k = 0; k < got[i].size(); ++k) {
      ASSERT_EQ(got[i][k].index, expected[i][k].index) << what << " row " << i;
      ASSERT_EQ(Bits(got[i][k].similarity), Bits(expected[i][k].similarity)) << what << " row " << i;
    }
  }
}

Neighbours DoubleLoopAcross(const EmbeddingsView& rows, const EmbeddingsView& columns, float threshold) {
  Neighbours found(rows.count);
  for (std::size_t i = 0; i < rows.count; ++i) {
    for (std::uint32_t j = 0; j < columns.count; ++j) {
      const float similarity = CosineSimilarity(rows.data + i * rows.dim, columns.data + j * rows.dim, rows.dim);
      if (similarity > threshold) found[i].push_back({j, similarity});
    }
  }
  return found;
}

// `target`, for all and for every third of `rows` against `columns`.
void CheckAcross(const EmbeddingsView& rows, const EmbeddingsView& columns, float threshold, const SearchTarget& target,
                 const std::string& where) {
  const Neighbours expected = DoubleLoopAcross(rows, columns, threshold);
  Scanner from(rows, target);
  Scanner against(columns, target);
  ASSERT_TRUE(from.Prepare(2).ok());
  ASSERT_TRUE(against.Prepare(2).ok());
  Neighbours found;
  against.ScanRowsOf(from, AllRows(rows.count), threshold, Columns::kAll, &found);
  ExpectSame(found, expected, where + " across");
  std::vector<std::uint32_t> some;
  Neighbours expected_some;
  for (std::uint32_t row = 1; row < rows.count; row += 3) {
    some.push_back(row);
    expected_some.push_back(expected[row]);
  }
  found.clear();
  against.ScanRowsOf(from, some, threshold, Columns::kAll, &found);
  ExpectSame(found, expected_some, where + " some across");
}

// Every target, for pairs, for neighbours of a few rows, and for the two parts of the rows against each other.
void CheckAllTargets(const std::vector<float>& rows, std::size_t dim, float threshold, const std::string& what) {
  const EmbeddingsView view{rows.data(), rows.size() / dim, dim};
  const std::vector<std::uint32_t> all = AllRows(view.count);
  std::vector<std::uint32_t> some;
  for (std::uint32_t row = 0; row < view.count; row += 3) some.push_back(row);
  const Neighbours pairs = DoubleLoop(view, threshold, all, Columns::kLater);
  const Neighbours neighbours = DoubleLoop(view, threshold, some, Columns::kOthers);
  for (const SearchTarget& target : AvailableTargets()) {
    const std::string where = what + " dim " + std::to_string(dim) + " count " + std::to_string(view.count) +
                              " threshold " + std::to_string(threshold) + " target " + target.name;
    Scanner scanner(view, target);
    ASSERT_TRUE(scanner.Prepare(2).ok());
    Neighbours found;
    scanner.Scan(all, threshold, Columns::kLater, &found);
    ExpectSame(found, pairs, where + " pairs");
    found.clear();
    scanner.Scan(some, threshold, Columns::kOthers, &found);
    ExpectSame(found, neighbours, where + " neighbours");
    const std::size_t split = view.count * 2 / 5;
    const EmbeddingsView left{rows.data(), split, dim};
    const EmbeddingsView right{rows.data() + split * dim, view.count - split, dim};
    CheckAcross(left, right, threshold, target, where + " left");
    CheckAcross(right, left, threshold, target, where + " right");
  }
}

std::vector<float> RandomRows(std::size_t count, std::size_t dim, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> rows(count * dim);
  for (float& v : rows) v = normal(random);
  return rows;
}

// Near-duplicates of a few rows, from bit-identical to clearly different, so that similarities lie on both sides of
// any threshold and some very close to it.
std::vector<float> NearDuplicates(std::size_t count, std::size_t dim, std::uint32_t seed) {
  std::vector<float> rows = RandomRows(count, dim, seed);
  std::mt19937 random(seed + 1);
  for (std::size_t i = 1; i < count; ++i) {
    if (random() % 3 == 0) continue;
    const std::size_t of = random() % i;
    const float noise = std::ldexp(1.0F, -static_cast<int>(random() % 25)) * static_cast<float>(random() % 3);
    for (std::size_t d = 0; d < dim; ++d) rows[i * dim + d] = rows[of * dim + d] + noise * rows[i * dim + d];
  }
  NormalizeRows(rows.data(), count, dim);
  return rows;
}

TEST(ScannerTest, EveryPathEqualsTheDoubleLoop) {
  for (const std::size_t dim : {1U, 7U, 63U, 64U, 65U, 512U, 513U}) {
    for (const std::size_t count : {0U, 1U, 2U, 31U, 32U, 33U, 64U, 65U, 300U}) {
      if (count == 300 && dim > 65 && dim != 512) continue;
      const std::vector<float> rows = NearDuplicates(count, dim, static_cast<std::uint32_t>(dim + count));
      for (const float threshold : {-1.0F, -0.3F, 0.0F, 0.75F, 0.999F}) CheckAllTargets(rows, dim, threshold, "random");
    }
  }
}

TEST(ScannerTest, ThresholdsAtExactSimilaritiesAndBesideThem) {
  const std::size_t dim = 130;
  const std::size_t count = 70;
  const std::vector<float> rows = NearDuplicates(count, dim, 4);
  for (std::size_t i = 0; i < 12; ++i) {
    const float at = CosineSimilarity(&rows[i * dim], &rows[(i * i + i + 1) % count * dim], dim);
    for (const float threshold : {at, std::nextafter(at, -1.0F), std::nextafter(at, 1.0F)}) {
      CheckAllTargets(rows, dim, threshold, "exact");
    }
  }
}

// The worst rows for rounding: nearly every element is half a step off, all errors have one sign, and point where the
// other row does. A bound without either of its two terms loses some of these pairs.
TEST(ScannerTest, RowsThatRoundBadly) {
  constexpr std::size_t kDim = 2048;
  const std::vector<float> steps = {0.499F, -0.499F, 0.501F, 1.499F, 2.499F, 3.499F, -3.499F, 3.501F};
  for (const float first : steps) {
    for (const float second : steps) {
      std::vector<float> rows;
      for (const float step : {first, second}) {
        rows.push_back(127);
        rows.insert(rows.end(), kDim - 1, step);
      }
      NormalizeRows(rows.data(), 2, kDim);
      const float similarity = CosineSimilarity(rows.data(), rows.data() + kDim, kDim);
      const std::string what = "steps " + std::to_string(first) + ' ' + std::to_string(second);
      CheckAllTargets(rows, kDim, std::nextafter(similarity, -1.0F), what);
      CheckAllTargets(rows, kDim, similarity, what);
    }
  }
}

TEST(ScannerTest, ZerosOneHotAndRowsOfAnyMagnitude) {
  const std::size_t dim = 67;
  std::vector<float> rows = NearDuplicates(90, dim, 11);
  const auto scale = [&](std::size_t row, float by) {
    for (std::size_t d = 0; d < dim; ++d) rows[row * dim + d] *= by;
  };
  const std::vector<float> magnitudes = {0.0F,  -0.0F,  1e-45F,  1e-38F, 1e-30F, 1e-19F, 1e-6F, 0.5F,
                                         -1.0F, 1.001F, 1000.0F, 1e6F,   1e7F,   1e19F,  1e30F, 3e38F};
  for (std::size_t i = 0; i < magnitudes.size(); ++i) {
    scale(5 * i, magnitudes[i]);
    scale(5 * i + 1, magnitudes[i]);
  }
  for (std::size_t row = 81; row < 86; ++row) {
    for (std::size_t d = 0; d < dim; ++d) rows[row * dim + d] = d == row % 2 ? 1.0F : 0.0F;
  }
  rows[86 * dim + 3] = std::numeric_limits<float>::quiet_NaN();
  rows[87 * dim + 66] = std::numeric_limits<float>::infinity();
  rows[88 * dim] = -std::numeric_limits<float>::infinity();
  for (const float threshold : {-2.0F, -1.0F, -1e-44F, -0.0F, 0.0F, 1e-44F, 0.75F, 0.999F, 1.0F, 2.0F}) {
    CheckAllTargets(rows, dim, threshold, "magnitudes");
  }
}

// There are enough similar pairs that the filter is left out for some chunks, and is tried again later.
TEST(ScannerTest, ManySimilarRowsThenFew) {
  const std::size_t dim = 16;
  std::vector<float> rows = RandomRows(2600, dim, 13);
  for (std::size_t i = 0; i < 400; ++i) {
    for (std::size_t d = 0; d < dim; ++d) rows[i * dim + d] = 3 + rows[i * dim + d];
  }
  NormalizeRows(rows.data(), 2600, dim);
  CheckAllTargets(rows, dim, 0.75F, "dense");
}

// Longer than the filter takes.
TEST(ScannerTest, VeryLongRows) {
  const std::size_t dim = 64001;
  CheckAllTargets(NearDuplicates(6, dim, 3), dim, 0.75F, "long");
  CheckAllTargets(NearDuplicates(6, dim - 1, 3), dim - 1, 0.75F, "long");
}

TEST(ScannerTest, KernelsFlagExactlyWhatTheyShould) {
  const std::size_t depth = 512;
  std::vector<std::int8_t> bytes(2 * kFilterRows * depth);
  std::mt19937 random(18);
  for (std::int8_t& b : bytes) b = static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
  bytes[0] = bytes[1] = bytes[kFilterRows * depth] = 127;
  bytes[2] = bytes[kFilterRows * depth + 2] = -127;
  // The expected flags from plain sums of the packed form.
  for (const SearchTarget& target : AvailableTargets()) {
    if (target.filter.run == nullptr) continue;
    std::vector<std::int8_t> a(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(kFilterRows * depth));
    alignas(64) static std::int8_t b[kFilterRows * 512];
    std::vector<std::int32_t> sums(kFilterRows, 0);
    std::vector<std::vector<std::int32_t>> products(kFilterRows, std::vector<std::int32_t>(kFilterRows, 0));
    for (std::size_t j = 0; j < kFilterRows; ++j) {
      for (std::size_t d = 0; d < depth; ++d) {
        const std::int8_t value = bytes[(kFilterRows + j) * depth + d];
        b[j / kPackRows * kPackRows * depth + d / 4 * 4 * kPackRows + j % kPackRows * 4 + d % 4] = value;
        sums[j] += value;
        for (std::size_t i = 0; i < kFilterRows; ++i) products[i][j] += a[i * depth + d] * value;
      }
    }
    if (target.filter.offset) {
      for (std::int8_t& v : a) v = static_cast<std::int8_t>(static_cast<unsigned char>(v) ^ 0x80U);
    }
    std::vector<float> scales(kFilterRows);
    std::vector<float> limits(kFilterRows);
    for (std::size_t i = 0; i < kFilterRows; ++i) {
      scales[i] = i == 5 ? std::numeric_limits<float>::quiet_NaN() : 0.25F * static_cast<float>(i);
      // Some limits are met exactly: the test is strict.
      limits[i] = static_cast<float>(products[i][(i + 7) % kFilterRows]) * scales[(i + 7) % kFilterRows];
      if (i == 9) limits[i] = std::numeric_limits<float>::infinity();
      if (i == 10) limits[i] = -std::numeric_limits<float>::infinity();
    }
    std::vector<std::uint32_t> flags(kFilterRows, 0xdeadbeef);
    if (target.filter.enter != nullptr) target.filter.enter();
    const bool any = target.filter.run({a.data(), b, depth, sums.data(), scales.data(), limits.data(), flags.data()});
    if (target.filter.leave != nullptr) target.filter.leave();
    EXPECT_TRUE(any);
    for (std::size_t i = 0; i < kFilterRows; ++i) {
      for (std::size_t j = 0; j < kFilterRows; ++j) {
        const bool expected = !(static_cast<float>(products[i][j]) * scales[j] <= limits[i]);
        EXPECT_EQ((flags[i] >> j & 1U) != 0, expected) << target.name << ' ' << i << ' ' << j;
      }
    }
  }
}

TEST(TargetTest, EndsWithTheTargetsOfEveryMachine) {
  const std::vector<SearchTarget>& targets = AvailableTargets();
  ASSERT_GE(targets.size(), 2U);
  EXPECT_EQ(std::string(targets[targets.size() - 2].name), "float32");
  EXPECT_EQ(std::string(targets.back().name), "portable");
}

TEST(TargetTest, TheOptionsChoose) {
  EXPECT_EQ(std::string(ChooseTarget("")->name), AvailableTargets().front().name);
  std::vector<std::string> names;
  for (const SearchTarget& target : AvailableTargets()) {
    names.emplace_back(target.name);
    const Result<SearchTarget> chosen = ChooseTarget(target.name);
    ASSERT_TRUE(chosen.ok());
    EXPECT_EQ(std::string(chosen->name), target.name);
  }
  EXPECT_EQ(SearchTargets(), names);
}

TEST(TargetTest, AnotherOneIsRefusedEverywhere) {
  SearchOptions options;
  options.target = "warp";
  const float row = 1;
  const EmbeddingsView view{&row, 1, 1};
  const PairSink sink = [](const SimilarPair*, std::size_t) { return true; };
  const Status status = CheckSearchOptions(options);
  EXPECT_NE(status.message().find("'warp'"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("portable"), std::string::npos) << status.message();
  for (const Status& refused : {status, FindPairs(view, options, sink), FindPairs(view, view, options, sink),
                                FindNearest(view, 1, options).status(), FindNearest(view, view, 1, options).status(),
                                GroupRows(view, options).status(), GroupRows(view, view, options).status()}) {
    EXPECT_EQ(refused.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(refused.message(), status.message());
  }
}

// What an environment says does not change how a library searches.
TEST(TargetTest, TheEnvironmentIsNotRead) {
  ASSERT_EQ(setenv("RRN_SEARCH_PATH", "warp", 1), 0);
  EXPECT_TRUE(CheckSearchOptions({}).ok());
  ASSERT_EQ(unsetenv("RRN_SEARCH_PATH"), 0);
}

#ifdef __linux__
// The system hands out the matrix unit only if every thread's signal stack can hold its registers. A fresh process, in
// which has not been requested yet, with a small one must do without it, silently.
void SearchWithoutMatrixUnit() {
  static char small[4096];
  stack_t stack = {};
  stack.ss_sp = small;
  stack.ss_size = sizeof small;
  if (sigaltstack(&stack, nullptr) != 0) std::_Exit(0);  // this system does not even allow such a stack
  for (const SearchTarget& target : AvailableTargets()) {
    if (std::string(target.name) == "amx") std::_Exit(1);
  }
  const std::vector<float> rows = NearDuplicates(100, 64, 3);
  const EmbeddingsView view{rows.data(), 100, 64};
  Scanner scanner(view, AvailableTargets().front());
  if (!scanner.Prepare(1).ok()) std::_Exit(2);
  Neighbours found;
  scanner.Scan(AllRows(100), 0.75F, Columns::kLater, &found);
  ExpectSame(found, DoubleLoop(view, 0.75F, AllRows(100), Columns::kLater), "without");
  std::_Exit(::testing::Test::HasFailure() ? 3 : 0);
}

TEST(TargetDeathTest, DoesWithoutTheMatrixUnitWhereItIsRefused) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(SearchWithoutMatrixUnit(), ::testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace rrn::internal
