// include/rrn/reduction.h for Python.
#include "rrn/reduction.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common.h"

namespace rrn::bindings {
namespace {

// `type`: 0 float32, 1 float16, 2 bfloat16; the arrays and the output are contiguous and of `dtype`, which stands for
// it.
py::array Reduction(const std::vector<py::array>& layers, int type, std::int64_t channels, const py::dtype& dtype) {
  const std::size_t element = ReductionTypeSize(static_cast<ReductionType>(type));
  for (const py::array& layer : layers) {
    if (static_cast<std::size_t>(layer.itemsize()) != element || (layer.flags() & py::array::c_style) == 0) {
      throw py::value_error("reduction: expected contiguous arrays of the type's size");
    }
  }
  if (static_cast<std::size_t>(dtype.itemsize()) != element) throw py::value_error("reduction: wrong output type");
  std::vector<ReductionShape> shapes;
  std::vector<const void*> inputs;
  for (const py::array& layer : layers) {
    ReductionShape shape;
    shape.rank = static_cast<int>(layer.ndim());
    for (py::ssize_t d = 0; d < layer.ndim() && d < 8; ++d) shape.dims[static_cast<std::size_t>(d)] = layer.shape(d);
    shapes.push_back(shape);
    inputs.push_back(layer.data());
  }
  ReductionPlan plan;
  const int count = static_cast<int>(layers.size());
  ReductionStatus status = PlanReduction(shapes.data(), count, channels, &plan);
  if (status != ReductionStatus::kOk) {
    throw py::value_error(DescribeReductionError(status, shapes.data(), count, channels));
  }
  std::vector<py::ssize_t> dims = {static_cast<py::ssize_t>(plan.batch), static_cast<py::ssize_t>(plan.channels)};
  if (plan.output_rank == 1) dims.erase(dims.begin());
  py::array output(dtype, dims);
  void* data = output.mutable_data();
  {
    const py::gil_scoped_release nogil;
    status = ReduceCpu(plan, static_cast<ReductionType>(type), inputs.data(), data);
  }
  if (status != ReductionStatus::kOk) {
    throw py::value_error(DescribeReductionError(status, shapes.data(), count, channels));
  }
  return output;
}

}  // namespace

void BindReduction(py::module_& m) { m.def("reduction", &Reduction); }

}  // namespace rrn::bindings
