// What this library wants from EXIF: how the camera was held, and when the picture was taken.
//
// Thread-safety: pure.
#ifndef RRN_IMAGE_EXIF_H_
#define RRN_IMAGE_EXIF_H_

#include <cstddef>
#include <cstdint>
#include <optional>

namespace rrn::image_internal {

struct ExifFacts {
  int orientation = 1;  // 1 (upright) ... 8
  // The tag DateTimeOriginal, the camera's own clock, as seconds since 1970 without a time zone.
  std::optional<std::int64_t> captured;
};

// Reads an EXIF block (CIPA DC-008), which is a small TIFF file, with or without the "Exif\0\0" in front that JPEG puts
// there. What is damaged, missing or out of its range keeps its default: metadata never makes a good picture
// unreadable.
ExifFacts ReadExif(const std::uint8_t* data, std::size_t size);

}  // namespace rrn::image_internal

#endif  // RRN_IMAGE_EXIF_H_
