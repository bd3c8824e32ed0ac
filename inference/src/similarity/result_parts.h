// What all writers of a result need.
#ifndef RRN_SIMILARITY_RESULT_PARTS_H_
#define RRN_SIMILARITY_RESULT_PARTS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "rrn/similarity.h"

namespace rrn::internal {

// The path of a group's representative, which is a reference image where there is a reference folder.
const std::string& RepresentativePath(const SimilarityResult& result, const Group& group);

// For each image (or reference image), how many others it was compared with and is not similar to.
std::vector<std::size_t> Dissimilar(const SimilarityResult& result, bool of_references);

}  // namespace rrn::internal

#endif  // RRN_SIMILARITY_RESULT_PARTS_H_
