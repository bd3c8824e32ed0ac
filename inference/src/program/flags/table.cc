// The flags themselves.
#include <cstdint>
#include <limits>
#include <vector>

#include "program/flags/flag.h"
#include "program/flags/generate.h"
#include "rrn/embedder.h"

namespace rrn {
namespace {

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kMostMegapixels = 1'000'000;
constexpr std::uint64_t kMostPagePairs = 10'000'000;
constexpr std::uint64_t kMostNeighbours = 10'000;

FlagGroup What() {
  return {"What to compare",
          {
              Flag("list", &Typed::list, "FILE")
                  .Help("compare the images that FILE names")
                  .More("Instead of a folder, the image files that FILE names ('-': standard input), one a line or "
                        "separated by zero bytes (find -print0), relative to the current folder.")
                  .Completes(Completion::kFiles)
                  .FolderOnly(),
              Flag("against", &Typed::against, "DIR")
                  .Help("compare with the images of DIR only")
                  .More("Compare with the images of this reference folder and with no others. A group is then a "
                        "reference image and the images most similar to it, and the totals say how many images are "
                        "known (similar to a reference image, or the same file) and how many are new.")
                  .Completes(Completion::kFolders)
                  .FolderOnly(),
              Flag("recursive", &Typed::recursive)
                  .Help("do not look into sub-folders")
                  .More("Do not look into sub-folders. --recursive, the default, does.")
                  .Negation("no-recursive")
                  .FolderOnly(),
              Flag("skip", &Typed::skip, "DIR")
                  .Help("leave out DIR; may be repeated")
                  .More("Leave out a folder: it is not looked into, and files in it that --list names are not read. "
                        "Useful for a folder that redundant images were moved to. May be repeated.")
                  .Completes(Completion::kFolders)
                  .FolderOnly(),
              Flag("max-megapixels", &Typed::max_megapixels, "N")
                  .Help("skip larger images")
                  .More("Larger images are skipped, not decoded.")
                  .Range(1, kMostMegapixels),
          }};
}

FlagGroup Similarity() {
  return {"Similarity",
          {
              Flag("threshold", &Typed::threshold, "COSINE")
                  .Help("similar is: cosine above this")
                  .More("Two images are similar when their cosine is above this number; -1 <= threshold < 1."),
              Flag("keep", &Typed::keep, "WHICH")
                  .Help("which image of a group is kept")
                  .More("Which image represents a group, and is kept: the one with the most similar images, or the "
                        "first by path, the largest (pixels, then bytes), the sharpest (most detail; needs all files "
                        "at full size, as --full-decode) or the newest.")
                  .OneOf({"most-similar", "first", "largest", "sharpest", "newest"})
                  .FolderOnly(),
              Flag("model", &Typed::model, "FILE")
                  .Help("ONNX model file")
                  .More("The model, an ONNX file.")
                  .Default("the model that comes with the program")
                  .Completes(Completion::kFiles),
              Flag("op-library", &Typed::op_library, "FILE")
                  .Help("the operator's library")
                  .More("The library with the operator, libreduction_op.so. Models that rrn exported run without it, "
                        "too.")
                  .Default("the one beside the program")
                  .Completes(Completion::kFiles),
              Flag("size", &Typed::size, "PIXELS")
                  .Help("input size; 0: the model's own")
                  .More("Images are resized to PIXELS x PIXELS. 0: the model's own size, 224 if it names none.")
                  .Range(kMinImageSize, kMaxImageSize)
                  .OrZero(),
              Flag("full-decode", &Typed::full_decode)
                  .Help("decode large files at full size")
                  .More("Decode large JPEG and WebP files at full size instead of a fraction of it: slower, hardly "
                        "different."),
          }};
}

FlagGroup ResultFlags() {
  return {"Result",
          {
              Flag("json", &Typed::json, "FILE")
                  .Help("write the result as JSON; '-': standard output")
                  .More("Write the result as JSON to this file, or with '-' to standard output, instead of text.")
                  .Completes(Completion::kFiles)
                  .FolderOnly(),
              Flag("pairs", &Typed::pairs, "FILE")
                  .Help("write the similar pairs as CSV")
                  .More("Write the similar pairs to this CSV file: first,second,similarity. With --against, the second "
                        "is the reference image.")
                  .Completes(Completion::kFiles)
                  .FolderOnly(),
              Flag("max-pairs", &Typed::max_pairs, "N")
                  .Help("lines of that file at most")
                  .More("Lines of the file of --pairs at most. The counts are always of all pairs, and a warning says "
                        "what the file lacks.")
                  .Range(1, kNoLimit)
                  .FolderOnly(),
              Flag("embeddings", &Typed::embeddings, "FILE.npy")
                  .Help("write the embeddings and their paths")
                  .More("Write the embeddings to this NumPy file (float32 [n, dim]), and their paths to the .txt file "
                        "beside it, a line each (\\n, \\r and \\\\ stand for line breaks and backslashes in names).")
                  .Completes(Completion::kFiles)
                  .FolderOnly(),
              Flag("html", &Typed::html, "FILE")
                  .Help("write a page for the browser")
                  .More("Write a page for the browser to this file: the groups with thumbnails, for any threshold from "
                        "0.5 up.")
                  .Completes(Completion::kFiles)
                  .FolderOnly(),
              Flag("html-pairs", &Typed::html_pairs, "N")
                  .Help("pairs that the page may carry")
                  .More("Pairs that the page may carry. With more, its lowest threshold is higher, and it says so.")
                  .Range(1, kMostPagePairs)
                  .FolderOnly(),
              Flag("quiet", &Typed::quiet)
                  .Help("no text and no progress line")
                  .More("No text on standard output, no progress line, no notes and no warnings. Errors are still "
                        "shown."),
          }};
}

FlagGroup Redundant() {
  return {"What to do with redundant images",
          {
              Flag("move-to", &Typed::move_to, "DIR")
                  .Help("move them to their path under DIR")
                  .More("Move the redundant images to their path under DIR. Nothing is deleted or overwritten; a "
                        "journal is written to DIR, which --undo reads.")
                  .Completes(Completion::kFolders)
                  .FolderOnly(),
              Flag("hardlink", &Typed::hardlink)
                  .Help("replace equal files by hard links")
                  .More("Replace redundant images that are equal to the kept one, byte by byte, by hard links to it. A "
                        "journal is written to the current folder, which --undo reads.")
                  .FolderOnly(),
              Flag("undo", &Typed::undo, "JOURNAL")
                  .Help("undo what a journal says")
                  .More("Undo what a journal of --move-to or --hardlink says. Takes no folder.")
                  .Completes(Completion::kFiles)
                  .FolderOnly(),
              Flag("action", &Typed::action, "list|json|hardlink|move DIR")
                  .Help("old form of --move-to and --hardlink")
                  .Replaced("--move-to DIR, --hardlink, --json -")
                  .WordAfter("move", &Typed::action_folder)
                  .FolderOnly(),
          }};
}

FlagGroup Speed() {
  return {"Speed",
          {
              Flag("batch", &Typed::batch, "N")
                  .Help("images per inference call")
                  .More("Images per inference call. The results do not depend on it.")
                  .Range(1, kMaxBatch),
              Flag("threads", &Typed::threads, "N")
                  .Help("worker threads; 0: one for each core")
                  .More("Worker threads; 0: one for each core. The results do not depend on it.")
                  .Range(0, kMaxThreads),
              Flag("provider", &Typed::provider, "NAME")
                  .Help("what computes the embeddings")
                  .More("Who computes. auto takes the best one that works here for the precision.")
                  .OneOf({kProviderNames.begin(), kProviderNames.end()}),
              Flag("precision", &Typed::precision, "FORMAT")
                  .Help("the number format of the network")
                  .More("The number format that the network computes in. auto is fp32, except bf16 with --provider "
                        "openvino on a CPU that has it. bf16 and int8 are faster and move similarities a little; int8 "
                        "needs the file MODEL.int8.onnx.")
                  .OneOf({kPrecisionNames.begin(), kPrecisionNames.end()}),
              Flag("cache", &Typed::cache)
                  .Help("do not keep compiled models")
                  .More("Do not keep compiled models for the next start in ~/.cache/rrn. --cache, the default, does.")
                  .Negation("no-cache"),
              Flag("store", &Typed::store, "DIR")
                  .Help("where what is known of files is kept")
                  .More("Keep embeddings, and what else is known of files, in this folder, and take them from it for "
                        "files that have not changed; it is made where it is missing. A run that is interrupted goes "
                        "on where it stopped. See also rrn index.")
                  .Default("a folder for each folder of images, in ~/.cache/rrn/stores")
                  .Completes(Completion::kFolders)
                  .FolderOnly(),
              Flag("no-store", &Typed::no_store)
                  .Help("read every file, and keep nothing")
                  .More("Read every file, and keep nothing for the next run. The result is the same.")
                  .FolderOnly(),
              Flag("search", &Typed::search, "METHOD")
                  .Help("how pairs are looked for")
                  .More("How pairs are looked for. approximate is for millions of images: it misses some pairs, and "
                        "says how many of a sample.")
                  .OneOf({"exact", "approximate"})
                  .FolderOnly(),
              Flag("search-neighbours", &Typed::search_neighbours, "N")
                  .Help("approximate search: neighbours each")
                  .More("Approximate search: similar images that are looked for from each image.")
                  .Range(1, kMostNeighbours)
                  .FolderOnly(),
              Flag("search-effort", &Typed::search_effort, "N")
                  .Help("approximate search: larger finds more, slower")
                  .More("Approximate search: more is slower and misses less.")
                  .Range(1, kMostNeighbours)
                  .FolderOnly(),
          }};
}

FlagGroup Other() {
  return {"Other",
          {
              Flag("help", Question::kHelp)
                  .Letter('h')
                  .Help("this text; --help says more")
                  .More("This text; -h is a summary of it."),
              Flag("version", Question::kVersion)
                  .Help("the version, and that of ONNX Runtime")
                  .More("The version, and that of ONNX Runtime."),
              Flag("generate", &Typed::generate, "WHAT")
                  .Help("write a manual page or a completion script")
                  .More("Write to standard output a manual page, a completion script for a shell, or a list of all "
                        "flags with their defaults for programs.")
                  .OneOf(GeneratedNames()),
          }};
}

}  // namespace

const std::vector<FlagGroup>& FlagTable() {
  static const auto* const table =
      new std::vector<FlagGroup>{What(), Similarity(), ResultFlags(), Redundant(), Speed(), Other()};
  return *table;
}

}  // namespace rrn
