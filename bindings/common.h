// What all bindings share: arrays to views, Status to exceptions, callbacks that may raise.
#ifndef RRN_BINDINGS_COMMON_H_
#define RRN_BINDINGS_COMMON_H_

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "rrn/embedder.h"
#include "rrn/image.h"
#include "rrn/search.h"
#include "rrn/status.h"

namespace rrn::bindings {

namespace py = pybind11;

using Rows = py::array_t<float, py::array::c_style>;
using Pixels = py::array_t<std::uint8_t, py::array::c_style>;
using Callback = std::function<bool(std::size_t, std::size_t)>;

// Raises what a failed Status says. The failures that Python's own exceptions do not name become rrn_native.RrnError.
// Messages may hold paths, so they are decoded as paths are.
[[noreturn]] void Throw(const Status& status);

template <typename T>
T Unwrap(Result<T> result) {
  if (!result.ok()) Throw(result.status());
  return *std::move(result);
}

// A progress callback may raise. The exception must not travel through the engine's threads, so it is kept here, the
// work is cancelled, and Rethrow raises it again on the calling thread.
class Guard {
 public:
  template <typename... Args>
  bool Call(const std::function<bool(Args...)>& callback, Args... args) {
    const py::gil_scoped_acquire gil;
    try {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      return !callback || callback(args...);
    } catch (py::error_already_set& error) {
      error_ = std::make_unique<py::error_already_set>(std::move(error));
      return false;
    }
  }
  void Rethrow() {
    if (error_ == nullptr) return;
    const std::unique_ptr<py::error_already_set> error = std::move(error_);
    throw py::error_already_set(std::move(*error));
  }

 private:
  std::unique_ptr<py::error_already_set> error_;
};

// A matrix as the engine sees it, as long as the array lives. Raises ValueError for other ranks.
EmbeddingsView View(const Rows& rows);

// float32 [n, dim], which owns the numbers.
Rows ToArray(std::vector<float> rows, std::size_t dim);

// A picture as the engine sees it, as long as the array lives. Raises ValueError for other shapes.
ImageView View(const Pixels& pixels);

// Fills float32 [3, size, size] by `fill`, which gets its data.
template <typename Fill>
Rows MakeInput(py::ssize_t size, const Fill& fill) {
  Rows output(std::vector<py::ssize_t>{3, size, size});
  float* data = output.mutable_data();
  Status status;
  {
    const py::gil_scoped_release nogil;
    status = fill(data);
  }
  if (!status.ok()) Throw(status);
  return output;
}

// Each adds a header's functions to the module.
py::class_<Embedder> BindEmbedder(py::module_& m);
void BindDetector(py::module_& m);
void BindImage(py::module_& m);
void BindReduction(py::module_& m);
void BindSearch(py::module_& m);
void BindSimilarity(py::module_& m, py::class_<Embedder>* embedder);
void BindStore(py::module_& m, py::class_<Embedder>* embedder);

// Adds default_options(), which no header has.
void BindDefaultOptions(py::module_& m);

}  // namespace rrn::bindings

#endif  // RRN_BINDINGS_COMMON_H_
