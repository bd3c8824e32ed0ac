// Which image of a group is kept.
#ifndef RRN_SIMILARITY_REPRESENTATIVE_H_
#define RRN_SIMILARITY_REPRESENTATIVE_H_

#include "rrn/image.h"

namespace rrn::internal {

// How much a picture shows.
struct Detail {
  // The variance of the Laplacian of its luma (four neighbours, inside the borders), multiplied by the number of
  // pixels. The variance alone would prefer thumbnails, because shrinking makes edges steeper; the product falls when a
  // sharp picture is shrunk, when it is enlarged (the variance falls faster than the pixels grow), and when it is
  // blurred or compressed hard. Two things would grow with the pixels alone, and are taken out:
  //   - the rounding to 8 bits: Laplacians of at most kRounding count as 0;
  //   - edges of repeated pixels: rows and columns that equal the one before them are left out first, so a copy
  //   enlarged
  //     by repeating has the detail of its original.
  // Noise counts as detail, a repeated picture that was compressed afterwards is not recognised, and of a picture that
  // was blurred first a smaller copy can have more.
  double detail = 0;
  double repeated = 0;  // pixels that were left out
};

// Errors of four neighbours and four times the middle, each rounded by at most a half twice, have a standard deviation
// of 1.6; this is four of them.
inline constexpr int kRounding = 6;

// Luma is (77 R + 150 G + 29 B + 128) / 256 in integers. 0 for fewer than 3 x 3 pixels. Same picture, same bits.
Detail MeasureDetail(const ImageView& image);

}  // namespace rrn::internal

#endif  // RRN_SIMILARITY_REPRESENTATIVE_H_
