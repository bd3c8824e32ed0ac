// Intel's OpenVINO as a plugin of ONNX Runtime (PyPI: onnxruntime-ep-openvino), on the CPU.
#ifndef RRN_ENGINE_OPENVINO_H_
#define RRN_ENGINE_OPENVINO_H_

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <string>

#include "engine/provider.h"
#include "rrn/status.h"

namespace rrn::internal {

// The plugin's library: $RRN_OPENVINO_EP if that is set; otherwise beside the program (../lib, lib), beside ONNX
// Runtime's own library, or in the package onnxruntime_ep_openvino of the same Python environment as that. Symbolic
// links are resolved, because the plugin finds its other libraries beside itself. Empty if it is nowhere.
std::string FindOpenVino();

// Loads the plugin at `library` into ONNX Runtime, once a process, and appends its CPU device to the session's
// providers. Every setting that could change a result is given: OpenVINO would choose bf16 by itself.
//   threads: the number of inferences that run at the same time, each on one core.
//   cache: a folder for the compiled model; empty for none.
// Thread-safe. Errors: kNotFound (an ONNX Runtime, or a build of rrn, that knows no plugins), kUnsupported (this CPU
// lacks the precision, or with choice.only_if_fast is slow in it), kRuntime. May throw Ort::Exception.
Status AppendOpenVino(const Choice& choice, const std::string& library, std::size_t threads, const std::string& cache,
                      Ort::Env* env, Ort::SessionOptions* session_options);

}  // namespace rrn::internal

#endif  // RRN_ENGINE_OPENVINO_H_
