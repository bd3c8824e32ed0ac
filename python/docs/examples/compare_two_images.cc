// Embeds two image files and prints their similarity:
//   compare_two_images FIRST SECOND
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/search.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: compare_two_images FIRST SECOND\n");
    return 2;
  }
  // Some releases of ONNX Runtime report their use over the network unless this is set before they are loaded.
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);

  rrn::EmbedderOptions options;
  options.model = MODEL;
  options.op_library = OP_LIBRARY;
  const rrn::Result<rrn::Embedder> embedder = rrn::Embedder::Create(options);
  if (!embedder.ok()) {
    std::fprintf(stderr, "%s\n", embedder.status().message().c_str());
    return 1;
  }

  rrn::Result<rrn::FileEmbeddings> embedded = embedder->EmbedFiles({argv[1], argv[2]});
  if (!embedded.ok()) {
    std::fprintf(stderr, "%s\n", embedded.status().message().c_str());
    return 1;
  }
  for (const rrn::SkippedFile& file : embedded->skipped) {
    std::fprintf(stderr, "%s: %s\n", file.path.c_str(), file.reason.c_str());
  }
  if (!embedded->skipped.empty()) return 1;

  // Rows of unit length, so that their dot product is the cosine.
  const auto dim = static_cast<std::size_t>(embedder->info().dim);
  std::vector<float>& rows = embedded->rows;
  rrn::NormalizeRows(rows.data(), 2, dim);
  const float similarity = rrn::CosineSimilarity(rows.data(), rows.data() + dim, dim);
  std::printf("%.6f\n", static_cast<double>(similarity));
  return 0;
}
