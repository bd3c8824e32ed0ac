// What is kept of an image while its pixels are there.
#ifndef RRN_SIMILARITY_RECORDS_H_
#define RRN_SIMILARITY_RECORDS_H_

#include <cstddef>
#include <functional>

#include "rrn/embedder.h"
#include "rrn/image.h"
#include "rrn/similarity.h"

namespace rrn::internal {

// Whether files are decoded at their full size, which changes embeddings a little.
bool NeedsFullSize(const SimilarityOptions& options);

// Fills in what `options` ask for: `record_of` gives the record of a position in the list that is embedded. Both must
// stay where they are.
PixelUse FillRecords(const SimilarityOptions& options, std::function<ImageRecord*(std::size_t index)> record_of);

// Makes ImageRecord::thumbnail; it stays empty where that fails.
void AddThumbnail(const Image& image, int edge, ImageRecord* record);

}  // namespace rrn::internal

#endif  // RRN_SIMILARITY_RECORDS_H_
