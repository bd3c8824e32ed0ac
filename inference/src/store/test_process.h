// For tests: a program whose output is read, and which may be killed.
#ifndef RRN_STORE_TEST_PROCESS_H_
#define RRN_STORE_TEST_PROCESS_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>
#include <vector>

namespace rrn::test_support {

// Kills it when it goes, if it still runs.
class Process {
 public:
  // variables: NAME=VALUE, added to the environment.
  explicit Process(std::vector<std::string> words, const std::vector<std::string>& variables = {}) {
    std::array<int, 2> ends = {-1, -1};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) ADD_FAILURE() << "cannot make a pipe";
    output_ = ends[0];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::vector<std::string> own = variables;
    std::vector<char*> environment;
    environment.reserve(own.size());
    for (std::string& variable : own) environment.push_back(variable.data());
    for (char** at = environ; *at != nullptr; ++at) environment.push_back(*at);
    environment.push_back(nullptr);
    if (posix_spawn(&id_, arguments[0], &actions, nullptr, arguments.data(), environment.data()) != 0) {
      ADD_FAILURE() << "cannot start " << words[0];
      id_ = -1;
    }
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
  }
  ~Process() {
    Kill();
    close(output_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Waits until it wrote this number of bytes, or ended.
  void WaitForOutput(std::size_t bytes) {
    while (text_.size() < bytes && ReadMore()) continue;
  }

  // Ends it now; returns what it wrote.
  std::string Kill() {
    if (id_ > 0) kill(id_, SIGKILL);
    return Wait();
  }

  // Waits for its end; returns what it wrote.
  std::string Wait() {
    while (ReadMore()) continue;
    if (id_ > 0) waitpid(id_, &status_, 0);
    id_ = -1;
    return text_;
  }

  // After Wait: the exit status, or minus the signal.
  int status() const { return WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_); }
  pid_t id() const { return id_; }

 private:
  // False at the end.
  bool ReadMore() {
    std::array<char, 4096> piece;
    ssize_t got = 0;
    do {
      got = read(output_, piece.data(), piece.size());
    } while (got < 0 && errno == EINTR);
    if (got > 0) text_.append(piece.data(), static_cast<std::size_t>(got));
    return got > 0;
  }

  pid_t id_ = -1;
  int output_ = -1;
  int status_ = 0;
  std::string text_;
};

}  // namespace rrn::test_support

#endif  // RRN_STORE_TEST_PROCESS_H_
