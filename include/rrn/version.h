// The version of rrn.
#ifndef RRN_VERSION_H_
#define RRN_VERSION_H_

namespace rrn {

// "major.minor.patch"; static text.
const char* Version();

// The version of the ONNX Runtime library in use, for example "1.31.1"; static text.
const char* OnnxRuntimeVersion();

}  // namespace rrn

#endif  // RRN_VERSION_H_
