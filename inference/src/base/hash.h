// XXH3, with 128 bits where nothing else is said: tells contents apart, as fast as memory is read. Not for security:
// two contents with the same hash can be made on purpose.
#ifndef RRN_BASE_HASH_H_
#define RRN_BASE_HASH_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace rrn {

// Bytes go in, in any portions; the hash comes out. The same on every machine. Not thread-safe.
class Hash {
 public:
  Hash();
  Hash(Hash&& other) noexcept;
  Hash& operator=(Hash&& other) noexcept;
  ~Hash();

  void Add(const void* data, std::size_t size);

  // The length of `text`, then its bytes: ("ab", "c") and ("a", "bc") differ.
  void AddField(const std::string& text);

  // The size of a regular file, then its bytes. False if there is no such file, or it cannot be read to its end; the
  // hash is of no use then.
  bool AddFile(const std::string& path);

  // Of all that was added so far, the most significant byte first.
  std::array<std::uint8_t, 16> Bytes() const;

  // The same as 32 hexadecimal digits.
  std::string Hex() const;

 private:
  struct State;
  void AddSize(std::uint64_t size);

  std::unique_ptr<State> state_;
};

// XXH3 with 64 bits (seed 0) of bytes in memory, for checksums. The same on every machine.
std::uint64_t ShortHash(const void* data, std::size_t size);

}  // namespace rrn

#endif  // RRN_BASE_HASH_H_
