// include/rrn/embedder.h for Python.
#include "rrn/embedder.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "rrn/version.h"

namespace rrn::bindings {
namespace {

py::tuple EmbedFiles(const Embedder& embedder, const std::vector<std::string>& paths, const Callback& progress) {
  Guard guard;
  Result<FileEmbeddings> result = [&] {
    const py::gil_scoped_release nogil;
    return embedder.EmbedFiles(paths,
                               [&](std::size_t done, std::size_t total) { return guard.Call(progress, done, total); });
  }();
  guard.Rethrow();
  FileEmbeddings embedded = Unwrap(std::move(result));
  std::vector<std::pair<py::bytes, std::string>> skipped;
  for (const SkippedFile& file : embedded.skipped) skipped.emplace_back(py::bytes(file.path), file.reason);
  return py::make_tuple(ToArray(std::move(embedded.rows), static_cast<std::size_t>(embedder.info().dim)), embedded.read,
                        skipped);
}

Rows EmbedImages(const Embedder& embedder, const std::vector<Pixels>& images, const Callback& progress) {
  std::vector<ImageView> views;
  views.reserve(images.size());
  for (const Pixels& image : images) views.push_back(View(image));
  Guard guard;
  Result<std::vector<float>> result = [&] {
    const py::gil_scoped_release nogil;
    return embedder.EmbedImages(views,
                                [&](std::size_t done, std::size_t total) { return guard.Call(progress, done, total); });
  }();
  guard.Rethrow();
  return ToArray(Unwrap(std::move(result)), static_cast<std::size_t>(embedder.info().dim));
}

Rows PreprocessForModel(const Embedder& embedder, const Pixels& pixels) {
  const ImageView view = View(pixels);
  return MakeInput(embedder.info().size, [&](float* data) { return embedder.Preprocess(view, data); });
}

std::string FingerprintOfFiles(const std::string& model) {
  Result<std::string> fingerprint = [&] {
    const py::gil_scoped_release nogil;
    return FilesFingerprint(model);
  }();
  return Unwrap(std::move(fingerprint));
}

// What a model's metadata rrn.preprocessing asks for: size, channels, divisor, mean and std.
py::dict InputOf(const std::string& text) {
  const ModelInput input = Unwrap(ParseModelInput(text));
  py::dict fields;
  fields["size"] = input.size;
  fields["channels"] = input.preprocessing.bgr ? "BGR" : "RGB";
  fields["divisor"] = input.preprocessing.divisor;
  fields["mean"] = input.preprocessing.mean;
  fields["std"] = input.preprocessing.stddev;
  return fields;
}

}  // namespace

py::class_<Embedder> BindEmbedder(py::module_& m) {
  m.def("onnxruntime_version", &OnnxRuntimeVersion);
  m.def("files_fingerprint", &FingerprintOfFiles);
  m.def("parse_model_input", &InputOf);
  py::class_<ModelInfo>(m, "ModelInfo")
      .def_readonly("file", &ModelInfo::file)
      .def_readonly("weights_origin", &ModelInfo::weights_origin)
      .def_readonly("weights_sha256", &ModelInfo::weights_sha256)
      .def_readonly("size", &ModelInfo::size)
      .def_readonly("dim", &ModelInfo::dim)
      .def_readonly("provider", &ModelInfo::provider)
      .def_readonly("precision", &ModelInfo::precision)
      .def_readonly("note", &ModelInfo::note)
      .def_readonly("custom_op", &ModelInfo::custom_op)
      .def_readonly("fingerprint", &ModelInfo::fingerprint)
      .def_readonly("files_fingerprint", &ModelInfo::files_fingerprint);

  return py::class_<Embedder>(m, "Embedder")
      .def(py::init([](const std::string& model, const std::string& op_library, int size, int batch, int threads,
                       const std::string& provider, const std::string& precision, bool cache, std::uint64_t max_pixels,
                       bool full_decode) {
             const py::gil_scoped_release nogil;
             EmbedderOptions options{model,    op_library, size,  batch,        threads,
                                     provider, precision,  cache, {max_pixels}, full_decode};
             Result<Embedder> embedder = Embedder::Create(options);
             const py::gil_scoped_acquire gil;
             return std::make_unique<Embedder>(Unwrap(std::move(embedder)));
           }),
           py::kw_only(), py::arg("model"), py::arg("op_library"), py::arg("size"), py::arg("batch"),
           py::arg("threads"), py::arg("provider"), py::arg("precision"), py::arg("cache"), py::arg("max_pixels"),
           py::arg("full_decode"))
      .def_property_readonly("info", &Embedder::info)
      .def("embed_files", &EmbedFiles)
      .def("embed_images", &EmbedImages)
      .def("preprocess", &PreprocessForModel);
}

}  // namespace rrn::bindings
