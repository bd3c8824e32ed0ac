// For tests: ONNX files, written without an ONNX library. onnx.proto has the field numbers.
#ifndef RRN_INFERENCE_TESTING_ONNX_FILE_H_
#define RRN_INFERENCE_TESTING_ONNX_FILE_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace rrn::test_support {

// Just enough of the protobuf wire format.
class Message {
 public:
  Message& Int(int field, std::uint64_t value) {
    Varint(static_cast<std::uint64_t>(field) << 3);
    Varint(value);
    return *this;
  }
  Message& Bytes(int field, const std::string& value) {
    Varint(static_cast<std::uint64_t>(field) << 3 | 2);
    Varint(value.size());
    data_ += value;
    return *this;
  }
  Message& Sub(int field, const Message& value) { return Bytes(field, value.data_); }
  const std::string& data() const { return data_; }

 private:
  void Varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) data_ += static_cast<char>((value & 0x7f) | 0x80);
    data_ += static_cast<char>(value);
  }
  std::string data_;
};

// `type`: the number of an element type, 1 for float32. `dims`: numbers, or names of symbolic dimensions; empty for an
// unknown shape.
inline Message ValueInfo(const std::string& name, int type, const std::vector<std::string>& dims) {
  Message tensor;
  tensor.Int(1, static_cast<std::uint64_t>(type));
  if (!dims.empty()) {
    Message shape;
    for (const std::string& dim : dims) {
      const bool number = dim.find_first_not_of("0123456789") == std::string::npos;
      shape.Sub(1, number ? Message().Int(1, std::stoull(dim)) : Message().Bytes(2, dim));
    }
    tensor.Sub(2, shape);
  }
  return Message().Bytes(1, name).Sub(2, Message().Sub(1, tensor));
}

inline Message Node(const std::string& op_type, const std::vector<std::string>& inputs, const std::string& output) {
  Message node;
  for (const std::string& input : inputs) node.Bytes(1, input);
  node.Bytes(2, output).Bytes(4, op_type);
  return node;
}

inline Message Entry(const std::string& key, const std::string& value) {
  return Message().Bytes(1, key).Bytes(2, value);
}

// A float32 tensor of `dims` whose values lie in another file.
inline Message ExternalTensor(const std::string& name, const std::vector<std::uint64_t>& dims,
                              const std::string& location) {
  Message tensor;
  for (const std::uint64_t dim : dims) tensor.Int(1, dim);
  return tensor.Int(2, 1).Bytes(8, name).Sub(13, Entry("location", location)).Int(14, 1);
}

// An embedder whose embedding is the mean of each channel of its input, times three factors: [N, 3].
//   preprocessing: the metadata rrn.preprocessing; empty for none.
//   location: the file that holds the factors, as Factors makes it; empty for factors of 1.
//   type: of input and output: 1 for float32, 10 for float16.
inline std::string MeanColourModel(const std::string& preprocessing = "", const std::string& location = "",
                                   int type = 1) {
  const bool scaled = !location.empty();
  Message graph;
  if (scaled) graph.Sub(1, Node("Mul", {"images", "factors"}, "scaled"));
  graph.Sub(1, Node("GlobalAveragePool", {scaled ? "scaled" : "images"}, "pooled"));
  graph.Sub(1, Node("Flatten", {"pooled"}, "embedding")).Bytes(2, "g");
  if (scaled) graph.Sub(5, ExternalTensor("factors", {1, 3, 1, 1}, location));
  graph.Sub(11, ValueInfo("images", type, {"n", "3", "h", "w"})).Sub(12, ValueInfo("embedding", type, {"n", "3"}));
  Message model;
  model.Int(1, 8).Sub(8, Message().Bytes(1, "").Int(2, 17)).Sub(7, graph);
  if (!preprocessing.empty()) model.Sub(14, Entry("rrn.preprocessing", preprocessing));
  return model.data();
}

inline std::string Factors(const std::array<float, 3>& factors) {
  std::string bytes(sizeof(factors), '\0');
  std::memcpy(bytes.data(), factors.data(), bytes.size());
  return bytes;
}

}  // namespace rrn::test_support

#endif  // RRN_INFERENCE_TESTING_ONNX_FILE_H_
