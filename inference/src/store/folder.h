// What lies in a store's folder, and by which names.
#ifndef RRN_STORE_FOLDER_H_
#define RRN_STORE_FOLDER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "rrn/status.h"
#include "rrn/store.h"

namespace rrn::internal {

inline constexpr const char* kMarkerFile = "rrn-store.txt";
inline constexpr const char* kIndexFile = "index.db";
inline constexpr const char* kDerivedFolder = "derived";

// Makes the folder where it is missing, and the marker where the folder is empty, as the options allow.
// Errors: kNotFound, kInvalidArgument (it holds something else), kUnreadable, kRuntime.
Status PrepareFolder(const std::string& folder, const StoreOptions& options);

// Writes all of `data` at an offset. 0 or an errno.
int WriteAt(int file, const void* data, std::size_t size, std::uint64_t offset);

// Writes a file of these pieces beside its place, to the disk, and moves it there: it appears as a whole. Its name is
// on the disk after SyncFolder only. 0 or an errno.
int WriteWhole(const std::string& place, const std::vector<std::pair<const void*, std::size_t>>& pieces);

// Writes names that were made or removed in a folder to the disk. 0 or an errno.
int SyncFolder(const std::string& folder);

// "f32" or "f16": in the database, and at the end of a vector file's name.
const char* NameOf(StoreFloat floats);

// The beginning of a column's file names, KIND-HASH.
std::string ColumnName(const ColumnKey& key);

// Of the vector file of a generation: NAME-GENERATION.f32.
std::string VectorFileName(const std::string& column_name, std::uint64_t generation, StoreFloat floats);

// Of derived data, in its folder: NAME-GENERATION-DERIVED.bin.
std::string DerivedFileName(const std::string& column_name, std::uint64_t generation, const std::string& derived);

// The vector files of the folder, whether a column refers to them or not; empty if it cannot be listed.
std::vector<std::string> ListVectorFiles(const std::string& folder);

// Removes derived files for which `keep` is false, which receives names like DerivedFileName's, and files that were
// being written an hour ago or longer.
void RemoveDerived(const std::string& folder, const std::function<bool(const std::string& name)>& keep);

// The type of the file system of a folder, as statfs has it; empty if that cannot be told.
std::optional<std::uint64_t> FileSystemType(const std::string& folder);

// Is a file system of this type one that two machines may write to at once? FUSE counts as one.
bool IsNetworkFileSystem(std::uint64_t type);

}  // namespace rrn::internal

#endif  // RRN_STORE_FOLDER_H_
