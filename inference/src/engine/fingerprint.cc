#include "engine/fingerprint.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/text.h"
#include "engine/external_data.h"
#include "engine/openvino.h"
#include "rrn/embedder.h"
#include "rrn/version.h"

namespace rrn {

Result<std::string> FilesFingerprint(const std::string& model) {
  Hash hash;
  if (!hash.AddFile(model)) return Status(StatusCode::kUnreadable, "the file cannot be read");
  // What is no ONNX file is one file, whatever it is; ONNX Runtime will say what it thinks of it.
  const Result<std::vector<std::string>> locations = internal::ExternalDataLocations(model);
  if (!locations.ok()) return hash.Hex();
  for (const std::string& location : *locations) {
    Hash file;
    const bool there = file.AddFile((std::filesystem::path(model).parent_path() / location).string());
    hash.AddField(location);
    hash.AddField(there ? file.Hex() : "missing");
  }
  return hash.Hex();
}

namespace internal {

std::string HashFields(const std::vector<std::string>& fields) {
  Hash hash;
  for (const std::string& field : fields) hash.AddField(field);
  return hash.Hex();
}

std::vector<std::string> FingerprintFields(const std::string& files, const Choice& choice) {
  std::vector<std::string> fields = {files, choice.provider, choice.precision, Version(), OnnxRuntimeVersion()};
  if (choice.provider == "openvino") {
    Hash plugin;
    fields.push_back(plugin.AddFile(FindOpenVino()) ? plugin.Hex() : "");
  }
  return fields;
}

std::string Fingerprint(std::vector<std::string> fields, int size, const Preprocessing& preprocessing) {
  fields.push_back(std::to_string(size));
  for (const float value : preprocessing.mean) fields.push_back(ShortestText(value));
  for (const float value : preprocessing.stddev) fields.push_back(ShortestText(value));
  fields.push_back(ShortestText(preprocessing.divisor));
  fields.emplace_back(preprocessing.bgr ? "BGR" : "RGB");
  return HashFields(fields);
}

}  // namespace internal
}  // namespace rrn
