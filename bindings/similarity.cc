// include/rrn/similarity.h for Python.
#include "rrn/similarity.h"

#include <cstddef>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "rrn/embedder.h"

namespace rrn::bindings {
namespace {

using PhaseCallback = std::function<bool(const std::string&, std::size_t, std::size_t)>;

RepresentativePolicy KeepCalled(const std::string& name) {
  for (const RepresentativePolicy keep :
       {RepresentativePolicy::kMostSimilar, RepresentativePolicy::kFirst, RepresentativePolicy::kLargest,
        RepresentativePolicy::kSharpest, RepresentativePolicy::kNewest}) {
    if (name == RepresentativePolicyName(keep)) return keep;
  }
  throw py::value_error("keep is '" + name + "', expected most-similar, first, largest, sharpest or newest");
}

// Of a folder, or of `files` if they are given. The result as its JSON text: the Python side builds its typed objects
// from it, so the two can never disagree.
std::pair<py::bytes, Rows> Find(const Embedder& embedder, const std::string& folder,
                                const std::optional<std::vector<std::string>>& files, const std::string& against,
                                const std::vector<std::string>& skip, const std::string& keep, float threshold,
                                bool recursive, int threads, bool approximate, Store* store,
                                const PhaseCallback& progress) {
  SimilarityOptions options;
  options.skip = skip;
  options.against = against;
  options.keep = KeepCalled(keep);
  options.threshold = threshold;
  options.recursive = recursive;
  options.threads = threads;
  options.store = store;
  if (approximate) options.search = SearchMethod::kApproximate;
  Guard guard;
  std::string json;
  Result<SimilarityResult> result = [&] {
    const py::gil_scoped_release nogil;
    const PhaseProgress call = [&](const char* phase, std::size_t done, std::size_t total) {
      return guard.Call<const std::string&, std::size_t, std::size_t>(progress, phase, done, total);
    };
    Result<SimilarityResult> similar = files ? FindSimilar(embedder, ListFiles(*files, options.skip), options, call)
                                             : FindSimilar(embedder, folder, options, call);
    if (similar.ok()) {
      std::ostringstream text;
      WriteJson(*similar, text);
      json = text.str();
    }
    return similar;
  }();
  guard.Rethrow();
  SimilarityResult found = Unwrap(std::move(result));
  return {py::bytes(json), ToArray(std::move(found.embeddings), static_cast<std::size_t>(found.model.dim))};
}

}  // namespace

void BindSimilarity(py::module_& m, py::class_<Embedder>* embedder) {
  embedder->def("find_similar", &Find, py::kw_only(), py::arg("folder"), py::arg("files"), py::arg("against"),
                py::arg("skip"), py::arg("keep"), py::arg("threshold"), py::arg("recursive"), py::arg("threads"),
                py::arg("approximate"), py::arg("store").none(true), py::arg("progress"));
  m.def("list_folder", [](const std::string& folder, bool recursive) {
    Result<FolderListing> result = [&] {
      const py::gil_scoped_release nogil;
      return ListFolder(folder, recursive);
    }();
    const FolderListing listing = Unwrap(std::move(result));
    std::vector<py::bytes> paths(listing.paths.begin(), listing.paths.end());
    return paths;
  });
}

}  // namespace rrn::bindings
