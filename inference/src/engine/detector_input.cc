// Reads what a detector's metadata says.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/text.h"
#include "engine/metadata.h"
#include "rrn/detector.h"

namespace rrn {
namespace {

using internal::WrongField;
using nlohmann::json;

constexpr const char* kKey = "rrn.detector";
constexpr const char* kKnown =
    "version, name, resize, fill, channels, scale, mean, std, nms, score, comment and description";

// A number from 0 to 1.
bool ReadShare(const json& value, float* number) {
  return internal::ReadFloat(value, number) && *number >= 0 && *number <= 1;
}

bool ReadColour(const json& value, std::array<std::uint8_t, 3>* colour) {
  if (!value.is_array() || value.size() != colour->size()) return false;
  for (std::size_t i = 0; i < colour->size(); ++i) {
    if (!value[i].is_number_integer() || value[i] < 0 || value[i] > 255) return false;
    (*colour)[i] = value[i].get<std::uint8_t>();
  }
  return true;
}

Status ReadField(const std::string& field, const json& value, DetectorInput* input) {
  const auto read = [&](bool right, const char* expected) {
    return right ? Status() : WrongField(kKey, field, value, expected);
  };
  if (field == "version") return read(value == 1, "1");
  if (field == "name") {
    if (value.is_string()) input->name = OneLine(value.get<std::string>(), ' ');
    return read(value.is_string(), "a text");
  }
  if (field == "resize") {
    input->layout.letterbox = value == "letterbox";
    return read(value == "letterbox" || value == "stretch", R"("stretch" or "letterbox")");
  }
  if (field == "fill") {
    return read(ReadColour(value, &input->layout.fill), "three whole numbers from 0 to 255");
  }
  if (field == "nms") return read(value.is_null() || ReadShare(value, &input->iou), "a number from 0 to 1, or null");
  if (field == "score") return read(ReadShare(value, &input->score), "a number from 0 to 1");
  if (const auto status = internal::ReadPixelField(kKey, field, value, &input->pixels)) return *status;
  if (field == "comment" || field == "description") return {};
  return internal::UnknownField(kKey, field, kKnown);
}

}  // namespace

Result<DetectorInput> ParseDetectorInput(const std::string& text) {
  const json fields = json::parse(text, nullptr, false);
  if (!fields.is_object()) {
    return Status(StatusCode::kUnsupported, text.empty()
                                                ? "it has no metadata rrn.detector, so it is no detector of rrn"
                                                : "its metadata rrn.detector is not a JSON object");
  }
  DetectorInput input;
  input.pixels.mean = {0, 0, 0};
  input.pixels.stddev = {1, 1, 1};
  for (const auto& [field, value] : fields.items()) {
    Status status = ReadField(field, value, &input);
    if (!status.ok()) return status;
  }
  if (fields.count("version") == 0) {
    return Status(StatusCode::kUnsupported, "its metadata rrn.detector has no version, expected 1");
  }
  return input;
}

}  // namespace rrn
