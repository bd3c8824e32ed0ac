// The defaults of the engine's options, for the test that Python and the command lines have the same.
#include "common.h"
#include "rrn/detector.h"
#include "rrn/embedder.h"
#include "rrn/search.h"
#include "rrn/similarity.h"

namespace rrn::bindings {

namespace {

// By the names that Python uses.
py::dict DefaultOptions() {
  const EmbedderOptions embedder;
  const SimilarityOptions similarity;
  const SearchOptions search;
  py::dict options;
  options["model"] = embedder.model;
  options["op_library"] = embedder.op_library;
  options["size"] = embedder.size;
  options["batch"] = embedder.batch;
  options["threads"] = embedder.threads;
  options["provider"] = embedder.provider;
  options["precision"] = embedder.precision;
  options["cache"] = embedder.cache;
  options["max_pixels"] = embedder.decode.max_pixels;
  options["full_decode"] = embedder.full_decode;
  options["threshold"] = similarity.threshold;
  options["search_threads"] = similarity.threads;
  options["recursive"] = similarity.recursive;
  options["search"] = similarity.search == SearchMethod::kExact ? "exact" : "approximate";
  options["neighbours"] = similarity.approximate.neighbours;
  options["effort"] = similarity.approximate.effort;
  options["keep"] = RepresentativePolicyName(similarity.keep);
  options["skip"] = similarity.skip;
  options["against"] = similarity.against;
  options["pairs_threshold"] = search.threshold;
  options["target"] = search.target;
  // None stands for a search that decides itself.
  options["short_rows"] = search.short_rows == ShortRows::kSampled
                              ? py::object(py::none())
                              : py::object(py::bool_(search.short_rows == ShortRows::kAlways));
  return options;
}

py::dict DefaultDetectorOptions() {
  const DetectorOptions detector;
  py::dict options;
  options["model"] = detector.model;
  options["provider"] = detector.provider;
  options["precision"] = detector.precision;
  options["threads"] = detector.threads;
  options["score"] = detector.score;
  options["iou"] = detector.iou;
  options["max_boxes"] = detector.max_boxes;
  options["cache"] = detector.cache;
  return options;
}

}  // namespace

void BindDefaultOptions(py::module_& m) {
  m.def("default_options", &DefaultOptions);
  m.def("default_detector_options", &DefaultDetectorOptions);
}

}  // namespace rrn::bindings
