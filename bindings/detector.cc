// include/rrn/detector.h for Python.
#include "rrn/detector.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common.h"

namespace rrn::bindings {
namespace {

// boxes float32 [n, 4], scores float32 [n], and the seconds of preprocessing and detection.
py::tuple Detect(const Detector& detector, const Pixels& pixels) {
  const ImageView view = View(pixels);
  Result<BoxesOfImage> result = [&] {
    const py::gil_scoped_release nogil;
    return detector.Detect(view);
  }();
  const BoxesOfImage found = Unwrap(std::move(result));
  std::vector<float> corners;
  corners.reserve(found.boxes.size() * 4);
  py::array_t<float> scores(static_cast<py::ssize_t>(found.boxes.size()));
  float* score = scores.mutable_data();
  for (const Box& box : found.boxes) {
    corners.insert(corners.end(), {box.left, box.top, box.right, box.bottom});
    *score++ = box.score;
  }
  return py::make_tuple(ToArray(std::move(corners), 4), scores, found.preprocess_seconds, found.detect_seconds);
}

}  // namespace

void BindDetector(py::module_& m) {
  py::class_<DetectorInfo>(m, "DetectorInfo")
      .def_readonly("name", &DetectorInfo::name)
      .def_readonly("file", &DetectorInfo::file)
      .def_readonly("width", &DetectorInfo::width)
      .def_readonly("height", &DetectorInfo::height)
      .def_readonly("score", &DetectorInfo::score)
      .def_readonly("iou", &DetectorInfo::iou)
      .def_readonly("model_score", &DetectorInfo::model_score)
      .def_readonly("provider", &DetectorInfo::provider)
      .def_readonly("precision", &DetectorInfo::precision)
      .def_readonly("note", &DetectorInfo::note);

  py::class_<Detector>(m, "Detector")
      .def(py::init([](const std::string& model, const std::string& provider, const std::string& precision, int threads,
                       float score, float iou, int max_boxes, bool cache) {
             const py::gil_scoped_release nogil;
             Result<Detector> detector =
                 Detector::Create({model, provider, precision, threads, score, iou, max_boxes, cache});
             const py::gil_scoped_acquire gil;
             return std::make_unique<Detector>(Unwrap(std::move(detector)));
           }),
           py::kw_only(), py::arg("model"), py::arg("provider"), py::arg("precision"), py::arg("threads"),
           py::arg("score"), py::arg("iou"), py::arg("max_boxes"), py::arg("cache"))
      .def_property_readonly("info", &Detector::info)
      .def("detect", &Detect);
}

}  // namespace rrn::bindings
