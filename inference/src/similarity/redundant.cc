// Which images a group can do without.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/files.h"
#include "rrn/similarity.h"
#include "similarity/result_parts.h"

namespace rrn {
namespace {

using internal::RepresentativePath;

// A path's file, and the folder entry that it is, links in its folder followed.
struct Entry {
  explicit Entry(const std::string& path) {
    struct stat info = {};
    if (stat(path.c_str(), &info) == 0) file = IdOf(info);
    links = info.st_nlink;
    link = lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
  }

  std::optional<FileId> file;
  nlink_t links = 0;
  bool link = false;  // a symbolic one
};

// With its folder resolved, and the last part as it is.
std::filesystem::path Resolved(const std::string& path) {
  const std::filesystem::path whole(path);
  std::error_code error;
  return std::filesystem::weakly_canonical(whole.has_parent_path() ? whole.parent_path() : ".", error) /
         whole.filename();
}

// Whether removing `path` would take away what `kept` shows: they are one file, and not two hard links of it.
bool IsTheKeptOne(const std::string& path, const std::string& kept) {
  const Entry one(path);
  const Entry other(kept);
  if (!one.file || one.file != other.file || one.link) return false;
  return other.link || one.links == 1 || Resolved(path) == Resolved(kept);
}

}  // namespace

std::vector<RedundantImage> RedundantImages(const SimilarityResult& result) {
  std::vector<bool> kept(result.paths.size(), false);
  if (result.reference) {
    for (const SameFile& file : result.reference->same_files) kept[file.image] = true;
  }
  std::vector<RedundantImage> redundant;
  for (const Group& group : result.grouping.groups) {
    for (const Neighbour& member : group.members) {
      if (kept[member.index] || IsTheKeptOne(result.paths[member.index], RepresentativePath(result, group))) continue;
      redundant.push_back({result.paths[member.index], RepresentativePath(result, group), member.similarity});
    }
  }
  std::sort(redundant.begin(), redundant.end(),
            [](const RedundantImage& a, const RedundantImage& b) { return a.path < b.path; });
  return redundant;
}

}  // namespace rrn
