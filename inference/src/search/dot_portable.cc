// The dot kernel for any machine.
#include "search/dot_kernel.h"

namespace rrn::internal {

void DotTilePortable(const float* a, std::size_t a_rows, const float* b, std::size_t b_rows, std::size_t dim,
                     float* out) {
  DotTile<1, 2>(a, a_rows, b, b_rows, dim, out);
}

}  // namespace rrn::internal
