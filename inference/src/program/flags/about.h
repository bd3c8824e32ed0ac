// What the program says about itself besides its flags: for --help and the manual page.
#ifndef RRN_PROGRAM_FLAGS_ABOUT_H_
#define RRN_PROGRAM_FLAGS_ABOUT_H_

#include <string>
#include <vector>

namespace rrn {

// By which name the command line was called, and which part of it is offered.
enum class Verb {
  kAny,      // similarity: a folder, or two images
  kFind,     // rrn find
  kCompare,  // rrn compare: two images
};

struct Caller {
  std::string program;  // "similarity", "rrn find"
  Verb verb = Verb::kAny;
};

// A name and what it stands for.
struct Described {
  std::string name;
  std::string text;
};

// One line: "find the similar images of a folder".
std::string Summary(const Caller& caller);

// Paragraphs.
std::vector<std::string> Description(const Caller& caller);

// The forms of the command, after the program's name: "[OPTIONS] FOLDER".
std::vector<std::string> Forms(const Caller& caller);

// Commands and what they do.
std::vector<Described> Examples(const Caller& caller);

// Exit codes and when they are returned.
std::vector<Described> ExitCodes(const Caller& caller);

// The rules of typing flags.
std::string FlagRules();

}  // namespace rrn

#endif  // RRN_PROGRAM_FLAGS_ABOUT_H_
