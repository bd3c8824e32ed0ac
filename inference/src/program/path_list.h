// Reading the names of files for --list.
#ifndef RRN_PROGRAM_PATH_LIST_H_
#define RRN_PROGRAM_PATH_LIST_H_

#include <string>
#include <vector>

#include "rrn/status.h"

namespace rrn {

// The paths in `text`: separated by zero bytes if it holds any (as `find -print0` writes), otherwise one a line, with
// Unix or Windows line ends. Empty ones are left out; all else in them is kept, spaces too.
std::vector<std::string> SplitPathList(const std::string& text);

// Reads a list from a file, or from standard input for "-". Errors: kNotFound, kUnreadable, kInvalidArgument (a
// folder).
Result<std::vector<std::string>> ReadPathList(const std::string& name);

}  // namespace rrn

#endif  // RRN_PROGRAM_PATH_LIST_H_
