// Processes that are killed while they write, and that wait for each other; threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "rrn/store.h"
#include "store/database.h"
#include "store/folder.h"
#include "store/test_process.h"
#include "store/test_steps.h"
#include "store/test_store.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::AddTestFiles;
using test_support::Apply;
using test_support::Contents;
using test_support::Differences;
using test_support::Findings;
using test_support::kDim;
using test_support::MustOpen;
using test_support::Process;
using test_support::ReadAll;
using test_support::StepOf;
using test_support::TemporaryFolder;
using test_support::TestKey;
using test_support::TestRow;
using ::testing::HasSubstr;

// A file system in memory, where a killed process has got further; what is killed here needs no disk.
std::string FastFolder() {
  struct stat info = {};
  return stat("/dev/shm", &info) == 0 && S_ISDIR(info.st_mode) ? "/dev/shm" : fs::temp_directory_path().string();
}

int Setting(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

std::string Host() {
  std::array<char, 128> name = {};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

// A writer's part of the store, as far as it is known.
struct Writer {
  std::uint64_t number = 0;
  std::uint64_t done = 0;
  Contents contents;

  std::unique_ptr<Process> Start(const std::string& folder, const std::string& mode = "") const {
    return std::make_unique<Process>(std::vector<std::string>{RRN_STORE_TEST_WRITER, folder, std::to_string(number),
                                                              std::to_string(done), "1000000", std::to_string(kDim),
                                                              "f32", mode});
  }

  // It reported this number of steps; the one after them is there as a whole or not at all.
  void Check(const Store& store, std::size_t reported) {
    const ColumnKey key = TestKey("model");
    for (std::size_t i = 0; i < reported; ++i) Apply(StepOf(number, done++), &contents);
    const std::string before = Differences(store, key, number, contents);
    if (before.empty()) return;
    Apply(StepOf(number, done++), &contents);
    EXPECT_EQ(Differences(store, key, number, contents), "") << "and without the last step: " << before;
  }
};

// For some steps of a process and a part of the next one; also none, while it starts.
void WaitAWhile(Process* process, std::mt19937* random) {
  process->WaitForOutput(std::uniform_int_distribution<std::size_t>(0, 4)(*random));
  std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution<int>(0, 12'000)(*random)));
}

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
      WaitAWhile(processes[victim].get(), &random);
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

TEST(StoreCrashTest, CompactMayBeKilled) {
  const TemporaryFolder folder(FastFolder());
  const std::string place = folder.Sub("store");
  const ColumnKey key = TestKey("model");
  {
    Store store = MustOpen(place);
    ASSERT_TRUE(AddTestFiles(&store, key, 0, 3000).ok());  // so that moving them takes a while
  }
  Writer writer;
  std::mt19937 random(7);
  std::set<std::uint64_t> generations;
  const int kills = Setting("RRN_STORE_KILLS", 40) / 2;
  for (int i = 0; i < kills; ++i) {
    const std::unique_ptr<Process> process = writer.Start(place, "compact");
    WaitAWhile(process.get(), &random);
    const std::string reported = process->Kill();
    ASSERT_EQ(process->status(), -SIGKILL) << "it ended by itself";
    const Store store = MustOpen(place);
    ASSERT_EQ(Findings(store), "") << "after kill " << i;
    writer.Check(store, reported.size());
    EXPECT_EQ(internal::ListVectorFiles(place).size(), 1U) << "Open removes what the process left";
    generations.insert(store.Info()->columns[0].generation);
    ASSERT_FALSE(HasFailure()) << "after kill " << i;
  }
  EXPECT_GT(generations.size(), 3U);
  const Store store = MustOpen(place);
  const auto all = ReadAll(store, key, "/photos/");
  ASSERT_EQ(all.size(), 3000U);
  for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i].second, TestRow(i));
}

// Who has the lock is named.
TEST(StoreLockTest, AWriterThatTakesTooLongIsNamed) {
  const TemporaryFolder folder(FastFolder());
  const std::string place = folder.Sub("store");
  StoreOptions options;
  options.wait_ms = 20;
  Store store = MustOpen(place, options);
  ASSERT_TRUE(AddTestFiles(&store, TestKey(), 0, 1).ok());
  const Writer writer;
  const std::unique_ptr<Process> process = writer.Start(place, "compact");
  const std::string id = std::to_string(process->id());
  // Stopped at random until it has the lock and has said so.
  Status status;
  for (int i = 0; i < 2000 && status.message().find("process " + id) == std::string::npos; ++i) {
    kill(process->id(), SIGCONT);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(process->id(), SIGSTOP);
    status = AddTestFiles(&store, TestKey(), 0, 1);
  }
  EXPECT_EQ(status.code(), StatusCode::kUnreadable);
  EXPECT_THAT(status.message(), HasSubstr(place + ": process " + id + " on "));
  EXPECT_THAT(status.message(), HasSubstr(" writes to the store, for over 0.0 s; try again when it is done"));
  EXPECT_EQ(ReadAll(store, TestKey()).size(), 1U) << "reading goes on";
  EXPECT_EQ(Store::Open(place, options).status().code(), StatusCode::kOk) << "opening, too";
  process->Kill();
  // A killed process has no lock, and its note says nothing of who has it next.
  EXPECT_TRUE(AddTestFiles(&store, TestKey(), 0, 1).ok());
  const auto blocked = [&] {
    Result<internal::Database> database =
        internal::Database::Open(place + "/index.db", place, internal::Access::kWrite, 1000);
    internal::Transaction transaction(&*database);
    EXPECT_TRUE(transaction.BeginWriting().ok());
    return store.Remove({"/a"}).message();
  };
  EXPECT_THAT(blocked(), HasSubstr(": this process writes to the store"));
  std::ofstream(place + "/writer.txt") << id << " 1 " << Host() << std::string(200, ' ');
  EXPECT_THAT(blocked(),
              HasSubstr(": another process (the last one that is known, " + id + " on " + Host() + ", has ended)"));
  std::ofstream(place + "/writer.txt") << "77 1 elsewhere ";
  EXPECT_THAT(blocked(), HasSubstr(": process 77 on elsewhere writes"));
  std::ofstream(place + "/writer.txt") << "no numbers";
  EXPECT_THAT(blocked(), HasSubstr(": another process writes"));
}

// Several threads with one Store, and another Store of the same folder beside them.
TEST(StoreThreadsTest, ThreadsMayShareAStore) {
  const TemporaryFolder folder(FastFolder());
  const std::string place = folder.Sub("store");
  const ColumnKey key = TestKey("model");
  Store shared = MustOpen(place);
  Store own = MustOpen(place);
  std::atomic<int> failures = 0;
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  constexpr std::uint64_t kWriters = 3;
  constexpr std::uint64_t kSteps = 60;
  for (std::uint64_t writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      Store* store = writer == 0 ? &own : &shared;
      for (std::uint64_t i = 0; i < kSteps; ++i) failures += Take(StepOf(writer, i), key, store).ok() ? 0 : 1;
    });
  }
  std::thread reader([&] {
    while (!done) {
      const Result<std::vector<StoreEntry>> entries = shared.Read(key);
      std::vector<std::uint64_t> slots;
      for (std::size_t i = 0; entries.ok() && i < entries->size(); ++i) {
        if ((*entries)[i].slot) slots.push_back(*(*entries)[i].slot);
      }
      std::vector<float> rows(slots.size() * kDim);
      std::vector<std::size_t> gone;  // replaced meanwhile
      failures += shared.ReadRows(key, slots, rows.data(), &gone).ok() ? 0 : 1;
      failures += shared.Info().ok() && shared.Verify().ok() ? 0 : 1;
    }
  });
  for (std::thread& thread : threads) thread.join();
  done = true;
  reader.join();
  EXPECT_EQ(failures, 0);
  for (std::uint64_t writer = 0; writer < kWriters; ++writer) {
    Contents contents;
    for (std::uint64_t i = 0; i < kSteps; ++i) Apply(StepOf(writer, i), &contents);
    EXPECT_EQ(Differences(shared, key, writer, contents), "");
  }
  EXPECT_EQ(Findings(own), "");
}

}  // namespace
}  // namespace rrn
