// Which model computes what: names for embeddings and compiled models that must not be mixed up.
#ifndef RRN_ENGINE_FINGERPRINT_H_
#define RRN_ENGINE_FINGERPRINT_H_

#include <string>
#include <vector>

#include "engine/provider.h"
#include "rrn/image.h"

namespace rrn::internal {

// What a loaded model's computation depends on, whatever its input: its files (see FilesFingerprint), provider and
// precision, and the versions of rrn, ONNX Runtime and the provider's plugin.
std::vector<std::string> FingerprintFields(const std::string& files, const Choice& choice);

// ModelInfo::fingerprint: the fields above, with the side of the input square and how pixels are turned into it.
std::string Fingerprint(std::vector<std::string> fields, int size, const Preprocessing& preprocessing);

// 32 hexadecimal digits.
std::string HashFields(const std::vector<std::string>& fields);

}  // namespace rrn::internal

#endif  // RRN_ENGINE_FINGERPRINT_H_
