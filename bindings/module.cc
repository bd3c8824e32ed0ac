// The pybind11 module rrn_native._native. It only converts: arrays to views, Status to exceptions. The documentation is
// in rrn_native's arrays.py and embedder.py, whose functions are what people call. One file here for each public
// header.
#include <string>
#include <vector>

#include "common.h"
#include "program/command_line.h"
#include "program/flags/about.h"
#include "program/flags/generate.h"
#include "rrn/version.h"

namespace {

// Of "rrn find" and "rrn compare".
rrn::Caller CallerOf(const std::string& program) {
  return {program, program == "rrn compare" ? rrn::Verb::kCompare : rrn::Verb::kFind};
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  namespace py = pybind11;
  m.attr("__version__") = rrn::Version();
  py::class_<rrn::Embedder> embedder = rrn::bindings::BindEmbedder(m);
  rrn::bindings::BindDefaultOptions(m);
  rrn::bindings::BindDetector(m);
  rrn::bindings::BindImage(m);
  rrn::bindings::BindReduction(m);
  rrn::bindings::BindSearch(m);
  rrn::bindings::BindStore(m, &embedder);
  rrn::bindings::BindSimilarity(m, &embedder);
  m.def(
      "run_command_line",
      [](const std::string& program, const std::string& model, const std::string& op_library,
         const std::vector<std::string>& words) {
        return rrn::RunCommandLine({CallerOf(program), model, op_library}, words);
      },
      py::call_guard<py::gil_scoped_release>());
  m.def("command_line_flags", [](const std::string& program) { return rrn::FlagsJson(CallerOf(program)); });
}
