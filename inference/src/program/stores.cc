#include "program/stores.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rrn {
namespace {

// Another run may be writing; this one would rather compute than wait for long.
constexpr int kDefaultStoreWaitMs = 2'000;

std::optional<Store> OpenDefault(const std::string& folder, RunStores* stores) {
  const Result<std::string> place = DefaultStoreFolder(folder);
  if (!place.ok()) {
    stores->note = place.status().message();
    return std::nullopt;
  }
  StoreOptions options;
  options.wait_ms = kDefaultStoreWaitMs;
  Result<Store> store = Store::Open(*place, options);
  if (store.ok()) {
    stores->folders.push_back(*place);
    return *std::move(store);
  }
  stores->note = store.status().message();
  return std::nullopt;
}

}  // namespace

void RunStores::Use(SimilarityOptions* options) {
  if (images) options->store = &*images;
  if (references) options->against_store = &*references;
  options->skip.insert(options->skip.end(), folders.begin(), folders.end());
}

Result<RunStores> OpenStores(const StoreChoice& choice, const std::string& folder, const std::string& reference) {
  RunStores stores;
  if (!choice.enabled) return stores;
  if (!choice.folder.empty()) {
    Result<Store> store = Store::Open(choice.folder);
    if (!store.ok()) return store.status();
    stores.images = *std::move(store);
    stores.folders.push_back(choice.folder);
    return stores;
  }
  stores.images = OpenDefault(folder, &stores);
  if (!reference.empty()) stores.references = OpenDefault(reference, &stores);
  return stores;
}

}  // namespace rrn
