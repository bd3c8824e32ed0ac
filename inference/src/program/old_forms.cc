#include "program/old_forms.h"

#include <string>
#include <vector>

namespace rrn {

Status TranslateOldForms(Typed* typed, std::vector<std::string>* notes) {
  const std::string& action = typed->action;
  if (action.empty()) return {};
  const auto wrong = [](const std::string& message) { return Status(StatusCode::kInvalidArgument, message); };
  if (typed->hardlink || !typed->move_to.empty()) {
    return wrong("--action is the old form of --hardlink and --move-to; leave it out");
  }
  if (action == "move") {
    if (typed->action_folder.empty()) {
      return wrong("--action move: expected the folder that images are moved to; now it is --move-to DIR");
    }
    typed->move_to = typed->action_folder;
    notes->emplace_back("--action move DIR is now --move-to DIR");
  } else if (action == "hardlink") {
    typed->hardlink = true;
    notes->emplace_back("--action hardlink is now --hardlink");
  } else if (action == "json") {
    if (!typed->json.empty() && typed->json != "-") {
      return wrong("--action json writes to standard output; with --json " + typed->json +
                   " the same would be in two places, so leave one of them out");
    }
    typed->json = "-";
    notes->emplace_back("--action json is now --json -");
  } else if (action == "list") {
    notes->emplace_back("--action list is what happens without it");
  } else {
    return wrong("--action: expected list, json, hardlink or move DIR, got " + action);
  }
  return {};
}

}  // namespace rrn
