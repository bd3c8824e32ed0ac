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

// What Python says of a search: no threshold is None; `neighbours` and `effort` are 0 for an exact one; short rows are
// used where they pay, unless `short_rows` says whether.
SearchOptions MakeOptions(std::optional<float> threshold, int threads, const std::string& target, int neighbours,
                          int effort, std::optional<bool> short_rows) {
  SearchOptions options;
  options.threshold = threshold.value_or(kNoThreshold);
  options.threads = threads;
  options.target = target;
  if (short_rows) options.short_rows = *short_rows ? ShortRows::kAlways : ShortRows::kNever;
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

// The index owns a normalized copy of the rows.
SearchIndex MakeIndex(const Rows& rows, const SearchOptions& options) {
  const EmbeddingsView view = View(rows);
  if (view.dim == 0) throw py::value_error("expected rows of at least one number");
  Result<SearchIndex> index = [&] {
    const py::gil_scoped_release nogil;
    std::vector<float> unit(view.data, view.data + view.count * view.dim);
    NormalizeRows(unit.data(), view.count, view.dim);
    return SearchIndex::Create(std::move(unit), view.dim, options);
  }();
  return Unwrap(std::move(index));
}

py::tuple NearestInIndex(const SearchIndex& index, const Rows& rows, std::size_t k, std::optional<float> threshold) {
  const EmbeddingsView view = View(rows);
  Result<Neighbours> nearest = [&] {
    const py::gil_scoped_release nogil;
    return index.Nearest(UnitRows(view).view(), k, threshold.value_or(kNoThreshold));
  }();
  return ToMatrices(Unwrap(std::move(nearest)), std::min(k, index.count()));
}

py::tuple RangeInIndex(const SearchIndex& index, const Rows& rows, float threshold) {
  const EmbeddingsView view = View(rows);
  std::vector<SimilarPair> pairs;
  Status status;
  {
    const py::gil_scoped_release nogil;
    status = index.Range(UnitRows(view).view(), threshold, [&pairs](const SimilarPair* found, std::size_t count) {
      pairs.insert(pairs.end(), found, found + count);
      return true;
    });
  }
  if (!status.ok()) Throw(status);
  return ToColumns(pairs, 1);
}

using Indices = py::array_t<std::uint32_t, py::array::c_style>;

// (representative, similarity, similar) of each row: the row itself and 1 for rows that are nobody's member.
py::tuple GroupColumns(std::size_t count, const Indices& first, const Indices& second, const Rows& similarity,
                       const std::optional<Indices>& rank) {
  std::vector<SimilarPair> pairs(static_cast<std::size_t>(first.size()));
  for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = {first.data()[i], second.data()[i], similarity.data()[i]};
  RankRows by_rank;
  if (rank) {
    const std::vector<std::uint32_t> ranks(rank->data(), rank->data() + rank->size());
    by_rank = [ranks](const std::vector<std::uint32_t>&) { return Result<std::vector<std::uint32_t>>(ranks); };
  }
  Result<Grouping> found = [&] {
    const py::gil_scoped_release nogil;
    return GroupPairs(count, pairs, by_rank);
  }();
  const Grouping grouping = Unwrap(std::move(found));
  const auto rows = static_cast<py::ssize_t>(count);
  py::array_t<std::int64_t> representative(rows);
  py::array_t<float> closeness(rows);
  py::array_t<std::int64_t> similar(rows);
  for (std::size_t row = 0; row < count; ++row) {
    representative.mutable_data()[row] = static_cast<std::int64_t>(row);
    closeness.mutable_data()[row] = 1;
    similar.mutable_data()[row] = grouping.similar[row];
  }
  for (const Group& group : grouping.groups) {
    for (const Neighbour& member : group.members) {
      representative.mutable_data()[member.index] = group.representative;
      closeness.mutable_data()[member.index] = member.similarity;
    }
  }
  return py::make_tuple(representative, closeness, similar);
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
           py::arg("neighbours") = 0, py::arg("effort") = 0, py::arg("short_rows") = py::none());
  py::class_<SearchIndex>(m, "SearchIndex")
      .def(py::init(&MakeIndex))
      .def_property_readonly("count", &SearchIndex::count)
      .def_property_readonly("dim", &SearchIndex::dim)
      .def("nearest", &NearestInIndex)
      .def("range", &RangeInIndex);
  m.def("similar_pairs", &SimilarPairs);
  m.def("similar_pairs_between", &SimilarPairsBetween);
  m.def("approximate_search_available", &ApproximateSearchAvailable);
  m.def("search_targets", &SearchTargets);
  m.def("cosine_similarity", &CosineOfTwo);
  m.def("nearest", &Nearest);
  m.def("group_pairs", &GroupColumns);
}

}  // namespace rrn::bindings
