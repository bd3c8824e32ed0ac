// Decoding files that were made in memory, and resizing, on one thread. The items are source pixels.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "image/test_files.h"
#include "rrn/image.h"
#include "rrn/status.h"

namespace rrn::bench {
namespace {

constexpr int kNetworkSide = 224;
constexpr int kQuality = 90;

struct Size {
  const char* name;
  int width;
  int height;
};
constexpr Size kSizes[] = {{"small", 64, 48}, {"1mp", 1152, 864}, {"12mp", 4032, 3024}};

// Smooth colours with grain, so that files are about as large as those of a camera.
std::vector<std::uint8_t> Picture(int width, int height) {
  std::minstd_rand random(1);
  std::vector<std::uint8_t> rgb;
  rgb.reserve(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const double wave = std::sin(0.01 * (x + 40 * c)) * std::cos(0.013 * y);
        rgb.push_back(static_cast<std::uint8_t>(128 + 110 * wave + static_cast<double>(random() % 12)));
      }
    }
  }
  return rgb;
}

std::vector<std::uint8_t> File(const std::string& format, const Size& size) {
  const std::vector<std::uint8_t> rgb = Picture(size.width, size.height);
  if (format == "png") {
    image_test::PngSpec spec;
    spec.width = size.width;
    spec.height = size.height;
    return image_test::EncodePng(spec, rgb);
  }
  Result<std::vector<std::uint8_t>> file = EncodeJpeg({rgb.data(), size.width, size.height}, kQuality);
  return file.ok() ? *std::move(file) : std::vector<std::uint8_t>();
}

void SetPixels(benchmark::State& state, const Size& size) {
  state.SetItemsProcessed(static_cast<std::int64_t>(size.width) * size.height * state.iterations());
}

void Decode(benchmark::State& state, const std::string& format, const Size& size, int target) {
  const std::vector<std::uint8_t> file = File(format, size);
  DecodeOptions options;
  options.target = target;
  for (auto _ : state) {
    const Result<Image> image = DecodeImage(file.data(), file.size(), options);
    if (!image.ok()) {
      state.SkipWithError(image.status().message().c_str());
      break;
    }
    benchmark::DoNotOptimize(image->rgb.data());
  }
  SetPixels(state, size);
}

void Resize(benchmark::State& state, const Size& size) {
  const std::vector<std::uint8_t> rgb = Picture(size.width, size.height);
  for (auto _ : state) {
    const Result<Image> image = ResizeImage({rgb.data(), size.width, size.height}, kNetworkSide, kNetworkSide);
    if (!image.ok()) {
      state.SkipWithError(image.status().message().c_str());
      break;
    }
    benchmark::DoNotOptimize(image->rgb.data());
  }
  SetPixels(state, size);
}

}  // namespace

void RegisterImage() {
  struct Way {
    const char* name;
    const char* format;
    int target;
  };
  // jpeg_224 is decoded at a fraction of its size, as the engine does.
  for (const Way& way : {Way{"jpeg", "jpeg", 0}, Way{"jpeg_224", "jpeg", kNetworkSide}, Way{"png", "png", 0}}) {
    for (const Size& size : kSizes) {
      const std::string name = std::string("decode/") + way.name + '/' + size.name;
      benchmark::RegisterBenchmark(name.c_str(), [way, size](benchmark::State& state) {
        Decode(state, way.format, size, way.target);
      })->Unit(benchmark::kMillisecond);
    }
  }
  for (const Size& size : kSizes) {
    benchmark::RegisterBenchmark((std::string("resize/224/") + size.name).c_str(), [size](benchmark::State& state) {
      Resize(state, size);
    })->Unit(benchmark::kMillisecond);
  }
}

}  // namespace rrn::bench
