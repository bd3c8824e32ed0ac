// The dot kernel for AVX2 (8 of its 16 registers hold sums).
#include "search/dot_kernel.h"

namespace rrn::internal {

void DotTileAvx2(const float* a, std::size_t a_rows, const float* b, std::size_t b_rows, std::size_t dim, float* out) {
  DotTile<2, 2>(a, a_rows, b, b_rows, dim, out);
}

}  // namespace rrn::internal
