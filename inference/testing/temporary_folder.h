// For tests: a folder that goes away with the test.
#ifndef RRN_INFERENCE_TESTING_TEMPORARY_FOLDER_H_
#define RRN_INFERENCE_TESTING_TEMPORARY_FOLDER_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace rrn::test_support {

// Fails the test where the folder cannot be made.
class TemporaryFolder {
 public:
  // parent: an existing folder, in which it is made.
  explicit TemporaryFolder(const std::string& parent = std::filesystem::temp_directory_path().string()) {
    std::string name = parent + "/rrn_test_XXXXXX";
    if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "cannot make a temporary folder in " << parent;
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string Sub(const std::string& name) const { return path_ + "/" + name; }
  // Makes a file, and the folders on its way; returns its path.
  std::string Write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(Sub(name)).parent_path());
    std::ofstream(Sub(name), std::ios::binary) << content;
    return Sub(name);
  }

 private:
  std::string path_;
};

}  // namespace rrn::test_support

#endif  // RRN_INFERENCE_TESTING_TEMPORARY_FOLDER_H_
