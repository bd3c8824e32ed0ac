// An ONNX model, loaded: its inputs and outputs by name, and running it. Knows nothing of images.
//
// session.cc, provider_setup.* and openvino.* are the only files that talk to ONNX Runtime.
#ifndef RRN_ENGINE_SESSION_H_
#define RRN_ENGINE_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/provider.h"
#include "rrn/status.h"

namespace rrn::internal {

// What an array holds. kOther: another element type, or no tensor at all.
enum class ElementType : std::uint8_t { kFloat32, kFloat16, kInt32, kInt64, kUint8, kOther };

// An input or output of a model, as it declares it.
struct ValueInfo {
  std::string name;
  ElementType element = ElementType::kOther;
  std::vector<std::int64_t> shape;  // -1: free. Outputs often declare none.
};

// What one input gets: float32 [shape], contiguous, owned by the caller. It is converted for an input of float16.
struct FloatInput {
  std::string name;
  std::vector<std::int64_t> shape;
  const float* data = nullptr;
};

// What one output gave, contiguous. float16 is converted to float32.
struct Array {
  ElementType element = ElementType::kOther;
  std::vector<std::int64_t> shape;
  std::shared_ptr<const void> data;  // null for kOther

  const float* floats() const { return static_cast<const float*>(data.get()); }  // of kFloat32
};

// What to load, and how.
struct SessionSettings {
  std::string model;
  std::string op_library;  // empty: none
  Choice choice;
  std::size_t threads = 1;                   // calls of Run at the same time
  int threads_per_run = 1;                   // threads that compute one Run together
  bool cache = true;                         // may compiled models be kept?
  std::function<std::string()> fingerprint;  // of the model's files; called where compiled models are kept
};

class Session {
 public:
  // Loads a model. Errors: kNotFound (the provider is not installed), kUnsupported (it cannot do this here), kRuntime.
  static Result<std::unique_ptr<Session>> Open(const SessionSettings& settings);
  virtual ~Session() = default;

  virtual const std::vector<ValueInfo>& inputs() const = 0;
  virtual const std::vector<ValueInfo>& outputs() const = 0;

  // The value of a key in the model's metadata; empty if it is not there.
  virtual std::string Metadata(const std::string& key) const = 0;

  // Runs the model on the calling thread; the outputs come in the order of their names. Thread-safe.
  // Errors: kRuntime.
  virtual Result<std::vector<Array>> Run(const std::vector<FloatInput>& inputs,
                                         const std::vector<std::string>& outputs) const = 0;
};

}  // namespace rrn::internal

#endif  // RRN_ENGINE_SESSION_H_
