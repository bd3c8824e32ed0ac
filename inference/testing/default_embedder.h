// For tests: the default model at a small size. RRN_MODEL and RRN_OP_LIBRARY come from rrn_use_default_model.
#ifndef RRN_INFERENCE_TESTING_DEFAULT_EMBEDDER_H_
#define RRN_INFERENCE_TESTING_DEFAULT_EMBEDDER_H_

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "rrn/embedder.h"

namespace rrn::test_support {

inline Embedder MakeEmbedder(int batch = 4, int threads = 2, const std::string& op_library = RRN_OP_LIBRARY) {
  EmbedderOptions options;
  options.model = RRN_MODEL;
  options.op_library = op_library;
  options.size = 64;
  options.batch = batch;
  options.threads = threads;
  options.provider = "cpu";
  Result<Embedder> embedder = Embedder::Create(options);
  EXPECT_TRUE(embedder.ok()) << embedder.status().message();
  return *std::move(embedder);
}

}  // namespace rrn::test_support

#endif  // RRN_INFERENCE_TESTING_DEFAULT_EMBEDDER_H_
