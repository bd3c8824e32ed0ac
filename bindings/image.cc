// include/rrn/image.h for Python.
#include "rrn/image.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common.h"

namespace rrn::bindings {
ImageView View(const Pixels& pixels) {
  if (pixels.ndim() != 3 || pixels.shape(2) != 3) throw py::value_error("expected a uint8 array [height, width, 3]");
  return {pixels.data(), static_cast<int>(pixels.shape(1)), static_cast<int>(pixels.shape(0))};
}

namespace {

Rows PreprocessPixels(const Pixels& pixels, int size, const std::array<float, 3>& mean,
                      const std::array<float, 3>& stddev, float divisor, bool bgr) {
  const ImageView view = View(pixels);
  const Preprocessing preprocessing = {mean, stddev, divisor, bgr};
  if (size < 1) throw py::value_error("size is " + std::to_string(size) + ", expected at least 1");
  return MakeInput(size, [&](float* data) { return PreprocessImage(view, size, preprocessing, data); });
}

Image DecodeBytes(const py::bytes& data, std::uint64_t max_pixels, int target) {
  const std::string_view bytes = data;
  Result<Image> result = [&] {
    const py::gil_scoped_release nogil;
    return DecodeImage(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), {max_pixels, target});
  }();
  return Unwrap(std::move(result));
}

Pixels ToPixels(const Image& image) {
  Pixels pixels(std::vector<py::ssize_t>{image.height, image.width, 3});
  std::memcpy(pixels.mutable_data(), image.rgb.data(), image.rgb.size());
  return pixels;
}

Pixels Decode(const py::bytes& data, std::uint64_t max_pixels, int target) {
  return ToPixels(DecodeBytes(data, max_pixels, target));
}

// (pixels, width, height): the sides are those of the whole picture.
py::tuple DecodeSized(const py::bytes& data, std::uint64_t max_pixels, int target) {
  const Image image = DecodeBytes(data, max_pixels, target);
  return py::make_tuple(ToPixels(image), image.full_width, image.full_height);
}

py::bytes Encode(const Pixels& pixels, int quality, bool optimize) {
  const ImageView view = View(pixels);
  Result<std::vector<std::uint8_t>> result = [&] {
    const py::gil_scoped_release nogil;
    return EncodeJpeg(view, quality, optimize);
  }();
  const std::vector<std::uint8_t> file = Unwrap(std::move(result));
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

}  // namespace

void BindImage(py::module_& m) {
  m.def("decode", &Decode);
  m.def("decode_sized", &DecodeSized);
  m.def("encode_jpeg", &Encode);
  m.def("preprocess", &PreprocessPixels);
}

}  // namespace rrn::bindings
