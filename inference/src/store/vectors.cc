#include "store/vectors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/hash.h"
#include "store/float16.h"
#include "store/folder.h"

namespace rrn::internal {
namespace {

// What is read at once, at most (but one row at least), and how much in between may be read for nothing.
constexpr std::size_t kBlock = std::size_t{1} << 20U;
constexpr std::size_t kGap = std::size_t{1} << 14U;

// Reads up to `size` bytes; how many there were before the end of the file or an error.
std::size_t ReadAt(int file, std::uint8_t* bytes, std::size_t size, std::uint64_t offset) {
  std::size_t got = 0;
  while (got < size) {
    const ssize_t done = pread(file, bytes + got, size - got, static_cast<off_t>(offset + got));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) break;
    got += static_cast<std::size_t>(done);
  }
  return got;
}

}  // namespace

std::size_t Column::RowBytes() const { return key.dim * SizeOf(floats); }

std::string Column::FileName() const { return VectorFileName(name, generation, floats); }

std::uint32_t RowChecksum(const std::uint8_t* bytes, std::size_t size) {
  return static_cast<std::uint32_t>(ShortHash(bytes, size) & 0xffffffffU);
}

std::shared_ptr<const VectorFile> VectorFile::Open(const std::string& folder, const Column& column, Access access) {
  constexpr int kModes[] = {O_RDONLY, O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_TRUNC};
  const std::string path = folder + "/" + column.FileName();
  Descriptor file(open(path.c_str(), kModes[static_cast<int>(access)] | O_CLOEXEC, 0666));
  if (file.value() < 0) return nullptr;
  return std::shared_ptr<const VectorFile>(new VectorFile(std::move(file), column));
}

bool VectorFile::IsOf(const Column& column) const {
  return column_.id == column.id && column_.generation == column.generation && column_.name == column.name;
}

int VectorFile::Write(std::uint64_t slot, const std::uint8_t* bytes, std::size_t count) const {
  const std::size_t size = column_.RowBytes();
  return WriteAt(file_.value(), bytes, count * size, (slot - column_.first_slot) * size);
}

int VectorFile::Sync() const { return fdatasync(file_.value()) == 0 ? 0 : errno; }

std::uint64_t VectorFile::Size() const {
  struct stat info = {};
  return fstat(file_.value(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

void VectorFile::ForEachRow(const std::vector<std::uint64_t>& slots, const Visit& visit) const {
  const std::size_t size = column_.RowBytes();
  std::vector<std::uint8_t> block;
  std::size_t begin = 0;
  while (begin < slots.size()) {
    const std::uint64_t first = slots[begin];
    if (first < column_.first_slot) {
      if (!visit(begin++, nullptr)) return;
      continue;
    }
    std::size_t end = begin + 1;
    while (end < slots.size() && (slots[end] - slots[end - 1]) <= kGap / size + 1 &&
           (slots[end] - first + 1) * size <= std::max(kBlock, size)) {
      ++end;
    }
    block.resize((slots[end - 1] - first + 1) * size);
    const std::size_t got = ReadAt(file_.value(), block.data(), block.size(), (first - column_.first_slot) * size);
    for (; begin < end; ++begin) {
      const std::size_t at = (slots[begin] - first) * size;
      if (!visit(begin, at + size <= got ? block.data() + at : nullptr)) return;
    }
  }
}

}  // namespace rrn::internal
