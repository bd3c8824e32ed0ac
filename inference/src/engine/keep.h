// Which image of a group is kept.
#ifndef RRN_ENGINE_KEEP_H_
#define RRN_ENGINE_KEEP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "rrn/search.h"
#include "rrn/similarity.h"
#include "rrn/status.h"

namespace rrn::internal {

// A rank for each of `paths`, as RankRows wants it; `keep` is not kMostSimilar. Only files with a count in `similar`
// above 0 are looked at. One that cannot be read any more comes after those that can.
//   max_pixels: as DecodeOptions::max_pixels. threads: 0 for one for each core; memory is a picture for each.
// Errors: kCancelled, kRuntime.
Result<std::vector<std::uint32_t>> RankImages(const std::vector<std::string>& paths,
                                              const std::vector<std::uint32_t>& similar, Keep keep,
                                              std::uint64_t max_pixels, int threads, const Progress& progress);

}  // namespace rrn::internal

#endif  // RRN_ENGINE_KEEP_H_
