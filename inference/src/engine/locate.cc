// Where the program's own files are.
#include <array>
#include <filesystem>
#include <string>
#include <system_error>

#include "rrn/embedder.h"

namespace rrn {
namespace {

// The first of `relative` that exists, seen from the folder of the running executable.
std::string FindBesideExecutable(const std::array<const char*, 3>& relative) {
  std::error_code error;
  const std::filesystem::path executable = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return "";
  for (const char* candidate : relative) {
    const std::filesystem::path path = (executable.parent_path() / candidate).lexically_normal();
    if (std::filesystem::is_regular_file(path, error)) return path.string();
  }
  return "";
}

}  // namespace

std::string DefaultModelPath() {
  return FindBesideExecutable({"../models/reduction_resnet18.onnx", "../share/rrn/models/reduction_resnet18.onnx",
                               "models/reduction_resnet18.onnx"});
}

std::string DefaultOpLibraryPath() {
  return FindBesideExecutable({"../lib/libreduction_op.so", "lib/libreduction_op.so", "libreduction_op.so"});
}

}  // namespace rrn
