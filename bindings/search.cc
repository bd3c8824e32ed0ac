// rrn/search.h for Python.
#include "rrn/search.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common.h"

namespace rrn::bindings {
namespace {

// What Python says of a search: no threshold is None; `neighbours` and `effort` are 0 for an exact one.
SearchOptions MakeOptions(std::optional<float> threshold, int threads, const std::string& target, int neighbours,
                          int effort) {
  SearchOptions options;
  options.threshold = threshold.value_or(kNoThreshold);
  options.threads = threads;
  options.target = target;
  if (neighbours != 0 || effort != 0) {
    options.method = SearchMethod::kApproximate;
    options.approximate = {neighbours, effort};
  }
  return options;
}

// The normalized rows of an array: a copy, or `own`, which is the array's memory, normalized in place.
class UnitRows {
 public:
  // Without the interpreter's lock.
  explicit UnitRows(const EmbeddingsView& rows, float* own = nullptr)
      : data_(rows.data, own == nullptr ? rows.data + rows.count * rows.dim : rows.data),
        view_{own == nullptr ? data_.data() : own, rows.count, rows.dim} {
    NormalizeRows(own == nullptr ? data_.data() : own, rows.count, rows.dim);
  }
  UnitRows(const UnitRows&) = delete;
  UnitRows& operator=(const UnitRows&) = delete;
  const EmbeddingsView& view() const { return view_; }

 private:
  std::vector<float> data_;
  EmbeddingsView view_;
};

// (first, second, similarity, recall): three columns and a number.
py::tuple ToColumns(const std::vector<SimilarPair>& pairs, double recall) {
  const auto count = static_cast<py::ssize_t>(pairs.size());
  py::array_t<std::int64_t> first(count);
  py::array_t<std::int64_t> second(count);
  py::array_t<float> similarity(count);
  for (py::ssize_t i = 0; i < count; ++i) {
    const SimilarPair& pair = pairs[static_cast<std::size_t>(i)];
    first.mutable_at(i) = pair.first;
    second.mutable_at(i) = pair.second;
    similarity.mutable_at(i) = pair.similarity;
  }
  return py::make_tuple(first, second, similarity, recall);
}

// Returns the columns of pairs and the recall, which is 1 for an exact search.
py::tuple SimilarPairs(const Rows& embeddings, SearchOptions options, const Callback& progress) {
  const EmbeddingsView view = View(embeddings);
  std::vector<SimilarPair> pairs;
  RecallEstimate recall;
  Guard guard;
  options.recall = [&recall](const RecallEstimate& measured) { recall = measured; };
  options.progress = [&](std::size_t done, std::size_t total) { return guard.Call(progress, done, total); };
  Status status;
  {
    const py::gil_scoped_release nogil;
    const UnitRows rows(view);
    status = FindPairs(rows.view(), options, [&pairs](const SimilarPair* found, std::size_t count) {
      pairs.insert(pairs.end(), found, found + count);
      return true;
    });
  }
  guard.Rethrow();
  if (!status.ok()) Throw(status);
  return ToColumns(pairs, recall.value());
}

// The columns of pairs of a row of `rows` and a row of `columns`, and 1, the recall of an exact search.
py::tuple SimilarPairsBetween(const Rows& rows, const Rows& columns, SearchOptions options, const Callback& progress) {
  const EmbeddingsView left = View(rows);
  const EmbeddingsView right = View(columns);
  std::vector<SimilarPair> pairs;
  Guard guard;
  options.progress = [&](std::size_t done, std::size_t total) { return guard.Call(progress, done, total); };
  Status status;
  {
    const py::gil_scoped_release nogil;
    const UnitRows unit_left(left);
    const UnitRows unit_right(right);
    status =
        FindPairs(unit_left.view(), unit_right.view(), options, [&pairs](const SimilarPair* found, std::size_t count) {
          pairs.insert(pairs.end(), found, found + count);
          return true;
        });
  }
  guard.Rethrow();
  if (!status.ok()) Throw(status);
  return ToColumns(pairs, 1.0);
}

// (indices, similarities): int64 and float32 [n, width], filled up with -1 and NaN where there are fewer.
py::tuple ToMatrices(const Neighbours& nearest, std::size_t width) {
  const std::vector<py::ssize_t> shape = {static_cast<py::ssize_t>(nearest.size()), static_cast<py::ssize_t>(width)};
  py::array_t<std::int64_t> index(shape);
  py::array_t<float> similarity(shape);
  std::fill_n(index.mutable_data(), index.size(), std::int64_t{-1});
  std::fill_n(similarity.mutable_data(), similarity.size(), std::numeric_limits<float>::quiet_NaN());
  for (std::size_t row = 0; row < nearest.size(); ++row) {
    for (std::size_t i = 0; i < nearest[row].size(); ++i) {
      index.mutable_data()[row * width + i] = nearest[row][i].index;
      similarity.mutable_data()[row * width + i] = nearest[row][i].similarity;
    }
  }
  return py::make_tuple(index, similarity);
}

// Without `columns`, among `rows`. With `overwrite`, the columns are normalized in place, which saves a copy.
py::tuple Nearest(const Rows& rows, std::optional<Rows> columns, std::size_t k, SearchOptions options,
                  const Callback& progress, bool overwrite) {
  const EmbeddingsView left = View(rows);
  const EmbeddingsView right = columns ? View(*columns) : left;
  float* const own = columns && overwrite ? columns->mutable_data() : nullptr;
  Guard guard;
  options.progress = [&](std::size_t done, std::size_t total) { return guard.Call(progress, done, total); };
  Result<Neighbours> nearest = [&] {
    const py::gil_scoped_release nogil;
    const UnitRows unit(left);
    return columns ? FindNearest(unit.view(), UnitRows(right, own).view(), k, options)
                   : FindNearest(unit.view(), k, options);
  }();
  guard.Rethrow();
  const std::size_t others = columns || right.count == 0 ? right.count : right.count - 1;
  return ToMatrices(Unwrap(std::move(nearest)), std::min(k, others));
}

float CosineOfTwo(const Rows& embeddings) {
  const EmbeddingsView view = View(embeddings);
  if (view.count != 2) throw py::value_error("expected two embeddings");
  std::vector<float> unit(view.data, view.data + 2 * view.dim);
  rrn::NormalizeRows(unit.data(), 2, view.dim);
  return CosineSimilarity(unit.data(), unit.data() + view.dim, view.dim);
}

}  // namespace

void BindSearch(py::module_& m) {
  py::class_<SearchOptions>(m, "SearchOptions")
      .def(py::init(&MakeOptions), py::kw_only(), py::arg("threshold"), py::arg("threads"), py::arg("target"),
           py::arg("neighbours") = 0, py::arg("effort") = 0);
  m.def("similar_pairs", &SimilarPairs);
  m.def("similar_pairs_between", &SimilarPairsBetween);
  m.def("approximate_search_available", &ApproximateSearchAvailable);
  m.def("search_targets", &SearchTargets);
  m.def("cosine_similarity", &CosineOfTwo);
  m.def("nearest", &Nearest);
}

}  // namespace rrn::bindings
