// Processes that are killed while they write, that wait for each other, and disks that are full.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "rrn/store.h"
#include "store/folder.h"
#include "store/test_process.h"
#include "store/test_steps.h"
#include "store/test_store.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::Apply;
using test_support::Contents;
using test_support::Differences;
using test_support::Findings;
using test_support::kDim;
using test_support::MustOpen;
using test_support::Process;
using test_support::Step;
using test_support::StepOf;
using test_support::TemporaryFolder;
using test_support::TestKey;

// A file system in memory, where a killed process has got further; what is killed here needs no disk.
std::string FastFolder() {
  struct stat info = {};
  return stat("/dev/shm", &info) == 0 && S_ISDIR(info.st_mode) ? "/dev/shm" : fs::temp_directory_path().string();
}

int Setting(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

// A writer's part of the store, as far as it is known.
struct Writer {
  std::uint64_t number = 0;
  std::uint64_t done = 0;
  Contents contents;

  std::unique_ptr<Process> Start(const std::string& folder) const {
    return std::make_unique<Process>(std::vector<std::string>{RRN_STORE_TEST_WRITER, folder, std::to_string(number),
                                                              std::to_string(done), "1000000", std::to_string(kDim),
                                                              "f32"});
  }

  // It reported so many steps; the one after them is there as a whole or not at all.
  void Check(const Store& store, std::size_t reported) {
    const ColumnKey key = TestKey("model");
    for (std::size_t i = 0; i < reported; ++i) Apply(StepOf(number, done++), &contents);
    const std::string before = Differences(store, key, number, contents);
    if (before.empty()) return;
    Apply(StepOf(number, done++), &contents);
    EXPECT_EQ(Differences(store, key, number, contents), "") << "and without the last step: " << before;
  }
};

TEST(StoreCrashTest, NothingThatWasReportedIsLostWhenWritersAreKilled) {
  const TemporaryFolder folder(FastFolder());
  const std::string place = folder.Sub("store");
  std::array<Writer, 2> writers;
  writers[1].number = 1;
  std::mt19937 random(20261201);
  const int kills = Setting("RRN_STORE_KILLS", 40);
  std::size_t steps = 0;
  for (int i = 0; i < kills / 2; ++i) {
    std::array<std::unique_ptr<Process>, 2> processes = {writers[0].Start(place), writers[1].Start(place)};
    std::array<std::string, 2> reported;
    for (const std::size_t victim : {std::size_t{i % 2 == 0}, std::size_t{i % 2 == 1}}) {
      std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution<int>(0, 40'000)(random)));
      reported[victim] = processes[victim]->Kill();
      ASSERT_EQ(processes[victim]->status(), -SIGKILL) << "it ended by itself";
    }
    const Store store = MustOpen(place);
    ASSERT_EQ(Findings(store), "") << "after kill " << 2 * i;
    for (std::size_t j = 0; j < 2; ++j) {
      writers[j].Check(store, reported[j].size());
      steps += reported[j].size();
    }
    ASSERT_FALSE(HasFailure()) << "after kill " << 2 * i;
  }
  RecordProperty("steps", std::to_string(steps));
  EXPECT_GT(steps, static_cast<std::size_t>(kills));
  // What is left of killed processes is one vector file.
  Store store = MustOpen(place);
  ASSERT_TRUE(store.Compact().ok());
  EXPECT_EQ(internal::ListVectorFiles(place).size(), store.Info()->columns.size());
}

}  // namespace
}  // namespace rrn
