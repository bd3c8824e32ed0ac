// Fields of the JSON objects that models have in their metadata.
#ifndef RRN_ENGINE_METADATA_H_
#define RRN_ENGINE_METADATA_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "rrn/image.h"
#include "rrn/status.h"

namespace rrn::internal {

// kUnsupported: the metadata `key` has `field` with this value, and something else was expected.
Status WrongField(const std::string& key, const std::string& field, const nlohmann::json& got,
                  const std::string& expected);

// kUnsupported: the metadata `key` has a field that nobody knows; `known` lists the others.
Status UnknownField(const std::string& key, const std::string& field, const std::string& known);

// Is it a finite number that a float can hold?
bool ReadFloat(const nlohmann::json& value, float* number);

// Reads "channels", "scale", "mean" or "std" (see ParseModelInput) of the metadata `key`; nothing for other fields.
// Errors: kUnsupported.
std::optional<Status> ReadPixelField(const std::string& key, const std::string& field, const nlohmann::json& value,
                                     Preprocessing* preprocessing);

}  // namespace rrn::internal

#endif  // RRN_ENGINE_METADATA_H_
