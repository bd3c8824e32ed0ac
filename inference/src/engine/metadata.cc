#include "engine/metadata.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/text.h"

namespace rrn::internal {
namespace {

using nlohmann::json;

std::string Text(const json& value) { return OneLine(value.dump(-1, ' ', false, json::error_handler_t::replace)); }

// "1/N", or the number itself, which pixels from 0 to 255 are multiplied by.
bool ReadScale(const json& value, float* divisor) {
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    if (text.rfind("1/", 0) != 0) return false;
    const json number = json::parse(text.substr(2), nullptr, false);
    return ReadFloat(number, divisor) && *divisor > 0;
  }
  float scale = 0;
  if (!ReadFloat(value, &scale) || !(scale > 0)) return false;
  *divisor = static_cast<float>(1 / value.get<double>());
  return std::isfinite(*divisor) && *divisor > 0;
}

bool ReadThree(const json& value, std::array<float, 3>* numbers) {
  if (!value.is_array() || value.size() != numbers->size()) return false;
  for (std::size_t i = 0; i < numbers->size(); ++i) {
    if (!ReadFloat(value[i], &(*numbers)[i])) return false;
  }
  return true;
}

}  // namespace

Status WrongField(const std::string& key, const std::string& field, const json& got, const std::string& expected) {
  return {StatusCode::kUnsupported,
          "its metadata " + key + " has " + field + " " + Text(got) + ", expected " + expected};
}

Status UnknownField(const std::string& key, const std::string& field, const std::string& known) {
  return {StatusCode::kUnsupported,
          "its metadata " + key + " has a field " + Text(field) + ", expected none but " + known};
}

bool ReadFloat(const json& value, float* number) {
  if (!value.is_number()) return false;
  const auto wide = value.get<double>();
  if (!std::isfinite(wide) || std::abs(wide) > static_cast<double>(std::numeric_limits<float>::max())) return false;
  *number = static_cast<float>(wide);
  return true;
}

std::optional<Status> ReadPixelField(const std::string& key, const std::string& field, const json& value,
                                     Preprocessing* preprocessing) {
  const auto read = [&](bool right, const char* expected) {
    return right ? Status() : WrongField(key, field, value, expected);
  };
  if (field == "channels") {
    preprocessing->bgr = value == "BGR";
    return read(value == "RGB" || value == "BGR", R"("RGB" or "BGR")");
  }
  if (field == "scale") return read(ReadScale(value, &preprocessing->divisor), R"("1/255", "1/N" or a number above 0)");
  if (field == "mean") return read(ReadThree(value, &preprocessing->mean), "three numbers");
  if (field != "std") return std::nullopt;
  if (!ReadThree(value, &preprocessing->stddev)) return read(false, "three numbers");
  const auto& stddev = preprocessing->stddev;
  if (std::find(stddev.begin(), stddev.end(), 0.0F) == stddev.end()) return Status();
  return WrongField(key, "a standard deviation (std) of 0 in", value, "three other numbers");
}

}  // namespace rrn::internal
