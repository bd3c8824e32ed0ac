// Reads what a model's metadata says about its input.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/text.h"
#include "rrn/embedder.h"

namespace rrn {
namespace {

using nlohmann::json;

// Fields that are for people.
constexpr std::array<const char*, 2> kComments = {"comment", "description"};
constexpr const char* kResize = "bilinear antialiased, aspect ratio not kept";

Status Wrong(const std::string& field, const json& got, const std::string& expected) {
  constexpr auto kReplace = json::error_handler_t::replace;
  return {StatusCode::kUnsupported, "its metadata rrn.preprocessing has " + field + " " +
                                        OneLine(got.dump(-1, ' ', false, kReplace)) + ", expected " + expected};
}

Status CheckText(const std::string& field, const json& value, const char* expected) {
  return value == expected ? Status() : Wrong(field, value, json(expected).dump());
}

// A number of this kind that a float can hold.
bool ReadFloat(const json& value, float* number) {
  if (!value.is_number()) return false;
  const auto wide = value.get<double>();
  if (!std::isfinite(wide) || std::abs(wide) > static_cast<double>(std::numeric_limits<float>::max())) return false;
  *number = static_cast<float>(wide);
  return true;
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

// "1/N", or the number itself, which pixels from 0 to 255 are multiplied by.
Status ReadScale(const json& value, float* divisor) {
  Status wrong = Wrong("scale", value, R"("1/255", "1/N" or a number above 0)");
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    if (text.rfind("1/", 0) != 0) return wrong;
    const json number = json::parse(text.substr(2), nullptr, false);
    return ReadFloat(number, divisor) && *divisor > 0 ? Status() : wrong;
  }
  float scale = 0;
  if (!ReadFloat(value, &scale) || !(scale > 0)) return wrong;
  *divisor = static_cast<float>(1 / value.get<double>());
  return std::isfinite(*divisor) && *divisor > 0 ? Status() : wrong;
}

Status ReadThree(const std::string& field, const json& value, std::array<float, 3>* numbers) {
  Status wrong = Wrong(field, value, "three numbers");
  if (!value.is_array() || value.size() != numbers->size()) return wrong;
  for (std::size_t i = 0; i < numbers->size(); ++i) {
    if (!ReadFloat(value[i], &(*numbers)[i])) return wrong;
  }
  return {};
}

Status ReadField(const std::string& field, const json& value, ModelInput* input) {
  if (field == "size") return ReadSize(value, &input->size);
  if (field == "resize") return CheckText(field, value, kResize);
  if (field == "layout") return CheckText(field, value, "NCHW");
  if (field == "scale") return ReadScale(value, &input->preprocessing.divisor);
  if (field == "mean") return ReadThree(field, value, &input->preprocessing.mean);
  if (field == "channels") {
    if (value != "RGB" && value != "BGR") return Wrong(field, value, R"("RGB" or "BGR")");
    input->preprocessing.bgr = value == "BGR";
    return {};
  }
  if (field == "std") {
    Status status = ReadThree(field, value, &input->preprocessing.stddev);
    const auto& stddev = input->preprocessing.stddev;
    if (status.ok() && std::find(stddev.begin(), stddev.end(), 0.0F) != stddev.end()) {
      status = Wrong("a standard deviation (std) of 0 in", value, "three other numbers");
    }
    return status;
  }
  if (std::find(kComments.begin(), kComments.end(), field) != kComments.end()) return {};
  return {StatusCode::kUnsupported,
          "its metadata rrn.preprocessing has a field " +
              OneLine(json(field).dump(-1, ' ', false, json::error_handler_t::replace)) +
              ", expected none but resize, size, channels, layout, scale, mean, std, comment and description"};
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
