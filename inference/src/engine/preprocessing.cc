// Reads what a model's metadata says about its input.
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/metadata.h"
#include "rrn/embedder.h"

namespace rrn {
namespace {

using nlohmann::json;

// Fields that are for people.
constexpr std::array<const char*, 2> kComments = {"comment", "description"};
constexpr const char* kKey = "rrn.preprocessing";
constexpr const char* kResize = "bilinear antialiased, aspect ratio not kept";

Status Wrong(const std::string& field, const json& got, const std::string& expected) {
  return internal::WrongField(kKey, field, got, expected);
}

Status CheckText(const std::string& field, const json& value, const char* expected) {
  return value == expected ? Status() : Wrong(field, value, json(expected).dump());
}

Status ReadSize(const json& value, int* size) {
  if (!value.is_number_integer()) return Wrong("size", value, "a whole number of pixels");
  // Out of range is told apart later: a size that is asked for takes the place of this one.
  const auto wide = value.is_number_unsigned() && value.get<std::uint64_t>() > std::numeric_limits<int>::max()
                        ? std::numeric_limits<int>::max()
                        : value.get<std::int64_t>();
  *size = static_cast<int>(std::clamp<std::int64_t>(wide, 0, std::numeric_limits<int>::max()));
  return {};
}

Status ReadField(const std::string& field, const json& value, ModelInput* input) {
  if (field == "size") return ReadSize(value, &input->size);
  if (field == "resize") return CheckText(field, value, kResize);
  if (field == "layout") return CheckText(field, value, "NCHW");
  if (const auto status = internal::ReadPixelField(kKey, field, value, &input->preprocessing)) return *status;
  if (std::find(kComments.begin(), kComments.end(), field) != kComments.end()) return {};
  return internal::UnknownField(kKey, field,
                                "resize, size, channels, layout, scale, mean, std, comment and description");
}

}  // namespace

Result<ModelInput> ParseModelInput(const std::string& text) {
  ModelInput input;
  if (text.empty()) return input;
  const json fields = json::parse(text, nullptr, false);
  if (!fields.is_object()) {
    return Status(StatusCode::kUnsupported, "its metadata rrn.preprocessing is not a JSON object");
  }
  for (const auto& [field, value] : fields.items()) {
    Status status = ReadField(field, value, &input);
    if (!status.ok()) return status;
  }
  return input;
}

}  // namespace rrn
