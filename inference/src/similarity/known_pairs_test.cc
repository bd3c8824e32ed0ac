#include "similarity/known_pairs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "rrn/search.h"
#include "rrn/similarity.h"
#include "rrn/store.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

using internal::DecodePairs;
using internal::EncodePairs;
using internal::GroupStoredRows;
using internal::KnownPairs;
using test_support::TemporaryFolder;

constexpr std::size_t kDim = 8;  // so short that many rows are similar
constexpr std::size_t kAll = 1'000'000;

std::vector<float> MakeRows(std::size_t count) {
  std::mt19937 random(5);  // NOLINT(cert-msc51-cpp): the same rows each time
  std::normal_distribution<float> normal;
  std::vector<float> rows(count * kDim);
  for (float& value : rows) value = normal(random);
  NormalizeRows(rows.data(), count, kDim);
  return rows;
}

bool operator==(const Grouping& a, const Grouping& b) {
  const auto same_members = [](const Neighbour& x, const Neighbour& y) {
    return x.index == y.index && x.similarity == y.similarity;
  };
  return a.unique == b.unique && a.similar == b.similar &&
         std::equal(
             a.groups.begin(), a.groups.end(), b.groups.begin(), b.groups.end(), [&](const Group& x, const Group& y) {
               return x.representative == y.representative &&
                      std::equal(x.members.begin(), x.members.end(), y.members.begin(), y.members.end(), same_members);
             });
}

class KnownPairsTest : public testing::Test {
 protected:
  static constexpr std::size_t kRows = 400;

  KnownPairsTest() : rows_(MakeRows(kRows)) {
    Result<Store> store = Store::Open(place_.Sub("s"));
    EXPECT_TRUE(store.ok()) << store.status().message();
    store_.emplace(*std::move(store));
    key_.fingerprint = "f";
    key_.dim = kDim;
    std::vector<StoredFile> files(kRows);
    for (std::size_t i = 0; i < kRows; ++i) files[i].path = "/" + std::to_string(1000 + i);
    EXPECT_TRUE(store_->Add(key_, files, rows_.data(), &slots_).ok());
  }

  // Groups rows [begin, end) through the store and compares with GroupRows. Returns in how many jobs rows were compared
  // with others: see Jobs.
  std::size_t Check(std::size_t begin, std::size_t end, float threshold, std::size_t max_pairs = kAll) {
    const EmbeddingsView unit{rows_.data() + begin * kDim, end - begin, kDim};
    const std::vector<std::uint64_t> slots(slots_.begin() + static_cast<std::ptrdiff_t>(begin),
                                           slots_.begin() + static_cast<std::ptrdiff_t>(end));
    std::vector<SimilarPair> expected_pairs;
    std::vector<SimilarPair> pairs;
    const auto collect = [](std::vector<SimilarPair>* to) {
      return [to](const SimilarPair* found, std::size_t count) {
        to->insert(to->end(), found, found + count);
        return true;
      };
    };
    SearchOptions options;
    options.threshold = threshold;
    const Result<Grouping> expected = GroupRows(unit, options, {}, collect(&expected_pairs));
    std::size_t compared = 0;
    options.progress = [&compared](std::size_t done, std::size_t /*total*/) {
      compared = done;
      return true;
    };
    const Result<Grouping> found =
        GroupStoredRows({unit, &slots, &*store_, key_}, options, {}, collect(&pairs), max_pairs);
    EXPECT_TRUE(expected.ok() && found.ok());
    EXPECT_TRUE(*expected == *found);
    EXPECT_EQ(pairs.size(), expected_pairs.size());
    for (std::size_t i = 0; i < pairs.size() && i < expected_pairs.size(); ++i) {
      EXPECT_EQ(pairs[i].first, expected_pairs[i].first);
      EXPECT_EQ(pairs[i].second, expected_pairs[i].second);
      EXPECT_EQ(pairs[i].similarity, expected_pairs[i].similarity);
    }
    return compared;
  }

  const TemporaryFolder place_;
  const std::vector<float> rows_;
  std::optional<Store> store_;
  ColumnKey key_;
  std::vector<std::uint64_t> slots_;
};

// The search takes so few rows in jobs of 32.
std::size_t Jobs(std::size_t rows) { return (rows + 31) / 32; }

TEST_F(KnownPairsTest, OnlyNewRowsAreCompared) {
  EXPECT_EQ(Check(0, 340, 0.5F), Jobs(340));
  EXPECT_EQ(Check(0, 340, 0.5F), 0U);
  EXPECT_EQ(Check(0, kRows, 0.5F), Jobs(60));
  EXPECT_EQ(Check(0, kRows, 0.5F), 0U);
  EXPECT_EQ(Check(0, kRows, 0.7F), 0U);
  EXPECT_EQ(Check(10, 330, 0.7F), 0U);
}

TEST_F(KnownPairsTest, ALowerThresholdComparesAll) {
  Check(0, kRows, 0.5F);
  EXPECT_EQ(Check(0, kRows, 0.3F), Jobs(kRows));
  EXPECT_EQ(Check(0, kRows, 0.5F), 0U);
}

TEST_F(KnownPairsTest, MostlyNewRowsAreAllCompared) {
  Check(0, 150, 0.5F);
  EXPECT_EQ(Check(0, kRows, 0.5F), Jobs(kRows));
}

TEST_F(KnownPairsTest, RowsThatAreGoneAreLetGo) {
  Check(0, kRows, 0.5F);
  EXPECT_EQ(Check(0, 100, 0.5F), 0U);
  EXPECT_EQ(Check(0, 100, 0.5F), 0U);
  EXPECT_EQ(Check(80, 180, 0.5F), Jobs(100)) << "80 of the 100 are new";
}

TEST_F(KnownPairsTest, TooManyPairsAreNotKept) {
  EXPECT_EQ(Check(0, kRows, -0.5F, 100), Jobs(kRows));
  EXPECT_EQ(Check(0, kRows, -0.5F, 100), Jobs(kRows));
  Check(0, 340, -0.5F);
  EXPECT_EQ(Check(0, kRows, -0.5F, 100), Jobs(kRows));
}

TEST_F(KnownPairsTest, RowsThatAreNotStoredAreCompared) {
  Check(0, kRows, 0.5F);
  slots_[7] = kNotStored;
  slots_[9] = slots_[8];  // one file under two names
  EXPECT_EQ(Check(0, kRows, 0.5F), Jobs(2));
  EXPECT_EQ(Check(0, kRows, 0.5F), Jobs(2));
}

TEST_F(KnownPairsTest, TheSinkCanCancel) {
  Check(0, kRows, 0.5F);
  const std::vector<std::uint64_t> slots = slots_;
  const auto refuse = [](const SimilarPair* /*pairs*/, std::size_t /*count*/) { return false; };
  SearchOptions options;
  options.threshold = 0.5F;
  const Result<Grouping> found =
      GroupStoredRows({{rows_.data(), kRows, kDim}, &slots, &*store_, key_}, options, {}, refuse, kAll);
  EXPECT_EQ(found.status().code(), StatusCode::kCancelled);
}

TEST(EncodePairsTest, ComesBackAndRefusesWhatIsDamaged) {
  const KnownPairs known{0.25F, {3, 5, 1000}, {{0, 1, 0.5F}, {1, 2, 0.75F}}};
  const std::vector<std::uint8_t> bytes = EncodePairs(known);
  const std::optional<KnownPairs> back = DecodePairs(bytes);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->threshold, known.threshold);
  EXPECT_EQ(back->slots, known.slots);
  ASSERT_EQ(back->pairs.size(), 2U);
  EXPECT_EQ(back->pairs[1].second, 2U);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodePairs({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}).has_value()) << size;
  }
  EXPECT_FALSE(DecodePairs(EncodePairs({0, {5, 3}, {}})).has_value());
  EXPECT_FALSE(DecodePairs(EncodePairs({0, {3, 5}, {{1, 1, 0}}})).has_value());
  EXPECT_FALSE(DecodePairs(EncodePairs({0, {3, 5}, {{0, 2, 0}}})).has_value());
}

}  // namespace
}  // namespace rrn
