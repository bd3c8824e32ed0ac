// A program for tests: takes steps of a writer (store/test_steps.h), and writes a byte to standard output after each.
//   store_test_writer FOLDER WRITER FIRST COUNT DIM f32|f16 [reopen|compact|network]
// With `reopen` and `network` it opens the store again every nine steps, with `network` as on a network file system,
// with `compact` Compact is a part of each step. Ends with 1 and a message if a step fails.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "rrn/store.h"
#include "store/state.h"
#include "store/test_steps.h"

namespace rrn::test_support {
namespace {

int Run(int argc, char** argv) {
  if (argc < 7) return 2;
  const std::string folder = argv[1];
  const std::uint64_t writer = std::strtoull(argv[2], nullptr, 10);
  const std::uint64_t first = std::strtoull(argv[3], nullptr, 10);
  const std::uint64_t end = first + std::strtoull(argv[4], nullptr, 10);
  const ColumnKey key = TestKey("model", std::strtoull(argv[5], nullptr, 10));
  const std::string mode = argc > 7 ? argv[7] : "";
  StoreOptions options;
  if (std::string(argv[6]) == "f16") options.floats = StoreFloat::kFloat16;
  std::optional<Store> store;
  for (std::uint64_t count = first; count < end; ++count) {
    if (!store || (mode != "compact" && !mode.empty() && count % 9 == 0)) {
      store.reset();
      const auto nfs = [](const std::string&) { return std::uint64_t{0x6969}; };
      Result<Store> opened =
          mode == "network" ? internal::StoreAccess::Open(folder, options, {}, nfs) : Store::Open(folder, options);
      if (!opened.ok()) {
        std::fprintf(stderr, "%s\n", opened.status().message().c_str());
        return 1;
      }
      store.emplace(*std::move(opened));
    }
    Status taken = Take(StepOf(writer, count), key, &*store);
    if (taken.ok() && mode == "compact") taken = store->Compact().status();
    if (!taken.ok()) {
      std::fprintf(stderr, "step %llu: %s\n", static_cast<unsigned long long>(count), taken.message().c_str());
      return 1;
    }
    if (write(STDOUT_FILENO, ".", 1) != 1) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace rrn::test_support

int main(int argc, char** argv) { return rrn::test_support::Run(argc, argv); }
