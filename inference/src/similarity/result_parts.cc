#include "similarity/result_parts.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace rrn::internal {

const std::string& RepresentativePath(const SimilarityResult& result, const Group& group) {
  return (result.reference ? result.reference->paths : result.paths)[group.representative];
}

std::vector<std::size_t> Dissimilar(const SimilarityResult& result, bool of_references) {
  if (!result.reference) {
    std::vector<std::size_t> counts;
    for (const std::uint32_t similar : result.grouping.similar) counts.push_back(result.paths.size() - 1 - similar);
    return counts;
  }
  const std::vector<std::uint32_t>& similar = of_references ? result.reference->similar : result.grouping.similar;
  const std::size_t others = of_references ? result.paths.size() : result.reference->paths.size();
  std::vector<std::size_t> counts(similar.size());
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = others - similar[i];
  for (const SameFile& file : result.reference->same_files) --counts[of_references ? file.reference : file.image];
  return counts;
}

}  // namespace rrn::internal
