// The one thing this library wants from EXIF: how the camera was held.
//
// Thread-safety: pure.
#ifndef RRN_IMAGE_EXIF_H_
#define RRN_IMAGE_EXIF_H_

#include <cstddef>
#include <cstdint>

namespace rrn::image_internal {

// The orientation (1..8) in an EXIF block, which is a small TIFF file, with or without the "Exif\0\0" in front that
// JPEG puts there. Returns 1 (upright) when the block is damaged, has no orientation, or has one outside 1..8:
// metadata never makes a good picture unreadable.
int ExifOrientation(const std::uint8_t* data, std::size_t size);

}  // namespace rrn::image_internal

#endif  // RRN_IMAGE_EXIF_H_
