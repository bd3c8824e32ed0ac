#include "program/flags/about.h"

#include <csignal>
#include <string>
#include <vector>

#include "program/exit_code.h"

namespace rrn {

std::string Summary(const Caller& caller) {
  return caller.verb == Verb::kCompare ? "compare two images" : "find the similar images of a folder";
}

std::vector<std::string> Description(const Caller& caller) {
  if (caller.verb == Verb::kCompare) {
    return {
        "Compares two images.",
        "Prints the cosine of their embeddings, and whether they are similar: whether it is above the threshold.",
    };
  }
  return {
      caller.verb == Verb::kFind ? "Finds the similar images of a folder and counts the unique ones."
                                 : "Finds the similar images of a folder and counts the unique ones, or compares two "
                                   "images.",
      "Two images are similar when the cosine of their embeddings is above the threshold. A group is a representative "
      "and images similar to it; nothing is chained through third images. The image with the most similar ones becomes "
      "a representative first (ties: path order; --keep has other orders); every other image joins the representative "
      "it is most similar to. Representatives are kept, the others of a group are redundant.",
  };
}

std::vector<std::string> Forms(const Caller& caller) {
  if (caller.verb == Verb::kCompare) return {"[OPTIONS] IMAGE IMAGE"};
  std::vector<std::string> forms = {"[OPTIONS] FOLDER", "[OPTIONS] --list FILE"};
  if (caller.verb == Verb::kAny) forms.emplace_back("[OPTIONS] IMAGE IMAGE");
  forms.emplace_back("--undo JOURNAL");
  return forms;
}

std::vector<Described> Examples(const Caller& caller) {
  const std::string& name = caller.program;
  if (caller.verb == Verb::kCompare) {
    return {
        {name + " a.jpg b.jpg", "one similarity"},
        {name + " a.jpg b.jpg --quiet", "only the exit code"},
    };
  }
  std::vector<Described> examples = {
      {name + " photos", "groups and totals, for reading"},
      {name + " photos --json result.json", "the same for programs"},
      {name + " photos --html result.html", "the same with thumbnails, for the browser"},
      {name + " new --against archive", "which of 'new' are in 'archive'"},
      {"find . -name '*.jpg' -print0 | " + name + " --list -", "the images that another program names"},
      {name + " photos --keep largest --move-to redundant", "keep the largest of each group"},
      {name + " --undo redundant/rrn-journal-20260131T120000Z.jsonl", "put them back"},
  };
  if (caller.verb == Verb::kAny) {
    examples.insert(examples.begin() + 3, {name + " a.jpg b.jpg", "one similarity"});
  }
  return examples;
}

std::vector<Described> ExitCodes(const Caller& caller) {
  std::vector<Described> codes = {
      {std::to_string(kDone), caller.verb == Verb::kCompare ? "similar" : "done; two images: similar"},
      {std::to_string(kNotSimilar), caller.verb == Verb::kCompare ? "not similar" : "two images: not similar"},
      {std::to_string(kUsage), "wrong usage"},
      {std::to_string(kNothingReadable), "nothing readable"},
      {std::to_string(kRuntimeError), "model, runtime or output failed"},
      {std::to_string(kSignalBase + SIGINT), "interrupted (Ctrl-C)"},
  };
  if (caller.verb != Verb::kCompare) {
    codes[4].text += ", or some files could not be moved, linked or put back (they are listed)";
  }
  return codes;
}

std::string FlagRules() {
  return "--flag VALUE and --flag=VALUE are the same; a value that begins with '-' needs the second form, except '-' "
         "itself and numbers. A flag that is given twice keeps its last value, unless it says that it may be repeated. "
         "After '--' there are paths only.";
}

}  // namespace rrn
