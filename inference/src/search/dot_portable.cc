// The dot kernels for any machine.
#include "search/dot_kernel.h"
#include "search/filter_kernel.h"

namespace rrn::internal {

void DotTilePortable(const float* a, std::size_t a_rows, const float* b, std::size_t b_rows, std::size_t dim,
                     float* out) {
  DotTile<1, 2>(a, a_rows, b, b_rows, dim, out);
}

std::size_t KeepPairsPortable(const BytePairs& bytes, std::uint16_t* pairs, std::size_t count) {
  return KeepPairs(bytes, pairs, count, [](const std::int8_t* a, const std::int8_t* b, std::size_t dim) {
    std::int32_t sum = 0;
    for (std::size_t d = 0; d < dim; ++d) sum += a[d] * b[d];
    return sum;
  });
}

}  // namespace rrn::internal
