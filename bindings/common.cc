#include "common.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace rrn::bindings {

void Throw(const Status& status) {
  const auto own = [](const char* name) { return py::module_::import("rrn_native.errors").attr(name); };
  py::object type;
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      type = py::reinterpret_borrow<py::object>(PyExc_ValueError);
      break;
    case StatusCode::kNotFound:
      type = py::reinterpret_borrow<py::object>(PyExc_FileNotFoundError);
      break;
    case StatusCode::kCancelled:
      type = own("CancelledError");
      break;
    default:
      type = own("RrnError");
      break;
  }
  const std::string& text = status.message();
  const auto message = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(text.data(), static_cast<py::ssize_t>(text.size()), "surrogateescape"));
  PyErr_SetObject(type.ptr(), message.ptr());
  throw py::error_already_set();
}

EmbeddingsView View(const Rows& rows) {
  if (rows.ndim() != 2) throw py::value_error("expected a float32 array [n, dim]");
  return {rows.data(), static_cast<std::size_t>(rows.shape(0)), static_cast<std::size_t>(rows.shape(1))};
}

Rows ToArray(std::vector<float> rows, std::size_t dim) {
  auto owner = std::make_unique<std::vector<float>>(std::move(rows));
  const std::vector<py::ssize_t> shape = {static_cast<py::ssize_t>(owner->size() / dim), static_cast<py::ssize_t>(dim)};
  float* data = owner->data();
  const py::capsule capsule(owner.get(), [](void* p) { delete static_cast<std::vector<float>*>(p); });
  (void)owner.release();  // the capsule frees it
  return Rows(shape, data, capsule);
}

}  // namespace rrn::bindings
