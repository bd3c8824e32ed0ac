// When a file counts as unchanged.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "rrn/store.h"

namespace rrn {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kLook = 1'700'000'000 * kSecond + 500 * kMs;  // when the file was looked at

struct Case {
  std::string name;
  std::int64_t modified;  // before the look
  std::int64_t changed;
  bool unchanged;
};

class UnchangedTest : public ::testing::TestWithParam<Case> {};

TEST_P(UnchangedTest, TimesDecide) {
  StoredFile file;
  file.state = {1, 2, 3, kLook - GetParam().modified, kLook - GetParam().changed};
  file.looked_at_ns = kLook;
  EXPECT_EQ(Unchanged(file, file.state), GetParam().unchanged);
}

constexpr std::int64_t kWhole = 500 * kMs;  // before the look, a time of whole seconds

INSTANTIATE_TEST_SUITE_P(Times, UnchangedTest,
                         ::testing::Values(Case{"Old", 3600 * kSecond + 1, 3600 * kSecond + 1, true},
                                           Case{"WithinATick", 5 * kMs, 5 * kMs, false},
                                           Case{"AtTheEdge", 20 * kMs, 20 * kMs, false},
                                           Case{"JustOlder", 20 * kMs + 1, 20 * kMs + 1, true},
                                           Case{"AtTheLook", 0, 0, false},
                                           Case{"AfterTheLook", -7 * kMs, -7 * kMs, false},
                                           Case{"RenamedJustNow", 3600 * kSecond, 5 * kMs, false},
                                           Case{"MtimeSetBack", 3600 * kSecond + 1, 7 * kMs, false},
                                           Case{"MtimeAheadOnPurpose", -3600 * kSecond - 1, 3600 * kSecond + 1, true},
                                           Case{"MtimeNowWithoutCtime", 7 * kMs, 3600 * kSecond + 1, false},
                                           Case{"ClockOfTheServerIsAhead", -60 * kSecond - 1, -60 * kSecond - 1, false},
                                           Case{"WholeSecondsOld", kWhole + 2 * kSecond, kWhole + 2 * kSecond, true},
                                           Case{"WholeSecondsNew", kWhole + kSecond, kWhole + kSecond, false},
                                           Case{"OnlyMtimeIsWhole", kWhole + kSecond, 100 * kMs + 1, true}),
                         [](const ::testing::TestParamInfo<Case>& one) { return one.param.name; });

TEST(UnchangedFieldsTest, EveryFieldButTheDeviceIsCompared) {
  StoredFile file;
  file.state = {1, 2, 3, kLook - 3600 * kSecond, kLook - 3600 * kSecond};
  file.looked_at_ns = kLook;
  const auto with = [&](auto change) {
    StoredState now = file.state;
    change(&now);
    return Unchanged(file, now);
  };
  EXPECT_TRUE(with([](StoredState*) {}));
  EXPECT_TRUE(with([](StoredState* now) { now->device = 99; })) << "another number after a restart of the machine";
  EXPECT_FALSE(with([](StoredState* now) { now->inode = 99; }));
  EXPECT_FALSE(with([](StoredState* now) { now->bytes = 99; }));
  EXPECT_FALSE(with([](StoredState* now) { now->modified_ns += 1; }));
  EXPECT_FALSE(with([](StoredState* now) { now->changed_ns -= 1; }));
  EXPECT_FALSE(Unchanged(StoredFile(), StoredState())) << "what nobody looked at";
}

}  // namespace
}  // namespace rrn
