// For tests of actions: results made by hand, and a folder to work in.
#ifndef RRN_PROGRAM_ACTIONS_ACTION_TEST_H_
#define RRN_PROGRAM_ACTIONS_ACTION_TEST_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "program/actions/actions.h"
#include "program/actions/files.h"
#include "rrn/similarity.h"
#include "testing/temporary_folder.h"

namespace rrn {

inline std::string ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// What a folder holds: for each regular file its bytes, size, mode and modification time.
inline std::map<std::string, std::string> Snapshot(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const auto state = StateOf(entry.path().string());
    if (!state.ok()) continue;
    files[entry.path().string()] =
        ReadFile(entry.path().string()) + " " + std::to_string(state->mode) + " " + std::to_string(state->modified);
  }
  return files;
}

// One group: the first path is kept.
inline SimilarityResult OneGroup(const std::vector<std::string>& paths) {
  SimilarityResult result;
  result.paths = paths;
  Group group;
  for (std::uint32_t i = 1; i < paths.size(); ++i) group.members.push_back({i, 0.9F});
  result.grouping.groups.push_back(group);
  return result;
}

// Everything that is there by now counts as unchanged.
inline ActionOptions Options(Action action, const std::string& folder, const std::string& target = "") {
  ActionOptions options;
  options.action = action;
  options.folder = folder;
  options.target = target;
  options.start = std::numeric_limits<std::int64_t>::max();
  return options;
}

inline UndoResult UndoAll(const std::string& journal) {
  Result<UndoResult> result = Undo(journal, {});
  EXPECT_TRUE(result.ok()) << result.status().message();
  return *std::move(result);
}

// Works in a folder of its own, where the journal of kHardlink goes.
class ActionTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::current_path(work_.path()); }
  void TearDown() override { std::filesystem::current_path(before_); }

  ActionResult DoIt(const SimilarityResult& result, const ActionOptions& options) {
    ActionResult outcome = Act(result, options, {});
    EXPECT_TRUE(outcome.stopped.ok()) << outcome.stopped.message();
    return outcome;
  }

  const std::filesystem::path before_ = std::filesystem::current_path();
  test_support::TemporaryFolder work_;
  test_support::TemporaryFolder photos_;
};

}  // namespace rrn

#endif  // RRN_PROGRAM_ACTIONS_ACTION_TEST_H_
