// include/rrn/store.h for Python. The documentation is in rrn_native/store.py.
#include "rrn/store.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common.h"
#include "rrn/similarity.h"

namespace rrn::bindings {
namespace {

StoreFloat FloatsCalled(const std::string& name) {
  if (name == "float32") return StoreFloat::kFloat32;
  if (name == "float16") return StoreFloat::kFloat16;
  throw py::value_error("floats is '" + name + "', expected float32 or float16");
}

const char* NameOf(StoreFloat floats) { return floats == StoreFloat::kFloat32 ? "float32" : "float16"; }

py::dict ToDict(const StoreReport& report) {
  // They may name files, and so hold any bytes.
  std::vector<py::bytes> findings(report.findings.begin(), report.findings.end());
  py::dict fields;
  fields["findings"] = std::move(findings);
  fields["rows"] = report.rows;
  fields["damaged"] = report.damaged;
  fields["removed"] = report.removed;
  fields["freed"] = report.freed;
  return fields;
}

py::dict InfoOf(const Store& store) {
  const StoreInfo info = Unwrap([&] {
    const py::gil_scoped_release nogil;
    return store.Info();
  }());
  py::list columns;
  for (const StoreColumn& column : info.columns) {
    py::dict fields;
    fields["kind"] = column.key.kind;
    fields["fingerprint"] = column.key.fingerprint;
    fields["dim"] = column.key.dim;
    fields["floats"] = NameOf(column.floats);
    fields["rows"] = column.rows;
    fields["skipped"] = column.skipped;
    fields["dead"] = column.dead;
    fields["bytes"] = column.bytes;
    columns.append(fields);
  }
  py::dict fields;
  fields["format"] = info.format;
  fields["files"] = info.files;
  fields["commits"] = info.commits;
  fields["journal_mode"] = info.journal_mode;
  fields["columns"] = columns;
  return fields;
}

// (path, slot or None, reason, bytes, modified_ns, width, height, captured or None, content) of each.
py::list Entries(const Store& store, const ColumnKey& key, const std::string& prefix) {
  const std::vector<StoreEntry> entries = Unwrap([&] {
    const py::gil_scoped_release nogil;
    return store.Read(key, prefix);
  }());
  py::list found;
  for (const StoreEntry& entry : entries) {
    const StoredFile& file = entry.file;
    const std::string content(file.content.begin(), file.content.end());
    found.append(py::make_tuple(py::bytes(file.path), entry.slot, file.reason, file.state.bytes, file.state.modified_ns,
                                file.width, file.height, file.captured, py::bytes(content)));
  }
  return found;
}

// The rows, and the positions of those that are damaged.
std::pair<Rows, std::vector<std::size_t>> ReadRows(const Store& store, const ColumnKey& key,
                                                   const std::vector<std::uint64_t>& slots) {
  std::vector<float> rows(slots.size() * key.dim);
  std::vector<std::size_t> damaged;
  const Status status = [&] {
    const py::gil_scoped_release nogil;
    return store.ReadRows(key, slots, rows.data(), &damaged);
  }();
  if (!status.ok()) Throw(status);
  return {ToArray(std::move(rows), key.dim), std::move(damaged)};
}

// Files as (path, inode, bytes, modified_ns, changed_ns, looked_at_ns, reason).
using GivenFile =
    std::tuple<std::string, std::uint64_t, std::uint64_t, std::int64_t, std::int64_t, std::int64_t, std::string>;

void Add(Store* store, const ColumnKey& key, const std::vector<GivenFile>& given, const Rows& rows) {
  std::vector<StoredFile> files;
  std::size_t with_row = 0;
  for (const auto& [path, inode, bytes, modified, changed, looked_at, reason] : given) {
    StoredFile file;
    file.path = path;
    file.state = {0, inode, bytes, modified, changed};
    file.looked_at_ns = looked_at;
    file.reason = reason;
    if (reason.empty()) ++with_row;
    files.push_back(std::move(file));
  }
  const EmbeddingsView view = View(rows);
  if (view.count != with_row || (with_row > 0 && view.dim != key.dim)) {
    throw py::value_error("expected a row of " + std::to_string(key.dim) + " numbers for each file without a reason");
  }
  const Status status = [&] {
    const py::gil_scoped_release nogil;
    return store->Add(key, files, view.data);
  }();
  if (!status.ok()) Throw(status);
}

// A member function that looks at everything, and tells how far it is.
template <typename Work>
py::dict Report(Store* store, const Callback& progress, Work work) {
  Guard guard;
  Result<StoreReport> report = [&] {
    const py::gil_scoped_release nogil;
    return (store->*work)([&](std::size_t done, std::size_t total) { return guard.Call(progress, done, total); });
  }();
  guard.Rethrow();
  return ToDict(Unwrap(std::move(report)));
}

// Embeds files through a store: rows, positions of the files that they are of, what was skipped with its reasons, and
// (reused, computed, refused, damaged, note) of StoreUse.
py::tuple EmbedThrough(const Embedder& embedder, Store* store, const std::vector<std::string>& paths,
                       const Callback& progress) {
  Guard guard;
  Result<StoredEmbeddings> result = [&] {
    const py::gil_scoped_release nogil;
    return EmbedThroughStore(embedder, store, paths, {},
                             [&](std::size_t done, std::size_t total) { return guard.Call(progress, done, total); });
  }();
  guard.Rethrow();
  StoredEmbeddings found = Unwrap(std::move(result));
  std::vector<std::pair<py::bytes, std::string>> skipped;
  for (const SkippedFile& file : found.embeddings.skipped) skipped.emplace_back(py::bytes(file.path), file.reason);
  const StoreUse& use = found.use;
  return py::make_tuple(ToArray(std::move(found.embeddings.rows), static_cast<std::size_t>(embedder.info().dim)),
                        found.embeddings.read, skipped,
                        py::make_tuple(use.reused, use.computed, use.refused, use.damaged, py::bytes(use.note)));
}

}  // namespace

void BindStore(py::module_& m, py::class_<Embedder>* embedder) {
  py::class_<ColumnKey>(m, "ColumnKey")
      .def(py::init([](const std::string& kind, const std::string& fingerprint, std::size_t dim) {
             return ColumnKey{kind, fingerprint, dim};
           }),
           py::kw_only(), py::arg("kind"), py::arg("fingerprint"), py::arg("dim"))
      .def_readonly("kind", &ColumnKey::kind)
      .def_readonly("fingerprint", &ColumnKey::fingerprint)
      .def_readonly("dim", &ColumnKey::dim);
  embedder->def("column", [](const Embedder& self) { return EmbeddingColumn(self); });
  embedder->def("embed_through", &EmbedThrough);
  m.def("default_store_folder",
        [](const std::string& folder) { return py::bytes(Unwrap(DefaultStoreFolder(folder))); });
  py::class_<Store>(m, "Store")
      .def(py::init([](const std::string& folder, bool create, bool read_only, const std::string& floats) {
             StoreOptions options;
             options.create = create;
             options.read_only = read_only;
             options.floats = FloatsCalled(floats);
             return Unwrap([&] {
               const py::gil_scoped_release nogil;
               return Store::Open(folder, options);
             }());
           }),
           py::kw_only(), py::arg("folder"), py::arg("create"), py::arg("read_only"), py::arg("floats"))
      .def_property_readonly("note", [](const Store& store) { return py::bytes(store.note()); })
      .def("info", &InfoOf)
      .def("entries", &Entries)
      .def("rows", &ReadRows)
      .def("add", &Add)
      .def("remove",
           [](Store* store, const std::vector<std::string>& paths) {
             const Status status = [&] {
               const py::gil_scoped_release nogil;
               return store->Remove(paths);
             }();
             if (!status.ok()) Throw(status);
           })
      .def("verify", [](Store* store, const Callback& progress) { return Report(store, progress, &Store::Verify); })
      .def("repair", [](Store* store, const Callback& progress) { return Report(store, progress, &Store::Repair); })
      .def("compact", [](Store* store, const Callback& progress) { return Report(store, progress, &Store::Compact); });
}

}  // namespace rrn::bindings
