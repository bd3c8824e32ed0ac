// For tests: pictures that are made, not stored.
#ifndef RRN_INFERENCE_TESTING_PICTURES_H_
#define RRN_INFERENCE_TESTING_PICTURES_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "rrn/image.h"

namespace rrn::test_support {

inline ImageView View(const Image& image) { return {image.rgb.data(), image.width, image.height}; }

// A picture of coloured squares; other seeds look different.
inline Image MakePicture(int width, int height, std::uint32_t seed) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const auto cell = static_cast<std::uint32_t>(x * 5 / width + 7 * (y * 5 / height));
      for (std::uint32_t c = 0; c < 3; ++c) {
        const std::uint32_t hash = (cell * 2654435761U) ^ (seed * 40503U) ^ (c * 97U);
        image.rgb.push_back(static_cast<std::uint8_t>((hash * 2246822519U) >> 24));
      }
    }
  }
  return image;
}

// 24-bit BMP.
inline std::string EncodeBmp(const Image& image) {
  const auto stride = static_cast<std::uint32_t>(image.width * 3 + 3) / 4 * 4;
  const std::uint32_t size = 54 + stride * static_cast<std::uint32_t>(image.height);
  std::string bmp = "BM";
  const auto put = [&bmp](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bmp += static_cast<char>((value >> (8 * i)) & 0xffU);
  };
  put(size, 4);
  put(0, 4);
  put(54, 4);
  put(40, 4);
  put(static_cast<std::uint32_t>(image.width), 4);
  put(static_cast<std::uint32_t>(image.height), 4);
  put(1, 2);
  put(24, 2);
  for (int i = 0; i < 6; ++i) put(0, 4);
  for (int y = image.height - 1; y >= 0; --y) {
    for (int x = 0; x < image.width; ++x) {
      const std::uint8_t* pixel = &image.rgb[3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) +
                                                  static_cast<std::size_t>(x))];
      bmp += static_cast<char>(pixel[2]);
      bmp += static_cast<char>(pixel[1]);
      bmp += static_cast<char>(pixel[0]);
    }
    bmp.append(stride - static_cast<std::size_t>(image.width) * 3, '\0');
  }
  return bmp;
}

// A picture with detail of all sizes, as photos have: sums of waves at many angles.
inline Image MakeDetailed(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      double value = 128;
      for (int wave = 1; wave <= 24; ++wave) {
        const double frequency = 0.11 * wave;
        const double angle = 2.4 * wave;
        value += 60.0 / wave * std::sin(frequency * (x * std::cos(angle) + y * std::sin(angle)) + wave);
      }
      const auto level = static_cast<std::uint8_t>(std::lround(std::min(std::max(value, 0.0), 255.0)));
      image.rgb.insert(image.rgb.end(), {level, static_cast<std::uint8_t>(level / 2), level});
    }
  }
  return image;
}

}  // namespace rrn::test_support

#endif  // RRN_INFERENCE_TESTING_PICTURES_H_
