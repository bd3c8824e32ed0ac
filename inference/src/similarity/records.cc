#include "similarity/records.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace rrn::internal {
namespace {

// Of libjpeg's scale.
constexpr int kThumbnailQuality = 70;

}  // namespace

bool NeedsFullSize(const SimilarityOptions& options) { return options.keep == RepresentativePolicy::kSharpest; }

void AddThumbnail(const Image& image, int edge, ImageRecord* record) {
  Result<std::vector<std::uint8_t>> thumbnail =
      MakeThumbnail({image.rgb.data(), image.width, image.height}, edge, kThumbnailQuality);
  if (thumbnail.ok()) record->thumbnail = *std::move(thumbnail);
}

PixelUse FillRecords(const SimilarityOptions& options, std::function<ImageRecord*(std::size_t index)> record_of) {
  PixelUse use;
  use.full_size = NeedsFullSize(options);
  use.see = [&options, record_of = std::move(record_of)](std::size_t index, const Image& image,
                                                         const FileProperties& file) {
    ImageRecord* record = record_of(index);
    record->file = file;
    record->width = image.full_width;
    record->height = image.full_height;
    record->captured = image.captured;
    if (NeedsFullSize(options)) record->detail = MeasureDetail({image.rgb.data(), image.width, image.height});
    if (options.thumbnail_edge > 0) AddThumbnail(image, options.thumbnail_edge, record);
  };
  return use;
}

}  // namespace rrn::internal
