// Which process wrote to a store last: a small file, for messages only.
#ifndef RRN_STORE_WRITER_NOTE_H_
#define RRN_STORE_WRITER_NOTE_H_

#include <string>

namespace rrn::internal {

// Notes that this process writes. The caller has the store's lock. Where it cannot be written, nothing is said.
void NoteWriter(const std::string& folder);

// Who has the store's lock, as far as the note says: "process 123 on host", "this process", "another process (the last
// one that is known, 123 on host, has ended)", "another process".
std::string DescribeWriter(const std::string& folder);

}  // namespace rrn::internal

#endif  // RRN_STORE_WRITER_NOTE_H_
