#include "store/writer_note.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "base/files.h"
#include "base/text.h"
#include "store/folder.h"

namespace rrn::internal {
namespace {

constexpr const char* kNoteFile = "/writer.txt";
constexpr std::size_t kNoteSize = 256;  // written at once, so no reader sees parts of two

std::string Host() {
  std::array<char, 128> name = {};
  return gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : "?";
}

// When a process of this machine was started, in ticks since the machine was; empty if it has ended. Numbers of
// processes are used again, so the number alone says nothing.
std::string StartOf(pid_t process) {
  std::ifstream stream("/proc/" + std::to_string(process) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  const std::size_t name_end = text.rfind(')');  // the name of a program may have any bytes
  if (name_end == std::string::npos) return "";
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return fields ? field : "";
}

}  // namespace

void NoteWriter(const std::string& folder) {
  const Descriptor file(open((folder + kNoteFile).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
  std::string note = std::to_string(getpid()) + " " + StartOf(getpid()) + " " + OneLine(Host());
  note.resize(kNoteSize - 1, ' ');
  note += '\n';
  if (file.value() >= 0) static_cast<void>(WriteAt(file.value(), note.data(), note.size(), 0));
}

std::string DescribeWriter(const std::string& folder) {
  std::ifstream stream(folder + kNoteFile);
  pid_t process = 0;
  std::string start;
  std::string host;
  if (!(stream >> process >> start >> host) || process <= 0) return "another process";
  const std::string who = std::to_string(process) + " on " + OneLine(host);
  if (host != Host()) return "process " + who;
  if (StartOf(process) != start) return "another process (the last one that is known, " + who + ", has ended)";
  return process == getpid() ? "this process" : "process " + who;
}

}  // namespace rrn::internal
