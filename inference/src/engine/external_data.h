// Which other files an ONNX file keeps weights in.
#ifndef RRN_ENGINE_EXTERNAL_DATA_H_
#define RRN_ENGINE_EXTERNAL_DATA_H_

#include <string>
#include <vector>

#include "rrn/status.h"

namespace rrn::internal {

// The locations that the tensors of the ONNX file at `model` name, in all of its graphs and functions: as written in
// the file, relative to the model's folder, sorted, each once. They need not exist. Tensors' bytes are skipped, so a
// large file takes no longer. Thread-safe.
//
// Errors: kUnreadable; kCorrupt (not an ONNX file, or a damaged one).
Result<std::vector<std::string>> ExternalDataLocations(const std::string& model);

}  // namespace rrn::internal

#endif  // RRN_ENGINE_EXTERNAL_DATA_H_
