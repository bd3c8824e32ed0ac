// Compiled models, kept between starts. Only complete and intact entries are ever used; whatever goes wrong with the
// folder costs time, never the result.
#ifndef RRN_ENGINE_COMPILED_CACHE_H_
#define RRN_ENGINE_COMPILED_CACHE_H_

#include <optional>
#include <string>

#include "base/files.h"

namespace rrn::internal {

// The folder of one compiled model, for a compiler that reads its files from there, or writes them:
//   CacheEntry entry(key);  // a hash of everything the compiled model depends on
//   compile with entry.folder()
//   entry.Keep();
// A new entry is written to a folder of its own, which Keep moves to its place in one step. So processes never see each
// other's unfinished work. An entry is used only if its files still have the checksum that Keep noted. Not thread-safe;
// as many objects and processes as you like may share an entry. No function throws or fails loudly.
class CacheEntry {
 public:
  // key: a hash in hexadecimal digits, see HashFields; it becomes a folder's name.
  explicit CacheEntry(const std::string& key);

  // Where to read and write. Empty: no cache folder can be made here.
  const std::string& folder() const { return folder_; }

  // Does folder() hold a complete compiled model?
  bool found() const { return found_; }

  // Makes a new entry the one that is found next time. Call it when the compiler is done.
  void Keep();

 private:
  std::string folder_;
  std::optional<Temporary> fresh_;  // a new entry, removed unless it is kept
  bool found_ = false;
};

}  // namespace rrn::internal

#endif  // RRN_ENGINE_COMPILED_CACHE_H_
