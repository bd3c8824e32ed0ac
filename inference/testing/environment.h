// For tests: environment variables.
#ifndef RRN_INFERENCE_TESTING_ENVIRONMENT_H_
#define RRN_INFERENCE_TESTING_ENVIRONMENT_H_

#include <cstdlib>
#include <optional>
#include <string>

namespace rrn::test_support {

// An environment variable with another value (null: without it) as long as the object lives.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    const char* old = std::getenv(name);
    had_ = old != nullptr;
    if (had_) old_ = old;
    if (value != nullptr) {
      setenv(name, value, 1);
    } else {
      unsetenv(name);
    }
  }
  ~ScopedVariable() {
    if (had_) {
      setenv(name_, old_.c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  const char* name_;
  bool had_ = false;
  std::string old_;
};

}  // namespace rrn::test_support

#endif  // RRN_INFERENCE_TESTING_ENVIRONMENT_H_
