// A result for programs.
#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

#include "base/text.h"
#include "rrn/similarity.h"
#include "similarity/result_parts.h"

namespace rrn {
namespace {

using internal::Dissimilar;
using internal::RepresentativePath;

void WriteSkipped(const std::vector<SkippedFile>& skipped, std::ostream& out) {
  out << "\"skipped\":[";
  const char* separator = "\n  ";
  for (const SkippedFile& file : skipped) {
    out << separator << "{\"path\":" << JsonString(file.path) << ",\"reason\":" << JsonString(file.reason) << '}';
    separator = ",\n  ";
  }
  out << "],\n";
}

void WriteReference(const SimilarityResult& result, std::ostream& out) {
  const ReferenceResult& reference = *result.reference;
  out << R"("reference":{"folder":)" << JsonString(reference.folder) << ",\"files\":" << Digits(reference.files())
      << ",\"read\":" << Digits(reference.paths.size()) << ",\"known\":" << Digits(reference.known)
      << ",\"new\":" << Digits(reference.fresh) << ",\n";
  WriteSkipped(reference.skipped, out);
  out << "\"same_files\":[";
  const char* separator = "\n  ";
  for (const SameFile& file : reference.same_files) {
    out << separator << "{\"path\":" << JsonString(result.paths[file.image])
        << ",\"reference\":" << JsonString(reference.paths[file.reference]) << '}';
    separator = ",\n  ";
  }
  out << "]},\n";
}

void WriteRedundant(const SimilarityResult& result, std::ostream& out) {
  out << "\"redundant\":[";
  const char* separator = "\n  ";
  for (const RedundantImage& image : RedundantImages(result)) {
    out << separator << "{\"path\":" << JsonString(image.path) << ",\"kept\":" << JsonString(image.kept)
        << ",\"similarity\":" << Decimals(image.similarity, 6) << '}';
    separator = ",\n  ";
  }
  out << "],\n";
}

void WriteGroups(const SimilarityResult& result, std::ostream& out) {
  out << "\"groups\":[";
  const char* separator = "\n  ";
  for (const Group& group : result.grouping.groups) {
    out << separator << "{\"representative\":" << JsonString(RepresentativePath(result, group)) << ",\"members\":[";
    separator = ",\n  ";
    const char* member_separator = "";
    for (const Neighbour& member : group.members) {
      out << member_separator << "\n    {\"path\":" << JsonString(result.paths[member.index])
          << ",\"similarity\":" << Decimals(member.similarity, 6) << '}';
      member_separator = ",";
    }
    out << "]}";
  }
  out << "],\n";
}

// The recall is of the pairs, as far as a sample tells; null if the sample had none.
void WriteSearch(const SimilarityResult& result, std::ostream& out) {
  if (result.search == SearchMethod::kExact) {
    out << R"("search":{"method":"exact","recall":1},)" << '\n';
    return;
  }
  out << R"("search":{"method":"approximate","recall":)"
      << (result.recall.pairs == 0 ? "null" : Decimals(static_cast<float>(result.recall.value()), 4)) << "},\n";
}

void WriteImages(const SimilarityResult& result, std::ostream& out) {
  out << "\"images\":[";
  const char* separator = "\n  ";
  const std::vector<std::size_t> dissimilar = Dissimilar(result, false);
  for (std::size_t i = 0; i < result.paths.size(); ++i) {
    out << separator << "{\"path\":" << JsonString(result.paths[i])
        << ",\"similar\":" << Digits(result.grouping.similar[i]) << ",\"dissimilar\":" << Digits(dissimilar[i]) << '}';
    separator = ",\n  ";
  }
  out << "]}\n";
}

}  // namespace

void WriteJson(const SimilarityResult& result, std::ostream& out) {
  const ModelInfo& model = result.model;
  out << "{\"version\":1,\n\"model\":{\"file\":" << JsonString(model.file)
      << ",\"weights_origin\":" << JsonString(model.weights_origin)
      << ",\"weights_sha256\":" << JsonString(model.weights_sha256) << ",\"size\":" << std::to_string(model.size)
      << ",\"embedding_dim\":" << std::to_string(model.dim) << ",\"provider\":" << JsonString(model.provider)
      << ",\"precision\":" << JsonString(model.precision) << "},\n\"threshold\":" << ShortestText(result.threshold)
      << ",\n";
  if (result.keep != RepresentativePolicy::kMostSimilar) {
    out << "\"keep\":" << JsonString(RepresentativePolicyName(result.keep)) << ",\n";
  }
  WriteSearch(result, out);
  out << "\"files\":" << Digits(result.files()) << ",\n\"read\":" << Digits(result.paths.size()) << ",\n";
  WriteSkipped(result.skipped, out);
  if (result.reference) WriteReference(result, out);
  WriteGroups(result, out);
  out << "\"unique\":" << Digits(result.grouping.unique) << ",\n";
  WriteRedundant(result, out);
  WriteImages(result, out);
}

}  // namespace rrn
