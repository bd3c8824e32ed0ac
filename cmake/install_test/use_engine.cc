// The whole engine: a picture is similar to itself.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "rrn/embedder.h"

int main() {
  rrn::EmbedderOptions options;
  options.model = MODEL;
  options.op_library = OP_LIBRARY;
  const rrn::Result<rrn::Embedder> embedder = rrn::Embedder::Create(options);
  if (!embedder.ok()) {
    std::printf("%s\n", embedder.status().message().c_str());
    return 1;
  }
  std::vector<std::uint8_t> pixels(64 * 48 * 3);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * i % 251);
  const rrn::ImageView image{pixels.data(), 64, 48};
  rrn::Result<std::vector<float>> rows = embedder->EmbedImages({image, image});
  if (!rows.ok()) return 1;
  const auto dim = static_cast<std::size_t>(embedder->info().dim);
  rrn::NormalizeRows(rows->data(), 2, dim);
  const float similarity = rrn::CosineSimilarity(rows->data(), rows->data() + dim, dim);
  std::printf("%s, custom op %d: %g\n", embedder->info().file.c_str(), embedder->info().custom_op, similarity);
  return embedder->info().custom_op && similarity > 0.9999F ? 0 : 1;
}
