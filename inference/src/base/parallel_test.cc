#include "base/parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <stdexcept>

namespace rrn {
namespace {

using ::testing::HasSubstr;

TEST(ThreadCountTest, IsBoundedByTheJobs) {
  EXPECT_EQ(ThreadCount(4, 2), 2U);
  EXPECT_EQ(ThreadCount(4, 0), 1U);
  EXPECT_EQ(ThreadCount(3, 100), 3U);
  EXPECT_GE(ThreadCount(0, 1000), 1U);
}

TEST(RunOnThreadsTest, RunsEveryThread) {
  std::atomic<int> runs = 0;
  EXPECT_TRUE(RunOnThreads(
                  5, [&] { ++runs; }, [] {})
                  .ok());
  EXPECT_EQ(runs, 5);
}

TEST(RunOnThreadsTest, ExceptionsStopTheOthersAndComeBack) {
  std::atomic<bool> stopped = false;
  std::atomic<int> first = 0;
  const auto work = [&] {
    if (first++ == 0) throw std::runtime_error("told");
    while (!stopped) {
    }
  };
  const Status status = RunOnThreads(3, work, [&] { stopped = true; });
  EXPECT_EQ(status.code(), StatusCode::kRuntime);
  EXPECT_THAT(status.message(), HasSubstr("told"));
  const Status memory = RunOnThreads(
      1, [] { throw std::bad_alloc(); }, [] {});
  EXPECT_THAT(memory.message(), HasSubstr("not enough memory"));
}

}  // namespace
}  // namespace rrn
