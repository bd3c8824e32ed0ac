// The user's folder for what can be made again.
#ifndef RRN_BASE_CACHE_FOLDER_H_
#define RRN_BASE_CACHE_FOLDER_H_

#include <string>

namespace rrn {

// $XDG_CACHE_HOME/rrn, or ~/.cache/rrn; empty where neither variable names an absolute path.
std::string CacheFolder();

// Makes CacheFolder() and `name` in it, for this user alone. Returns its path, empty if that cannot be done.
std::string MakeCacheFolder(const std::string& name);

}  // namespace rrn

#endif  // RRN_BASE_CACHE_FOLDER_H_
