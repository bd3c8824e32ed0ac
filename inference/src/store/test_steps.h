// For the tests that interrupt a store: steps that follow from a writer's number and a count, so that a test knows what
// a process did that was killed, from how often it reported success.
#ifndef RRN_STORE_TEST_STEPS_H_
#define RRN_STORE_TEST_STEPS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rrn/store.h"
#include "store/test_store.h"

namespace rrn::test_support {

// What one writer's files should be: path to the number of its row, or to nothing where it has a reason instead.
using Contents = std::map<std::string, std::optional<std::uint64_t>>;

struct Step {
  enum class Kind { kAdd, kRemove, kCompact, kDerived } kind = Kind::kAdd;
  Contents changes;  // of kRemove: the paths
};

inline std::string PathsOfWriter(std::uint64_t writer) { return "/writer" + std::to_string(writer) + "/"; }

// The step `count` of a writer: mostly Add of 1 ... 12 of its 60 files, new and replaced ones.
inline Step StepOf(std::uint64_t writer, std::uint64_t count) {
  std::uint64_t state = (writer << 40U) + count;
  const auto random = [&state](std::uint64_t bound) {  // SplitMix64
    std::uint64_t z = state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return (z ^ (z >> 31U)) % bound;
  };
  Step step;
  const std::uint64_t kind = random(12);
  if (kind == 0) {
    step.kind = Step::Kind::kCompact;
    return step;
  }
  if (kind == 1) {
    step.kind = Step::Kind::kDerived;
    return step;
  }
  if (kind == 2) step.kind = Step::Kind::kRemove;
  const std::uint64_t files = 1 + random(12);
  for (std::uint64_t i = 0; i < files; ++i) {
    const std::string path = PathsOfWriter(writer) + std::to_string(100 + random(60));
    const bool skipped = random(8) == 0;
    step.changes[path] = skipped ? std::nullopt : std::make_optional((writer << 40U) + count * 16 + i);
  }
  return step;
}

inline void Apply(const Step& step, Contents* contents) {
  for (const auto& [path, row] : step.changes) {
    if (step.kind == Step::Kind::kRemove) {
      contents->erase(path);
    } else {
      (*contents)[path] = row;
    }
  }
}

inline Status Take(const Step& step, const ColumnKey& key, Store* store) {
  switch (step.kind) {
    case Step::Kind::kCompact:
      return store->Compact().status();
    case Step::Kind::kDerived: {
      const std::vector<std::uint8_t> data(5000, 42);
      const Status written = store->WriteDerived(key, "graph", data.data(), data.size());
      return written.code() == StatusCode::kNotFound ? Status() : written;
    }
    case Step::Kind::kRemove: {
      std::vector<std::string> paths;
      for (const auto& [path, row] : step.changes) paths.push_back(path);
      return store->Remove(paths);
    }
    case Step::Kind::kAdd:
      break;
  }
  std::vector<StoredFile> files;
  std::vector<float> rows;
  for (const auto& [path, row] : step.changes) {
    StoredFile& file = files.emplace_back();
    file.path = path;
    if (!row) file.reason = "skipped";
    const std::vector<float> values = row ? TestRow(*row, key.dim) : std::vector<float>();
    rows.insert(rows.end(), values.begin(), values.end());
  }
  return store->Add(key, files, rows.data());
}

// What the store has of a writer, each row compared with all rows that the writer may have stored.
//   rows: of Contents, by their first bits.
inline std::string Differences(const Store& store, const ColumnKey& key, std::uint64_t writer,
                               const Contents& expected) {
  std::string text;
  const auto all = ReadAll(store, key, PathsOfWriter(writer));
  if (all.size() != expected.size()) {
    text += std::to_string(all.size()) + " entries instead of " + std::to_string(expected.size()) + "; ";
  }
  for (const auto& [entry, row] : all) {
    const auto found = expected.find(entry.file.path);
    if (found == expected.end()) {
      text += entry.file.path + " should not be there; ";
    } else if (row != (found->second ? TestRow(*found->second, key.dim) : std::vector<float>())) {
      text += entry.file.path + " has another row; ";
    }
  }
  return text;
}

}  // namespace rrn::test_support

#endif  // RRN_STORE_TEST_STEPS_H_
