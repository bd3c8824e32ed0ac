#include "search/projection.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "search/dot_kernel.h"

namespace rrn::internal {
namespace {

// More passes bring the directions nearer to the principal ones than a sample is worth.
constexpr int kPasses = 3;

// Rows of a sample to find out whether short rows pay.
constexpr std::size_t kSmallSample = 256;

// With fewer rows the whole search takes no longer than a look at the sample is worth.
constexpr std::size_t kFewestRows = 8192;

constexpr double kShortest = 0x1p-20;
constexpr double kLongest = 0x1p20;

// Rows side by side.
struct FloatRows {
  const float* data = nullptr;
  std::size_t count = 0;
};

// to[i * b.count + j] = a_i . b_j, summed in float32 in the order of all searches.
void Products(const FloatRows& a, const FloatRows& b, std::size_t dim, DotTileFunction dot_tile, float* to) {
  std::array<float, kTileRows * kTileRows> tile;
  for (std::size_t i = 0; i < a.count; i += kTileRows) {
    const std::size_t rows = std::min(kTileRows, a.count - i);
    for (std::size_t j = 0; j < b.count; j += kTileRows) {
      const std::size_t columns = std::min(kTileRows, b.count - j);
      dot_tile(a.data + i * dim, rows, b.data + j * dim, columns, dim, tile.data());
      for (std::size_t r = 0; r < rows; ++r) {
        std::copy_n(tile.data() + r * kTileRows, columns, to + (i + r) * b.count + j);
      }
    }
  }
}

double Dot(const double* a, const double* b, std::size_t dim) {
  std::array<double, 8> lanes = {};
  const std::size_t whole = dim - dim % lanes.size();
  for (std::size_t d = 0; d < whole; d += lanes.size()) {
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) lanes[lane] += a[d + lane] * b[d + lane];
  }
  for (std::size_t d = whole; d < dim; ++d) lanes[0] += a[d] * b[d];
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

// Every `count / most`-th usual row of all sides, scaled to length 1. `phase` of 0 and 1 take different ones.
std::vector<float> Sample(const std::vector<EmbeddingsView>& sides, std::size_t most, std::size_t phase) {
  std::vector<float> sample;
  for (const EmbeddingsView& side : sides) {
    const std::size_t wanted = std::min(side.count, most / sides.size());
    for (std::size_t i = 0; i < wanted; ++i) {
      const std::size_t row = std::min(side.count - 1, (2 * i + phase) * side.count / (2 * wanted));
      const float* x = side.data + row * side.dim;
      const double length = std::sqrt(SquaredLength(x, side.dim));
      if (!HasUsualLength(length)) continue;
      for (std::size_t d = 0; d < side.dim; ++d) {
        sample.push_back(static_cast<float>(static_cast<double>(x[d]) / length));
      }
    }
  }
  return sample;
}

std::vector<float> Transpose(const std::vector<float>& rows, std::size_t count, std::size_t dim) {
  std::vector<float> columns(rows.size());
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t d = 0; d < dim; ++d) columns[d * count + i] = rows[i * dim + d];
  }
  return columns;
}

// Makes `count` rows orthonormal, in order; what depends on the rows before it is dropped. Returns how many are left.
std::size_t Orthonormalize(std::size_t count, std::size_t dim, std::vector<float>* rows) {
  constexpr double kDependent = 1e-4;  // float32 knows no more of a direction that is nearly a sum of others
  std::vector<double> done;
  std::vector<double> row(dim);
  for (std::size_t i = 0; i < count; ++i) {
    std::copy_n(rows->data() + i * dim, dim, row.data());
    const double before = std::sqrt(Dot(row.data(), row.data(), dim));
    // Once is not exact enough.
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t j = 0; j < done.size(); j += dim) {
        const double part = Dot(row.data(), done.data() + j, dim);
        for (std::size_t d = 0; d < dim; ++d) row[d] -= part * done[j + d];
      }
    }
    const double after = std::sqrt(Dot(row.data(), row.data(), dim));
    if (!(after > kDependent * before) || !std::isfinite(after)) continue;
    for (double& value : row) value /= after;
    done.insert(done.end(), row.begin(), row.end());
  }
  rows->assign(done.begin(), done.end());
  return done.size() / dim;
}

// The eigenvectors, as rows, of a symmetric matrix [size, size], by Jacobi's rotations, in descending order of their
// eigenvalues. `matrix` is overwritten.
std::vector<double> Eigenvectors(std::size_t size, std::vector<double>* matrix) {
  constexpr int kSweeps = 6;  // the directions need no more
  std::vector<double>& m = *matrix;
  std::vector<double> vectors(size * size, 0.0);
  for (std::size_t i = 0; i < size; ++i) vectors[i * size + i] = 1;
  const auto rotate = [size](double* a, double* b, double cosine, double sine) {
    for (std::size_t d = 0; d < size; ++d) {
      const double x = a[d];
      a[d] = cosine * x - sine * b[d];
      b[d] = sine * x + cosine * b[d];
    }
  };
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (std::size_t p = 0; p + 1 < size; ++p) {
      for (std::size_t q = p + 1; q < size; ++q) {
        const double off = m[p * size + q];
        if (off == 0) continue;
        const double ratio = (m[q * size + q] - m[p * size + p]) / (2 * off);
        const double tangent = std::copysign(1.0, ratio) / (std::fabs(ratio) + std::hypot(ratio, 1.0));
        const double cosine = 1 / std::hypot(tangent, 1.0);
        const double sine = tangent * cosine;
        for (std::size_t d = 0; d < size; ++d) {
          const double x = m[d * size + p];
          const double y = m[d * size + q];
          m[d * size + p] = cosine * x - sine * y;
          m[d * size + q] = sine * x + cosine * y;
        }
        rotate(&m[p * size], &m[q * size], cosine, sine);
        rotate(&vectors[p * size], &vectors[q * size], cosine, sine);
      }
    }
  }
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const double left = m[a * size + a];
    const double right = m[b * size + b];
    return left != right ? left > right : a < b;
  });
  std::vector<double> sorted;
  for (const std::size_t i : order) {
    sorted.insert(sorted.end(), vectors.begin() + static_cast<std::ptrdiff_t>(i * size),
                  vectors.begin() + static_cast<std::ptrdiff_t>((i + 1) * size));
  }
  return sorted;
}

// Turns `found` orthonormal directions so that the first ones hold as much as they can of the sample. `products` are
// those of the directions with its `count` rows.
void Turn(const std::vector<float>& products, std::size_t found, std::size_t count, std::size_t dim,
          DotTileFunction dot_tile, std::vector<float>* basis) {
  std::vector<float> moments(found * found);
  Products({products.data(), found}, {products.data(), found}, count, dot_tile, moments.data());
  std::vector<double> matrix(moments.begin(), moments.end());
  const std::vector<double> vectors = Eigenvectors(found, &matrix);
  std::vector<float> turned(found * dim);
  std::vector<double> row(dim);
  for (std::size_t i = 0; i < found; ++i) {
    std::fill(row.begin(), row.end(), 0.0);
    for (std::size_t j = 0; j < found; ++j) {
      const double part = vectors[i * found + j];
      for (std::size_t d = 0; d < dim; ++d) row[d] += part * static_cast<double>((*basis)[j * dim + d]);
    }
    std::transform(row.begin(), row.end(), turned.begin() + static_cast<std::ptrdiff_t>(i * dim),
                   [](double value) { return static_cast<float>(value); });
  }
  *basis = std::move(turned);
}

// Hadamard's matrix times a short row, over 8: orthogonal.
void Spread(float* row) {
  for (std::size_t width = 1; width < kShortDim; width *= 2) {
    for (std::size_t begin = 0; begin < kShortDim; begin += 2 * width) {
      for (std::size_t i = begin; i < begin + width; ++i) {
        const float a = row[i];
        const float b = row[i + width];
        row[i] = a + b;
        row[i + width] = a - b;
      }
    }
  }
  for (std::size_t i = 0; i < kShortDim; ++i) row[i] *= 0.125F;
}

}  // namespace

std::size_t SampleRows(std::size_t count) {
  constexpr std::size_t kFewest = 1024;
  constexpr std::size_t kMost = 4096;
  return std::clamp(count / 32, kFewest, kMost);
}

double SumError(std::size_t dim) {
  const std::size_t terms = (dim + kLanes - 1) / kLanes + 4;
  const double roundings = static_cast<double>(terms) * 0x1p-24;
  return roundings / (1 - roundings) + 1e-6;
}

double SquaredLength(const float* x, std::size_t dim) {
  std::array<double, 8> lanes = {};
  const std::size_t whole = dim - dim % lanes.size();
  for (std::size_t d = 0; d < whole; d += lanes.size()) {
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      const double value = x[d + lane];
      lanes[lane] += value * value;
    }
  }
  for (std::size_t d = whole; d < dim; ++d) lanes[0] += static_cast<double>(x[d]) * static_cast<double>(x[d]);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

bool HasUsualLength(double length) { return length >= kShortest && length <= kLongest; }

Projection::Projection(const std::vector<EmbeddingsView>& sides, std::size_t most, std::size_t longest,
                       DotTileFunction dot_tile)
    : dim_(sides.front().dim), dot_tile_(dot_tile) {
  const std::vector<float> sample = Sample(sides, most, 0);
  const std::size_t count = sample.size() / dim_;
  const std::vector<float> columns = Transpose(sample, count, dim_);
  std::size_t found = std::min({longest - 1, dim_, count});
  // Any start would do; this one is the same everywhere.
  std::minstd_rand random(1);
  basis_.resize(found * dim_);
  for (float& value : basis_) value = static_cast<float>(random() % 2001) - 1000;
  std::vector<float> products;
  for (int pass = 0; pass < kPasses && found > 0; ++pass) {
    products.resize(found * count);
    Products({basis_.data(), found}, {sample.data(), count}, dim_, dot_tile, products.data());
    basis_.resize(found * dim_);
    Products({products.data(), found}, {columns.data(), dim_}, count, dot_tile, basis_.data());
    found = Orthonormalize(found, dim_, &basis_);
  }
  products.resize(found * count);
  Products({basis_.data(), found}, {sample.data(), count}, dim_, dot_tile, products.data());
  Turn(products, found, count, dim_, dot_tile, &basis_);
  found = Orthonormalize(found, dim_, &basis_);
  directions_ = found;
  const std::vector<double> exact(basis_.begin(), basis_.end());
  double largest = 0;
  for (std::size_t i = 0; i < found; ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < found; ++j) {
      sum += std::fabs(Dot(exact.data() + i * dim_, exact.data() + j * dim_, dim_));
    }
    largest = std::max(largest, sum);
  }
  // Over the roundings of these sums, and of this number and the products with it.
  constexpr double kSafety = 1 - 1e-6;
  shrink_ = found == 0 ? 1.0F : static_cast<float>(kSafety / std::sqrt(largest));
  const double products_error = std::sqrt(static_cast<double>(kMediumDim)) * SumError(dim_);
  rest_error_ = 3 * products_error;
  const double h = products_error + 1e-6;
  error_ = (SumError(dim_) + 2 * h + 7 * h * h) / ((1 - h) * (1 - h));
}

void Projection::ShortenRow(const float* row, const float* products, std::size_t directions, std::size_t size,
                            float* to) const {
  const double squares = SquaredLength(row, dim_);
  const double length = std::sqrt(squares);
  if (!HasUsualLength(length)) {
    std::fill_n(to, size, squares == 0 ? 0.0F : std::numeric_limits<float>::quiet_NaN());
    return;
  }
  for (std::size_t i = 0; i < directions; ++i) to[i] = products[i] * shrink_;
  std::fill(to + directions, to + size, 0.0F);
  const double rest = std::max(squares - SquaredLength(to, directions), 0.0) + rest_error_ * squares;
  constexpr double kRoundUp = 1 + 1e-6;
  to[size - 1] = static_cast<float>(std::sqrt(rest) * kRoundUp);
  for (std::size_t begin = 0; begin < size; begin += kShortDim) Spread(to + begin);
}

void Projection::Multiply(const float* rows, std::size_t count, float* to) const {
  Products({rows, count}, {basis_.data(), directions_}, dim_, dot_tile_, to);
}

void Projection::Shorten(const float* rows, const float* products, std::size_t count, std::size_t size,
                         float* to) const {
  const std::size_t directions = std::min(directions_, size - 1);
  for (std::size_t i = 0; i < count; ++i) {
    ShortenRow(rows + i * dim_, products + i * directions_, directions, size, to + i * size);
  }
}

namespace {

// The share of pairs of a sample whose bound is above the threshold, or for the nearest rows above what a row has found
// in the sample.
double LeftOver(const std::vector<float>& sample, std::size_t dim, const Projection& projection, float threshold,
                bool nearest, DotTileFunction dot_tile) {
  // What rounding to 8 bits adds to the bound, about.
  constexpr float kRounding = 0.02F;
  const std::size_t count = sample.size() / dim;
  if (count < 2) return 1;
  std::vector<float> rows(count * kShortDim);
  std::vector<float> products(count * projection.directions());
  projection.Multiply(sample.data(), count, products.data());
  projection.Shorten(sample.data(), products.data(), count, kShortDim, rows.data());
  std::vector<float> bounds(count * count);
  Products({rows.data(), count}, {rows.data(), count}, kShortDim, dot_tile, bounds.data());
  std::vector<float> found;
  if (nearest) {
    found.resize(count * count);
    Products({sample.data(), count}, {sample.data(), count}, dim, dot_tile, found.data());
  }
  std::size_t left = 0;
  for (std::size_t i = 0; i < count; ++i) {
    float above = threshold;
    for (std::size_t j = 0; j < count && nearest; ++j) {
      if (j != i) above = std::max(above, found[i * count + j]);
    }
    for (std::size_t j = 0; j < count; ++j) {
      if (j != i && bounds[i * count + j] + kRounding > above) ++left;
    }
  }
  return static_cast<double>(left) / static_cast<double>(count * (count - 1));
}

}  // namespace

std::shared_ptr<const Projection> ChooseProjection(const EmbeddingsView& rows, const EmbeddingsView& columns,
                                                   float threshold, bool nearest, double most,
                                                   DotTileFunction dot_tile) {
  if (std::min(rows.count, columns.count) < kFewestRows || columns.dim < 2 * kShortDim) return nullptr;
  std::vector<EmbeddingsView> sides = {columns};
  if (rows.data != columns.data) sides.push_back(rows);
  const std::vector<float> others = Sample(sides, kSmallSample, 1);
  // A projection from few rows leaves over more than one from many.
  constexpr double kWorse = 3;
  const Projection quick(sides, kSmallSample, kShortDim, dot_tile);
  if (LeftOver(others, columns.dim, quick, threshold, nearest, dot_tile) > kWorse * most) return nullptr;
  auto projection = std::make_shared<const Projection>(sides, SampleRows(columns.count), kMediumDim, dot_tile);
  if (LeftOver(others, columns.dim, *projection, threshold, nearest, dot_tile) > most) return nullptr;
  return projection;
}

}  // namespace rrn::internal
