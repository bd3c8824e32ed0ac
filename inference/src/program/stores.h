// Which stores a run uses.
#ifndef RRN_PROGRAM_STORES_H_
#define RRN_PROGRAM_STORES_H_

#include <optional>
#include <string>
#include <vector>

#include "rrn/similarity.h"
#include "rrn/status.h"
#include "rrn/store.h"

namespace rrn {

// What was asked for.
struct StoreChoice {
  std::string folder;  // empty: those of the images' folders, see DefaultStoreFolder
  bool enabled = true;
};

// The stores of a run. Must outlive it.
struct RunStores {
  std::optional<Store> images;
  std::optional<Store> references;   // of the reference folder, where it has one of its own
  std::vector<std::string> folders;  // where they are
  std::string note;                  // for people, why there is no store; empty if there is one, or none was wanted

  // Names them in the options; their own files are no images.
  void Use(SimilarityOptions* options);
};

// Opens the store that was asked for or, unless that is switched off, the default ones of `folder` (empty: of lists of
// files) and of `reference`. A default store that cannot be opened is only noted.
// Errors: of Store::Open, for the one that was asked for.
Result<RunStores> OpenStores(const StoreChoice& choice, const std::string& folder, const std::string& reference);

}  // namespace rrn

#endif  // RRN_PROGRAM_STORES_H_
