// A result for people.
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "base/text.h"
#include "rrn/similarity.h"
#include "similarity/result_parts.h"

namespace rrn {
namespace {

using internal::Dissimilar;
using internal::RepresentativePath;

// Rows of one table of the text form: similarity, number of dissimilar images, path.
class Table {
 public:
  Table(const SimilarityResult& result, std::ostream& out)
      : report_(result), dissimilar_(Dissimilar(result, false)), out_(out) {
    if (result.reference) reference_dissimilar_ = Dissimilar(result, true);
  }

  void Row(const std::string& similarity, std::uint32_t index) {
    Line(similarity, dissimilar_[index], report_.paths[index]);
  }

  void Representative(const Group& group) {
    const std::uint32_t index = group.representative;
    Line("-", report_.reference ? reference_dissimilar_[index] : dissimilar_[index],
         RepresentativePath(report_, group));
  }

 private:
  void Line(const std::string& similarity, std::size_t dissimilar, const std::string& path) {
    out_ << Padded(similarity, 12) << Padded(std::to_string(dissimilar), 12) << "  " << OneLine(path) << '\n';
  }

  const SimilarityResult& report_;
  const std::vector<std::size_t> dissimilar_;
  std::vector<std::size_t> reference_dissimilar_;
  std::ostream& out_;
};

void WriteSkippedText(const char* title, const std::vector<SkippedFile>& skipped, std::ostream& out) {
  if (skipped.empty()) return;
  out << '\n' << title << ": " << Count(skipped.size(), "file", "files") << '\n';
  for (const SkippedFile& file : skipped) out << "  " << OneLine(file.path) << ": " << file.reason << '\n';
}

void WriteReferenceTotals(const SimilarityResult& result, std::ostream& out) {
  const ReferenceResult& reference = *result.reference;
  const auto line = [&out](const char* name, std::size_t own, std::size_t other) {
    out << name << Padded(Digits(own), 10) << Padded(Digits(other), 12) << '\n';
  };
  out << "\n             images   reference  (" << OneLine(reference.folder) << ")\n";
  line("files    ", result.files(), reference.files());
  line("read     ", result.paths.size(), reference.paths.size());
  line("skipped  ", result.skipped.size(), reference.skipped.size());
  if (!reference.same_files.empty()) {
    std::set<std::uint32_t> same;
    for (const SameFile& file : reference.same_files) same.insert(file.image);
    out << "same     " << Padded(Digits(same.size()), 10)
        << "              one and the same file on both sides, not compared with itself\n";
  }
  out << "known    " << Padded(Digits(reference.known), 10) << "              similarity to a reference image above "
      << ShortestText(result.threshold) << ", or the same file\n"
      << "new      " << Padded(Digits(reference.fresh), 10) << '\n';
}

}  // namespace

void WriteText(const SimilarityResult& result, std::ostream& out) {
  std::vector<bool> grouped(result.paths.size(), false);
  Table table(result, out);
  const ModelInfo& model = result.model;
  out << "model " << OneLine(model.file) << ", " << std::to_string(model.size) << " pixels, " << model.provider << ' '
      << model.precision << '\n';
  if (!result.paths.empty()) out << "  similarity  dissimilar  image\n";
  std::size_t number = 0;
  for (const Group& group : result.grouping.groups) {
    out << "\ngroup " << Digits(++number) << ": " << Digits(group.members.size() + 1) << " images\n";
    table.Representative(group);
    if (!result.reference) grouped[group.representative] = true;
    for (const Neighbour& member : group.members) {
      table.Row(Decimals(member.similarity, 4), member.index);
      grouped[member.index] = true;
    }
  }
  const std::size_t groups = result.grouping.groups.size();
  const std::size_t singletons = result.grouping.unique - groups;
  if (singletons > 0) {
    out << "\nin no group: " << Count(singletons, "image", "images") << '\n';
    for (std::uint32_t i = 0; i < result.paths.size(); ++i) {
      if (!grouped[i]) table.Row("-", i);
    }
  }
  WriteSkippedText("skipped", result.skipped, out);
  if (result.reference) {
    WriteSkippedText("skipped in the reference", result.reference->skipped, out);
    WriteReferenceTotals(result, out);
    return;
  }
  out << '\n'
      << "files    " << Digits(result.files()) << '\n'
      << "read     " << Digits(result.paths.size()) << '\n'
      << "skipped  " << Digits(result.skipped.size()) << '\n'
      << "groups   " << Digits(groups) << "  (similarity to the group's first image above "
      << ShortestText(result.threshold) << ")\n"
      << "unique   " << Digits(result.grouping.unique) << "  (" << Count(groups, "group", "groups") << " + "
      << Count(singletons, "image", "images") << " in no group)\n";
  if (result.search == SearchMethod::kApproximate) {
    out << "search   approximate: found " << Digits(result.recall.found) << " of the "
        << Count(result.recall.pairs, "similar pair", "similar pairs") << " of a sample of "
        << Count(result.recall.rows, "image", "images") << '\n';
  }
}

}  // namespace rrn
