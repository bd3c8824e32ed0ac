// Compiled models, kept between starts. Only complete and intact entries are ever used; whatever goes wrong with the
// folder costs time, never the result.
#ifndef RRN_ENGINE_COMPILED_CACHE_H_
#define RRN_ENGINE_COMPILED_CACHE_H_

#include <string>
#include <vector>

namespace rrn::internal {

// $XDG_CACHE_HOME/rrn, or ~/.cache/rrn; empty where neither variable names an absolute path.
std::string CacheFolder();

// Makes CacheFolder() and `name` in it, for this user alone. Returns its path, empty if that cannot be done.
std::string MakeCacheFolder(const std::string& name);

// The folder of one compiled model, for a compiler that reads its files from there, or writes them:
//   CacheEntry entry(inputs);  // everything the compiled model depends on
//   compile with entry.folder()
//   entry.Keep();
// A new entry is written to a folder of its own, which Keep moves to its place in one step. So processes never see each
// other's unfinished work. An entry is used only if its files still have the checksum that Keep noted. Not thread-safe;
// as many objects and processes as you like may share an entry. No function throws or fails loudly.
class CacheEntry {
 public:
  // What the compiled model depends on: the contents of `files` and the strings in `settings`.
  CacheEntry(const std::vector<std::string>& files, const std::vector<std::string>& settings);
  ~CacheEntry();  // removes what was not kept
  CacheEntry(const CacheEntry&) = delete;
  CacheEntry& operator=(const CacheEntry&) = delete;

  // Where to read and write. Empty: no cache can be had here.
  const std::string& folder() const { return folder_; }

  // Does folder() hold a complete compiled model?
  bool found() const { return found_; }

  // Makes a new entry the one that is found next time. Call it when the compiler is done.
  void Keep();

 private:
  std::string folder_;
  std::string place_;  // where the entry belongs
  bool found_ = false;
};

}  // namespace rrn::internal

#endif  // RRN_ENGINE_COMPILED_CACHE_H_
