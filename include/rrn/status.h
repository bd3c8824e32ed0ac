// Errors as values.
//
// The libraries never print, exit or abort, and throw nothing of their own. A function that can fail returns a
// Status, or a Result<T> when it also has a value. The Python bindings turn a Status into an exception, the
// executable turns it into one line and an exit code.
//
// Thread-safety: a Status or Result is a plain value; share it between threads like a std::string.
#ifndef RRN_STATUS_H_
#define RRN_STATUS_H_

#include <optional>
#include <string>
#include <utility>

namespace rrn {

// What kind of failure happened. Callers branch on the code, people read the message.
enum class StatusCode {
  kOk,
  kInvalidArgument,  // The caller asked for something impossible; the message names expected and got.
  kNotFound,         // A file, folder, model or library does not exist.
  kUnreadable,       // It exists, but the operating system refuses to read it.
  kUnsupported,      // A known thing that this build cannot do (an AVIF file, a provider that is not installed).
  kCorrupt,          // Damaged or truncated data.
  kTooLarge,         // Over a limit that the caller can raise (the message names the option).
  kCancelled,        // A progress callback or a signal asked to stop.
  kRuntime,          // ONNX Runtime, CUDA or the operating system failed.
};

// Success, or a code and a message of one line: what, where, expected, got, what to do.
class [[nodiscard]] Status {
 public:
  // Success.
  Status() = default;

  // A failure. `code` must not be kOk.
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  // Success? What kind of failure? The message, empty for success.
  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

// A value of type T, or the Status that says why it is missing.
template <typename T>
class [[nodiscard]] Result {
 public:
  // Both conversions are implicit on purpose: `return value;` and `return Status(...)` read naturally.
  Result(T value) : value_(std::move(value)) {}          // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  // Is there a value? If not, why?
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  // The value. Precondition: ok().
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace rrn

#endif  // RRN_STATUS_H_
