// The dot kernel for AVX-512 (16 of its 32 registers hold sums).
#include "search/dot_kernel.h"

namespace rrn::internal {

void DotTileAvx512(const float* a, std::size_t a_rows, const float* b, std::size_t b_rows, std::size_t dim,
                   float* out) {
  DotTile<4, 4>(a, a_rows, b, b_rows, dim, out);
}

}  // namespace rrn::internal
