// The pybind11 module rrn_native._native. It only converts: arrays to views, Status to exceptions. The documentation is
// in rrn_native's arrays.py and embedder.py, whose functions are what people call.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "program/command_line.h"
#include "program/flags/about.h"
#include "program/flags/generate.h"
#include "rrn/embedder.h"
#include "rrn/image.h"
#include "rrn/reduction.h"
#include "rrn/similarity.h"
#include "rrn/version.h"

namespace py = pybind11;

namespace {

using rrn::bindings::Callback;
using rrn::bindings::Guard;
using rrn::bindings::Rows;
using rrn::bindings::Throw;
using rrn::bindings::ToArray;
using rrn::bindings::Unwrap;

using Pixels = py::array_t<std::uint8_t, py::array::c_style>;
using PhaseCallback = std::function<bool(const std::string&, std::size_t, std::size_t)>;

rrn::ImageView View(const Pixels& pixels) {
  if (pixels.ndim() != 3 || pixels.shape(2) != 3) throw py::value_error("expected a uint8 array [height, width, 3]");
  return {pixels.data(), static_cast<int>(pixels.shape(1)), static_cast<int>(pixels.shape(0))};
}

py::tuple EmbedFiles(const rrn::Embedder& embedder, const std::vector<std::string>& paths, const Callback& progress) {
  Guard guard;
  rrn::Result<rrn::FileEmbeddings> result = [&] {
    const py::gil_scoped_release nogil;
    return embedder.EmbedFiles(paths,
                               [&](std::size_t done, std::size_t total) { return guard.Call(progress, done, total); });
  }();
  guard.Rethrow();
  rrn::FileEmbeddings embedded = Unwrap(std::move(result));
  std::vector<std::pair<py::bytes, std::string>> skipped;
  for (const auto& [path, reason] : embedded.skipped) skipped.emplace_back(py::bytes(path), reason);
  return py::make_tuple(ToArray(std::move(embedded.rows), static_cast<std::size_t>(embedder.info().dim)), embedded.read,
                        skipped);
}

Rows EmbedImages(const rrn::Embedder& embedder, const std::vector<Pixels>& images, const Callback& progress) {
  std::vector<rrn::ImageView> views;
  views.reserve(images.size());
  for (const Pixels& image : images) views.push_back(View(image));
  Guard guard;
  rrn::Result<std::vector<float>> result = [&] {
    const py::gil_scoped_release nogil;
    return embedder.EmbedImages(views,
                                [&](std::size_t done, std::size_t total) { return guard.Call(progress, done, total); });
  }();
  guard.Rethrow();
  return ToArray(Unwrap(std::move(result)), static_cast<std::size_t>(embedder.info().dim));
}

// Fills float32 [3, size, size] by `fill`, which gets its data.
template <typename Fill>
Rows MakeInput(py::ssize_t size, const Fill& fill) {
  Rows output(std::vector<py::ssize_t>{3, size, size});
  float* data = output.mutable_data();
  rrn::Status status;
  {
    const py::gil_scoped_release nogil;
    status = fill(data);
  }
  if (!status.ok()) Throw(status);
  return output;
}

Rows PreprocessForModel(const rrn::Embedder& embedder, const Pixels& pixels) {
  const rrn::ImageView view = View(pixels);
  return MakeInput(embedder.info().size, [&](float* data) { return embedder.Preprocess(view, data); });
}

std::string FilesFingerprint(const std::string& model) {
  rrn::Result<std::string> fingerprint = [&] {
    const py::gil_scoped_release nogil;
    return rrn::FilesFingerprint(model);
  }();
  return Unwrap(std::move(fingerprint));
}

// What a model's metadata rrn.preprocessing asks for: size, channels, divisor, mean and std.
py::dict ParseModelInput(const std::string& text) {
  const rrn::ModelInput input = Unwrap(rrn::ParseModelInput(text));
  py::dict fields;
  fields["size"] = input.size;
  fields["channels"] = input.preprocessing.bgr ? "BGR" : "RGB";
  fields["divisor"] = input.preprocessing.divisor;
  fields["mean"] = input.preprocessing.mean;
  fields["std"] = input.preprocessing.stddev;
  return fields;
}

Rows Preprocess(const Pixels& pixels, int size) {
  const rrn::ImageView view = View(pixels);
  if (size < 1) throw py::value_error("size is " + std::to_string(size) + ", expected at least 1");
  return MakeInput(size, [&](float* data) { return rrn::PreprocessImage(view, size, {}, data); });
}

Pixels Decode(const py::bytes& data, std::uint64_t max_pixels, int target) {
  const std::string_view bytes = data;
  rrn::Result<rrn::Image> result = [&] {
    const py::gil_scoped_release nogil;
    return rrn::DecodeImage(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), {max_pixels, target});
  }();
  const rrn::Image image = Unwrap(std::move(result));
  Pixels pixels(std::vector<py::ssize_t>{image.height, image.width, 3});
  std::memcpy(pixels.mutable_data(), image.rgb.data(), image.rgb.size());
  return pixels;
}

rrn::RepresentativePolicy KeepCalled(const std::string& name) {
  for (const rrn::RepresentativePolicy keep :
       {rrn::RepresentativePolicy::kMostSimilar, rrn::RepresentativePolicy::kFirst, rrn::RepresentativePolicy::kLargest,
        rrn::RepresentativePolicy::kSharpest, rrn::RepresentativePolicy::kNewest}) {
    if (name == rrn::RepresentativePolicyName(keep)) return keep;
  }
  throw py::value_error("keep is '" + name + "', expected most-similar, first, largest, sharpest or newest");
}

// Of a folder, or of `files` if they are given. The result as its JSON text: the Python side builds its typed objects
// from it, so the two can never disagree.
std::pair<py::bytes, Rows> FindSimilar(const rrn::Embedder& embedder, const std::string& folder,
                                       const std::optional<std::vector<std::string>>& files, const std::string& against,
                                       const std::vector<std::string>& skip, const std::string& keep, float threshold,
                                       bool recursive, int threads, bool approximate, const PhaseCallback& progress) {
  rrn::SimilarityOptions options;
  options.skip = skip;
  options.against = against;
  options.keep = KeepCalled(keep);
  options.threshold = threshold;
  options.recursive = recursive;
  options.threads = threads;
  if (approximate) options.search = rrn::SearchMethod::kApproximate;
  Guard guard;
  std::string json;
  rrn::Result<rrn::SimilarityResult> result = [&] {
    const py::gil_scoped_release nogil;
    const rrn::PhaseProgress call = [&](const char* phase, std::size_t done, std::size_t total) {
      return guard.Call<const std::string&, std::size_t, std::size_t>(progress, phase, done, total);
    };
    rrn::Result<rrn::SimilarityResult> similar =
        files ? rrn::FindSimilar(embedder, rrn::ListFiles(*files, options.skip), options, call)
              : rrn::FindSimilar(embedder, folder, options, call);
    if (similar.ok()) {
      std::ostringstream text;
      rrn::WriteJson(*similar, text);
      json = text.str();
    }
    return similar;
  }();
  guard.Rethrow();
  rrn::SimilarityResult found = Unwrap(std::move(result));
  return {py::bytes(json), ToArray(std::move(found.embeddings), static_cast<std::size_t>(found.model.dim))};
}

// `type`: 0 float32, 1 float16, 2 bfloat16; the arrays and the output are contiguous and of `dtype`, which stands for
// it.
py::array Reduction(const std::vector<py::array>& layers, int type, std::int64_t channels, const py::dtype& dtype) {
  const std::size_t element = rrn::ReductionTypeSize(static_cast<rrn::ReductionType>(type));
  for (const py::array& layer : layers) {
    if (static_cast<std::size_t>(layer.itemsize()) != element || (layer.flags() & py::array::c_style) == 0) {
      throw py::value_error("reduction: expected contiguous arrays of the type's size");
    }
  }
  if (static_cast<std::size_t>(dtype.itemsize()) != element) throw py::value_error("reduction: wrong output type");
  std::vector<rrn::ReductionShape> shapes;
  std::vector<const void*> inputs;
  for (const py::array& layer : layers) {
    rrn::ReductionShape shape;
    shape.rank = static_cast<int>(layer.ndim());
    for (py::ssize_t d = 0; d < layer.ndim() && d < 8; ++d) shape.dims[static_cast<std::size_t>(d)] = layer.shape(d);
    shapes.push_back(shape);
    inputs.push_back(layer.data());
  }
  rrn::ReductionPlan plan;
  const int count = static_cast<int>(layers.size());
  rrn::ReductionStatus status = rrn::PlanReduction(shapes.data(), count, channels, &plan);
  if (status != rrn::ReductionStatus::kOk) {
    throw py::value_error(rrn::DescribeReductionError(status, shapes.data(), count, channels));
  }
  std::vector<py::ssize_t> dims = {static_cast<py::ssize_t>(plan.batch), static_cast<py::ssize_t>(plan.channels)};
  if (plan.output_rank == 1) dims.erase(dims.begin());
  py::array output(dtype, dims);
  void* data = output.mutable_data();
  {
    const py::gil_scoped_release nogil;
    status = rrn::ReduceCpu(plan, static_cast<rrn::ReductionType>(type), inputs.data(), data);
  }
  if (status != rrn::ReductionStatus::kOk) {
    throw py::value_error(rrn::DescribeReductionError(status, shapes.data(), count, channels));
  }
  return output;
}

// Of "rrn find" and "rrn compare".
rrn::Caller CallerOf(const std::string& program) {
  return {program, program == "rrn compare" ? rrn::Verb::kCompare : rrn::Verb::kFind};
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.attr("__version__") = rrn::Version();
  m.def("onnxruntime_version", &rrn::OnnxRuntimeVersion);

  py::class_<rrn::ModelInfo>(m, "ModelInfo")
      .def_readonly("file", &rrn::ModelInfo::file)
      .def_readonly("weights_origin", &rrn::ModelInfo::weights_origin)
      .def_readonly("weights_sha256", &rrn::ModelInfo::weights_sha256)
      .def_readonly("size", &rrn::ModelInfo::size)
      .def_readonly("dim", &rrn::ModelInfo::dim)
      .def_readonly("provider", &rrn::ModelInfo::provider)
      .def_readonly("precision", &rrn::ModelInfo::precision)
      .def_readonly("note", &rrn::ModelInfo::note)
      .def_readonly("custom_op", &rrn::ModelInfo::custom_op)
      .def_readonly("fingerprint", &rrn::ModelInfo::fingerprint)
      .def_readonly("files_fingerprint", &rrn::ModelInfo::files_fingerprint);

  py::class_<rrn::Embedder>(m, "Embedder")
      .def(py::init([](const std::string& model, const std::string& op_library, int size, int batch, int threads,
                       const std::string& provider, const std::string& precision, bool cache, std::uint64_t max_pixels,
                       bool full_decode) {
             const py::gil_scoped_release nogil;
             rrn::EmbedderOptions options{model,    op_library, size,  batch,        threads,
                                          provider, precision,  cache, {max_pixels}, full_decode};
             rrn::Result<rrn::Embedder> embedder = rrn::Embedder::Create(options);
             const py::gil_scoped_acquire gil;
             return std::make_unique<rrn::Embedder>(Unwrap(std::move(embedder)));
           }),
           py::kw_only(), py::arg("model"), py::arg("op_library"), py::arg("size"), py::arg("batch"),
           py::arg("threads"), py::arg("provider"), py::arg("precision"), py::arg("cache"), py::arg("max_pixels"),
           py::arg("full_decode"))
      .def_property_readonly("info", &rrn::Embedder::info)
      .def("embed_files", &EmbedFiles)
      .def("embed_images", &EmbedImages)
      .def("preprocess", &PreprocessForModel)
      .def("find_similar", &FindSimilar, py::kw_only(), py::arg("folder"), py::arg("files"), py::arg("against"),
           py::arg("skip"), py::arg("keep"), py::arg("threshold"), py::arg("recursive"), py::arg("threads"),
           py::arg("approximate"), py::arg("progress"));

  rrn::bindings::BindDefaultOptions(m);
  m.def("files_fingerprint", &FilesFingerprint);
  m.def("parse_model_input", &ParseModelInput);
  m.def("decode", &Decode);
  m.def("preprocess", &Preprocess);
  rrn::bindings::BindSearch(m);
  m.def("reduction", &Reduction);
  m.def(
      "run_command_line",
      [](const std::string& program, const std::string& model, const std::string& op_library,
         const std::vector<std::string>& words) {
        return rrn::RunCommandLine({CallerOf(program), model, op_library}, words);
      },
      py::call_guard<py::gil_scoped_release>());
  m.def("command_line_flags", [](const std::string& program) { return rrn::FlagsJson(CallerOf(program)); });
  m.def("list_folder", [](const std::string& folder, bool recursive) {
    const rrn::FolderListing listing = Unwrap(rrn::ListFolder(folder, recursive));
    std::vector<py::bytes> paths(listing.paths.begin(), listing.paths.end());
    return paths;
  });
}
