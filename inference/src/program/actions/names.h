// Names that actions give to files.
#ifndef RRN_PROGRAM_ACTIONS_NAMES_H_
#define RRN_PROGRAM_ACTIONS_NAMES_H_

#include <cstddef>
#include <string>

namespace rrn {

// What the name of an unfinished copy begins with; nothing else has such names.
inline constexpr const char* kPartPrefix = ".rrn-part-";

// Names in the folder of `path`, one for each step of a process; short, because names have a limit.
//   PartName: of an unfinished copy, which may be removed at any time. UndoPartName: the same while undoing, where the
//   step's own name could be in use still.
//   AsideName: of an original that is about to be removed; until then it is somebody's file.
std::string PartName(const std::string& path, std::size_t step);
std::string UndoPartName(const std::string& path, std::size_t step);
std::string AsideName(const std::string& path, std::size_t step);

// `path`, with a number before its extension unless that is 0.
std::string Numbered(const std::string& path, int number);

// Where an image goes under the target if that name is free: its path relative to the folder that was searched, or
// without a folder its path without the leading "/" and "..".
std::string RelativePath(const std::string& path, const std::string& folder);

}  // namespace rrn

#endif  // RRN_PROGRAM_ACTIONS_NAMES_H_
