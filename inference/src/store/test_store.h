// For the tests of stores: files and rows whose values follow from a number.
#ifndef RRN_STORE_TEST_STORE_H_
#define RRN_STORE_TEST_STORE_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "rrn/store.h"

namespace rrn::test_support {

inline constexpr std::size_t kDim = 24;

inline ColumnKey TestKey(const std::string& fingerprint = "model A", std::size_t dim = kDim) {
  ColumnKey key;
  key.fingerprint = fingerprint;
  key.dim = dim;
  return key;
}

// Paths sort like their numbers.
inline std::string TestPath(std::uint64_t number) {
  const std::string digits = std::to_string(number);
  return "/photos/" + std::string(9 - digits.size(), '0') + digits + ".jpg";
}

// Finite values that float16 can hold, another row for each number.
inline std::vector<float> TestRow(std::uint64_t number, std::size_t dim = kDim) {
  std::vector<float> row(dim);
  std::uint64_t state = number * 0x9e3779b97f4a7c15U + 1;
  for (float& value : row) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    value = static_cast<float>(static_cast<std::int32_t>(state >> 32U)) * 0x1p-31F;
  }
  return row;
}

inline StoredFile TestFile(std::uint64_t number) {
  StoredFile file;
  file.path = TestPath(number);
  file.state = {1, number, 1000 + number, 1'700'000'000'123'456'789, 1'700'000'000'123'456'790};
  file.looked_at_ns = 1'800'000'000'000'000'001;
  file.width = static_cast<int>(number) + 1;
  file.height = 7;
  return file;
}

// Stores files first ... first + count - 1 with the rows of `first_row` and behind.
inline Status AddTestFiles(Store* store, const ColumnKey& key, std::uint64_t first, std::size_t count,
                           std::uint64_t first_row) {
  std::vector<StoredFile> files;
  std::vector<float> rows;
  for (std::size_t i = 0; i < count; ++i) {
    files.push_back(TestFile(first + i));
    const std::vector<float> row = TestRow(first_row + i, key.dim);
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return store->Add(key, files, rows.data());
}

inline Status AddTestFiles(Store* store, const ColumnKey& key, std::uint64_t first, std::size_t count) {
  return AddTestFiles(store, key, first, count, first);
}

// The store, or a failure that ends the test program.
inline Store MustOpen(const std::string& folder, const StoreOptions& options = {}) {
  Result<Store> store = Store::Open(folder, options);
  if (!store.ok()) ADD_FAILURE() << store.status().message();
  return *std::move(store);
}

// All entries and their rows; fails the test for a damaged one.
inline std::vector<std::pair<StoreEntry, std::vector<float>>> ReadAll(const Store& store, const ColumnKey& key,
                                                                      const std::string& prefix = "") {
  const Result<std::vector<StoreEntry>> entries = store.Read(key, prefix);
  if (!entries.ok()) {
    ADD_FAILURE() << entries.status().message();
    return {};
  }
  std::vector<std::uint64_t> slots;
  for (const StoreEntry& entry : *entries) {
    if (entry.slot) slots.push_back(*entry.slot);
  }
  std::vector<float> rows(slots.size() * key.dim);
  const Status read = store.ReadRows(key, slots, rows.data(), nullptr);
  EXPECT_TRUE(read.ok()) << read.message();
  std::vector<std::pair<StoreEntry, std::vector<float>>> all;
  auto row = rows.begin();
  for (const StoreEntry& entry : *entries) {
    const auto end = row + static_cast<std::ptrdiff_t>(entry.slot ? key.dim : 0);
    all.emplace_back(entry, std::vector<float>(row, end));
    row = end;
  }
  return all;
}

// What Verify finds, one line each; empty if all is well.
inline std::string Findings(const Store& store) {
  const Result<StoreReport> report = store.Verify();
  if (!report.ok()) return report.status().message();
  std::string text;
  for (const std::string& line : report->findings) text += line + "\n";
  return text;
}

}  // namespace rrn::test_support

#endif  // RRN_STORE_TEST_STORE_H_
