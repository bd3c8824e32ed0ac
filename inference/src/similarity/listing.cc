// Listing folders.
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/files.h"
#include "rrn/similarity.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;

// `folder` + "/" + `name`, without doubling the slash; byte for byte what the user and the system call them.
std::string Join(const std::string& folder, const std::string& name) {
  return !folder.empty() && folder.back() == '/' ? folder + name : folder + "/" + name;
}

std::set<FileId> IdsOf(const std::vector<std::string>& folders) {
  std::set<FileId> ids;
  for (const std::string& path : folders) {
    if (const auto id = IdOf(path)) ids.insert(*id);
  }
  return ids;
}

bool IsIn(const std::set<FileId>& ids, const std::string& path) {
  const auto id = IdOf(path);
  return id && ids.count(*id) != 0;
}

// Whether files are inside one of some folders; remembers the answer for each folder.
class Inside {
 public:
  explicit Inside(const std::vector<std::string>& folders) : ids_(IdsOf(folders)) {}

  bool operator()(const std::string& file) {
    if (ids_.empty()) return false;
    const fs::path folder = fs::path(file).has_parent_path() ? fs::path(file).parent_path() : fs::path(".");
    const auto [known, added] = answers_.try_emplace(folder.string(), false);
    if (!added) return known->second;
    std::error_code error;
    fs::path at = fs::canonical(folder, error);
    if (error) return false;
    for (;; at = at.parent_path()) {
      if (IsIn(ids_, at.string())) return known->second = true;
      if (at == at.root_path()) return false;
    }
  }

 private:
  std::set<FileId> ids_;
  std::map<std::string, bool> answers_;
};

// One spelling of paths that differ by "." and "//" only. A ".." may lead elsewhere when links are on the way, and so
// stays.
std::string Plain(const std::string& path) {
  const fs::path whole(path);
  for (const fs::path& part : whole) {
    if (part == "..") return path;
  }
  return whole.lexically_normal().string();
}

void ListInto(const std::string& folder, bool recursive, const std::set<FileId>& skip, FolderListing* listing) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) {
    listing->skipped.push_back({folder, "cannot list this folder: " + error.message()});
    return;
  }
  for (; entries != fs::directory_iterator(); entries.increment(error)) {
    const std::string path = Join(folder, entries->path().filename().string());
    const fs::file_status link = entries->symlink_status(error);
    const fs::file_status target = entries->status(error);
    if (fs::is_regular_file(target)) {
      listing->paths.push_back(path);
    } else if (fs::is_directory(target)) {
      if (fs::is_symlink(link)) {
        listing->skipped.push_back({path, "a symbolic link to a folder; links to folders are not followed"});
      } else if (recursive && (skip.empty() || !IsIn(skip, path))) {
        ListInto(path, recursive, skip, listing);
      }
    } else if (fs::is_symlink(link)) {
      listing->skipped.push_back({path, "a broken symbolic link"});
    } else {
      listing->skipped.push_back({path, "not a regular file"});
    }
    error.clear();
  }
  if (error) listing->skipped.push_back({folder, "listing this folder broke off: " + error.message()});
}

}  // namespace

Result<FolderListing> ListFolder(const std::string& folder, bool recursive, const std::vector<std::string>& skip) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (status.type() == fs::file_type::not_found) return Status(StatusCode::kNotFound, folder + ": no such folder");
  if (status.type() == fs::file_type::none) return Status(StatusCode::kUnreadable, folder + ": " + error.message());
  if (!fs::is_directory(status)) return Status(StatusCode::kInvalidArgument, folder + ": not a folder");
  const fs::directory_iterator readable(folder, error);
  if (error) return Status(StatusCode::kUnreadable, folder + ": cannot list this folder: " + error.message());

  FolderListing listing;
  ListInto(folder, recursive, IdsOf(skip), &listing);
  std::sort(listing.paths.begin(), listing.paths.end());
  std::sort(listing.skipped.begin(), listing.skipped.end());
  return listing;
}

FolderListing ListFiles(std::vector<std::string> paths, const std::vector<std::string>& skip) {
  std::sort(paths.begin(), paths.end());
  std::set<std::string> seen;
  Inside skipped(skip);
  FolderListing listing;
  for (std::string& path : paths) {
    if (!seen.insert(Plain(path)).second || skipped(path)) continue;
    std::error_code error;
    const fs::file_status target = fs::status(path, error);
    if (fs::is_regular_file(target)) {
      listing.paths.push_back(std::move(path));
    } else if (fs::is_directory(target)) {
      listing.skipped.push_back({std::move(path), "a folder; a list names files"});
    } else if (target.type() == fs::file_type::not_found) {
      const bool link = fs::is_symlink(fs::symlink_status(path, error));
      listing.skipped.push_back({std::move(path), link ? "a broken symbolic link" : "no such file"});
    } else {
      listing.skipped.push_back({std::move(path), error ? error.message() : "not a regular file"});
    }
  }
  return listing;
}

}  // namespace rrn
