// SPDX-License-Identifier: Apache-2.0
// An apply that was stopped half way, and its journal with any bytes changed, sums made to fit or
// not: nothing crashes or is written outside the image, what is refused has written nothing, and
// what succeeds has made the image what the diffs lead to.
#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>

#include "libsnap/access/pending_apply.h"
#include "libsnap/ops/apply.h"
#include "tests/fuzz/diff_tools.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/fault_file.h"
#include "tests/support/model.h"
#include "tests/support/scratch.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

constexpr uint64_t kMostImage = 3 * kMiB + 4096;  // of all cases
constexpr size_t kSlot = 256;                     // in use of each slot of the journal
constexpr size_t kSlotDistance = 4096;
constexpr unsigned kSeal = 1, kCut = 2, kMark = 4, kOwnMark = 8;

struct Stopped {
  std::vector<Bytes> streams;
  Bytes last;  // what they lead to
  Bytes image;
  Bytes journal;
};

enum class Outcome { kRefused, kStopped, kDone };

// Lets nothing outside of the image be written, and stops at the n-th change of it; 0: at none.
FaultFile::Judge judge_of(size_t stop_at) {
  return [left = stop_at](const FileOperation& operation) mutable -> Result<void> {
    using Kind = FileOperation::Kind;
    if (operation.kind == Kind::kRead || operation.kind == Kind::kFlush) return {};
    require(operation.offset <= kMostImage && operation.length <= kMostImage - operation.offset);
    if (left == 0 || --left > 0) return {};
    return Error(ErrorCode::kIo, "stopped");
  };
}

Outcome apply(const std::vector<Bytes>& streams, MemoryFile& image, MemoryFile& journal,
              size_t stop_at) {
  FaultFile judged(image, judge_of(stop_at));
  TestContext context;
  context.files.add("image", judged, FileKind::kRegular);
  context.files.add("journal", journal);
  std::deque<MemoryFile> diffs;
  ops::ApplyRequest request;
  for (const Bytes& stream : streams) {
    const std::string name = "diff" + std::to_string(diffs.size());
    diffs.emplace_back(name, stream);
    context.files.add(name, diffs.back());
    request.diffs.paths.push_back(name);
  }
  request.diffs.linking = Linking::kOptional;
  request.options.batch_bytes = 1;  // a flush after every window
  const auto job =
      ops::ApplyJob::prepare(context.get(), request, {raw_file("image"), {}, {}}, "journal");
  if (!job) return Outcome::kRefused;
  return (*job)->run() ? Outcome::kDone : Outcome::kStopped;
}

// The image grows, is cut, is both in turn, or keeps its size.
std::vector<Bytes> states_of(unsigned which, std::mt19937_64& random) {
  constexpr std::array<std::array<size_t, 3>, 4> kSizes{
      {{2 * kMiB + 4096, 3 * kMiB + 512, 0},
       {3 * kMiB + 4096, kMiB + 700, 0},
       {3 * kMiB, kMiB + 300, 2 * kMiB + 9},
       {3 * kMiB, 3 * kMiB, 3 * kMiB}}};
  std::vector<Bytes> states;
  Bytes state = random_bytes(kSizes[which][0], random);
  for (const size_t size : kSizes[which]) {
    if (size == 0) break;
    state.resize(size);
    for (size_t at = 512; at < size && !states.empty(); at += kMiB / 4 - 1024) {
      const size_t length = std::min<size_t>(1500, size - at);
      const auto value = static_cast<std::byte>(states.size() % 3);
      std::fill_n(state.begin() + static_cast<ptrdiff_t>(at), length, value);
    }
    states.push_back(state);
  }
  return states;
}

Stopped make_stopped(unsigned which, size_t stop_at) {
  std::mt19937_64 random(which);
  const std::vector<Bytes> states = states_of(which, random);
  Stopped made;
  ExportOptions options;
  options.granularity = 512;
  for (size_t i = 0; i + 1 < states.size(); ++i) {
    made.streams.push_back(exported_diff(&states[i], states[i + 1], options).stream);
  }
  made.last = states.back();
  MemoryFile image("image", states.front());
  MemoryFile journal("journal");
  require(apply(made.streams, image, journal, stop_at) == Outcome::kStopped);
  made.image = content_of(image);
  made.journal = content_of(journal);
  return made;
}

// Each is made when it is asked for first.
const Stopped& stopped(unsigned which, size_t stop_at) {
  static std::map<std::pair<unsigned, size_t>, Stopped> all;
  const auto found = all.find({which, stop_at});
  if (found != all.end()) return found->second;
  return all.emplace(std::pair{which, stop_at}, make_stopped(which, stop_at)).first->second;
}

// A slot without anything stays so.
void seal(Bytes& journal) {
  for (size_t at = 0; at + kSlot <= journal.size(); at += kSlotDistance) {
    if (journal[at] == std::byte{0}) continue;
    const auto sum = Sha256::of(std::span(journal).subspan(at, kSlot - 32));
    std::copy(sum.begin(), sum.end(), journal.begin() + static_cast<ptrdiff_t>(at + kSlot - 32));
  }
}

void try_resume(const Stopped& start, const Bytes& changed, bool sealed, size_t stop_at) {
  MemoryFile image("image", start.image);
  MemoryFile journal("journal", changed);
  Outcome outcome = apply(start.streams, image, journal, stop_at);
  if (outcome == Outcome::kRefused) {
    require(content_of(image) == start.image && content_of(journal) == changed);
    return;
  }
  if (outcome == Outcome::kStopped) {
    require(stop_at > 0);
    outcome = apply(start.streams, image, journal, 0);
    // One that was made up may be lost: its number may be the last that there is.
    if (sealed && outcome == Outcome::kRefused) return;
  }
  require(outcome == Outcome::kDone && content_of(image) == start.last && journal.size() == 0);
}

void write_file(const std::filesystem::path& path, const Bytes& content) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(content.data()),
            static_cast<std::streamsize>(content.size()));
  require(out.flush().good());
}

// A mark tells of a journal only if that is one of this very file; one beside the file always does.
void try_mark(Bytes journal, bool own) {
  const Scratch scratch;
  const std::string image = std::filesystem::absolute(scratch.path() / "image");
  const std::string notes = std::filesystem::absolute(scratch.path() / "notes");
  write_file(image, Bytes(512));
  const access::FileMark mark = access::mark_of(image);
  for (size_t at = 0; own && at + kSlot <= journal.size(); at += kSlotDistance) {
    store_le(&journal[at + 120], mark.id.inode);
    store_le(&journal[at + 128], mark.born);
  }
  if (own) seal(journal);
  write_file(notes, journal);
  require(!access::pending_apply_of(image));
  access::mark_pending_apply(image, notes);
  if (const auto found = access::pending_apply_of(image)) {
    MemoryFile file("notes", journal);
    const auto open = ApplyJournal::open(file);
    require(*found == notes && open && *open);
    require((*open)->identity().file.inode == mark.id.inode);
    require((*open)->identity().born == mark.born && !(*open)->progress().is_finished());
  }
  access::unmark_pending_apply(image);
  require(!access::pending_apply_of(image));
  write_file(access::apply_journal_of(image), journal);
  require(access::pending_apply_of(image) == access::apply_journal_of(image));
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(journal)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;
  if (size < 4 || size > 4096) return 0;
  // Byte 0: which apply (2 bits), and the change of the image at which it stopped. Byte 1: what is
  // done. Byte 2: the change at which it stops again. Byte 3: for kCut, the size of the journal.
  // Then changes: place in a slot, slot (from 128 on: any place), value.
  const Stopped& start = stopped(data[0] % 4U, 1 + data[0] / 4U % 5U);
  const unsigned how = data[1];
  Bytes journal = start.journal;
  FuzzInput in(data + 4, size - 4);
  while (!in.empty() && !journal.empty()) {
    const size_t low = in.byte();
    const size_t high = in.byte();
    const size_t place = high < 128 ? low + high % 2 * kSlotDistance : low | high % 128 << 8U;
    journal[place % journal.size()] = static_cast<std::byte>(in.byte());
  }
  if ((how & kSeal) != 0) seal(journal);
  if ((how & kCut) != 0) journal.resize(data[3] % 64U * 256U);
  if ((how & kMark) != 0) {
    try_mark(journal, (how & kOwnMark) != 0);
  } else {
    try_resume(start, journal, (how & kSeal) != 0, data[2]);
  }
  return 0;
}
