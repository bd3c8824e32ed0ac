// Power that fails: a process is recorded, and disks are made as they may be after it lost power at any moment: all
// that was synced, and of the rest some. Each of them must be a store in which all is right that was reported as
// stored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "rrn/store.h"
#include "store/test_process.h"
#include "store/test_recorder.h"
#include "store/test_steps.h"
#include "store/test_store.h"
#include "testing/temporary_folder.h"

namespace rrn {
namespace {

namespace fs = std::filesystem;
using test_support::Apply;
using test_support::Contents;
using test_support::Differences;
using test_support::Findings;
using test_support::kDim;
using test_support::NoteHeader;
using test_support::NoteKind;
using test_support::Process;
using test_support::StepOf;
using test_support::Take;
using test_support::TemporaryFolder;
using test_support::TestKey;

struct Note {
  NoteKind kind;
  std::uint64_t file;
  std::uint64_t offset;
  std::string path;
  std::string data;
};

std::vector<Note> ReadNotes(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  std::vector<Note> notes;
  for (std::size_t at = 0; at + sizeof(NoteHeader) <= text.size();) {
    NoteHeader header;
    std::memcpy(&header, &text[at], sizeof header);
    at += sizeof header;
    notes.push_back({header.kind, header.file, header.offset, text.substr(at, header.path_size),
                     text.substr(at + header.path_size, header.data_size)});
    at += header.path_size + header.data_size;
  }
  return notes;
}

// A disk that has been told things and has not done all of them yet.
class Disk {
 public:
  explicit Disk(std::string folder) : folder_(std::move(folder)) {}

  void Take(const Note& note) {
    switch (note.kind) {
      case NoteKind::kMake:
        files_[note.file] = std::make_shared<File>();  // the number of a removed file may be used again
        pending_names_.push_back({note.path, files_[note.file], ""});
        now_[note.path] = files_[note.file];
        break;
      case NoteKind::kRemove:
        pending_names_.push_back({note.path, nullptr, ""});
        now_.erase(note.path);
        break;
      case NoteKind::kRename:
        pending_names_.push_back({note.data, now_[note.path], note.path});
        now_[note.data] = now_[note.path];
        now_.erase(note.path);
        break;
      case NoteKind::kWrite:
      case NoteKind::kTruncate:
        files_.at(note.file)->pending.push_back(note);
        break;
      case NoteKind::kSync: {
        File& file = *files_.at(note.file);
        for (const Note& change : file.pending) Change(change, 0, change.data.size(), &file.content);
        file.pending.clear();
        break;
      }
      case NoteKind::kSyncFolder:
        SyncNames(note.path);
        break;
      case NoteKind::kAcknowledge:
        break;
    }
  }

  // Writes what the disk may have when the power fails now. Each sector (512 bytes) of what is not synced, each new
  // length and each change of a name is there with this probability.
  void Write(const std::string& target, double probability, std::mt19937* random) const {
    std::bernoulli_distribution is_there(probability);
    Names names = names_;
    for (const NameChange& change : pending_names_) {
      if (is_there(*random)) ChangeName(change, &names);
    }
    for (const auto& [path, file] : names) {
      std::string content = file->content;
      for (const Note& change : file->pending) {
        constexpr std::size_t kSector = 512;
        for (std::size_t at = 0; at < std::max<std::size_t>(change.data.size(), 1);) {
          const std::size_t end = at + kSector - (change.offset + at) % kSector;
          if (is_there(*random)) Change(change, at, std::min(end, change.data.size()), &content);
          at = end;
        }
      }
      const std::string place = target + path.substr(folder_.size());
      fs::create_directories(fs::path(place).parent_path());
      std::ofstream(place, std::ios::binary) << content;
    }
  }

 private:
  struct File {
    std::string content;
    std::vector<Note> pending;
  };
  using Names = std::map<std::string, std::shared_ptr<File>>;
  struct NameChange {
    std::string path;
    std::shared_ptr<File> file;  // null: removed
    std::string old_path;        // of a renamed one
  };

  static void Change(const Note& change, std::size_t begin, std::size_t end, std::string* content) {
    if (change.kind == NoteKind::kTruncate) {
      content->resize(change.offset);
      return;
    }
    content->resize(std::max<std::size_t>(content->size(), change.offset + end));
    content->replace(change.offset + begin, end - begin, change.data, begin, end - begin);
  }

  static void ChangeName(const NameChange& change, Names* names) {
    if (!change.old_path.empty()) names->erase(change.old_path);
    if (change.file == nullptr) {
      names->erase(change.path);
    } else {
      (*names)[change.path] = change.file;
    }
  }

  void SyncNames(const std::string& folder) {
    std::vector<NameChange> left;
    for (const NameChange& change : pending_names_) {
      if (fs::path(change.path).parent_path() == folder) {
        ChangeName(change, &names_);
      } else {
        left.push_back(change);
      }
    }
    pending_names_ = std::move(left);
  }

  std::string folder_;
  std::map<std::uint64_t, std::shared_ptr<File>> files_;  // by inode
  Names names_;                                           // that are on the disk
  Names now_;                                             // that processes see
  std::vector<NameChange> pending_names_;
};

// The steps of a writer, as the recorder has them.
std::vector<Note> Record(const std::string& place, const std::string& mode, int steps) {
  const TemporaryFolder folder;
  Process process({RRN_STORE_TEST_WRITER, place, "0", "0", std::to_string(steps), std::to_string(kDim), "f32", mode},
                  {"LD_PRELOAD=" RRN_STORE_TEST_RECORDER, "RRN_RECORD_FOLDER=" + place,
                   "RRN_RECORD_LOG=" + folder.Sub("log"), "ASAN_OPTIONS=verify_asan_link_order=0"});
  EXPECT_EQ(process.Wait().size(), static_cast<std::size_t>(steps));
  EXPECT_EQ(process.status(), 0);
  return ReadNotes(folder.Sub("log"));
}

// Says what is wrong with the store; empty if nothing is.
std::string CheckStore(const std::string& place, std::uint64_t acknowledged) {
  Result<Store> store = Store::Open(place);
  if (!store.ok()) return store.status().message();
  if (std::string findings = Findings(*store); !findings.empty()) return findings;
  const ColumnKey key = TestKey("model");
  Contents contents;
  for (std::uint64_t i = 0; i < acknowledged; ++i) Apply(StepOf(0, i), &contents);
  std::string without_last = Differences(*store, key, 0, contents);
  Apply(StepOf(0, acknowledged), &contents);
  if (!without_last.empty() && !Differences(*store, key, 0, contents).empty()) return without_last;
  // It goes on where it stopped.
  for (const std::uint64_t next : {acknowledged, acknowledged + 1}) {
    Apply(StepOf(0, next), &contents);
    if (const Status taken = Take(StepOf(0, next), key, &*store); !taken.ok()) return taken.message();
  }
  return Findings(*store) + Differences(*store, key, 0, contents);
}

class StorePowerTest : public ::testing::TestWithParam<std::string> {};

TEST_P(StorePowerTest, NothingThatWasReportedIsLost) {
  const TemporaryFolder folder(fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path().string());
  const std::string place = folder.Sub("store");
  const std::vector<Note> notes = Record(place, GetParam(), 40);
  ASSERT_FALSE(HasFailure());
  ASSERT_GT(notes.size(), 300U);
  const char* cuts_text = std::getenv("RRN_STORE_CUTS");
  const std::size_t cuts = cuts_text == nullptr ? 120 : std::strtoull(cuts_text, nullptr, 10);
  std::mt19937 random(42);
  std::vector<std::size_t> places(cuts);
  for (std::size_t i = 0; i < cuts; ++i) {
    const std::size_t end = i % 3 == 0 ? 70 : notes.size();  // often while the store is made
    places[i] = std::uniform_int_distribution<std::size_t>(0, end)(random);
  }
  std::sort(places.begin(), places.end());
  Disk disk(place);
  std::size_t at = 0;
  std::uint64_t acknowledged = 0;
  for (std::size_t i = 0; i < cuts; ++i) {
    for (; at < places[i]; ++at) {
      disk.Take(notes[at]);
      acknowledged += notes[at].kind == NoteKind::kAcknowledge ? 1 : 0;
    }
    constexpr double kProbabilities[] = {0, 0.5, 0.9, 1};
    const double probability = kProbabilities[random() % 4];
    const std::string copy = folder.Sub("copy" + std::to_string(i));
    disk.Write(copy, probability, &random);
    ASSERT_EQ(CheckStore(copy, acknowledged), "")
        << "power lost at " << at << " of " << notes.size() << ", unsynced writes kept: " << probability << ", steps "
        << acknowledged;
    fs::remove_all(copy);
  }
}

INSTANTIATE_TEST_SUITE_P(Journals, StorePowerTest, ::testing::Values("reopen", "compact", "network"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace rrn
