// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "libsnap/io/file.h"
#include "tests/support/model.h"

namespace snaptool::test {

// Everything that was done to a set of files, in order, and the states that a power cut can leave
// of them.
//
// The model: what was flushed on a file is there; of what was written to it since, any subset of
// the 512-byte sectors is, each with the content of any one of the writes to it. Flushing one file
// says nothing of another. A flush that was begun says nothing until it ends, and then only of what
// was written before it began.
class WriteLog {
 public:
  struct Event {
    enum class Kind { kWrite, kResize, kFlush, kBeginFlush, kEndFlush };
    size_t file = 0;
    Kind kind = Kind::kWrite;
    uint64_t offset = 0;  // of a resize the new size
    Bytes data;
  };

  // Registers a file as it is now, and returns its number.
  size_t add_file(const Bytes& content);
  void write(size_t file, uint64_t offset, std::span<const std::byte> data);
  void resize(size_t file, uint64_t size);
  void flush(size_t file);
  // Requires: as many ends as begins. The first to end is the first that began.
  void begin_flush(size_t file);
  void end_flush(size_t file);
  const std::vector<Event>& events() const { return events_; }

  // A state after a cut: the files' contents. `cut` is the number of events before it.
  using Visitor =
      std::function<void(const std::vector<Bytes>& files, size_t cut, const std::string& which)>;
  // Visits the states after cut 0, 1, ..., events().size(). Where the states of a cut are at most
  // `exhaustive`, all of them; otherwise nothing, everything, all but one border sector, one border
  // sector alone (borders of each write), and `sampled` random subsets.
  void visit_crash_states(size_t exhaustive, size_t sampled, std::mt19937_64& random,
                          const Visitor& visit) const;
  // Only the states after everything, as when the machine stops right behind the program's exit.
  void visit_final_states(size_t exhaustive, size_t sampled, std::mt19937_64& random,
                          const Visitor& visit) const;

 private:
  void visit(size_t first_cut, size_t exhaustive, size_t sampled, std::mt19937_64& random,
             const Visitor& visit) const;

  std::mutex mutex_;
  std::vector<Bytes> initial_;
  std::vector<Event> events_;
};

// Mutants.
enum class FlushFault {
  kNone,
  kSwallowed,  // flushes are neither recorded nor done
  kTooEarly,   // one that was begun has made durable what the one before should have
};

inline FlushFault swallowed_if(bool yes) {
  return yes ? FlushFault::kSwallowed : FlushFault::kNone;
}

// Passes everything on and records it.
class LoggedFile : public File {
 public:
  // Requires: inner and log outlive this.
  LoggedFile(File& inner, WriteLog& log, FlushFault fault = FlushFault::kNone);

  const std::string& name() const override { return inner_.name(); }
  uint64_t size() const override { return inner_.size(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    return inner_.read_at(offset, out);
  }
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override;
  // Bytes of any other file can be shared; recorded as written.
  void share_blocks() { shares_ = true; }
  bool may_share() const override { return shares_; }
  bool share_from(uint64_t offset, File& source, uint64_t source_offset, uint64_t length) override;
  uint64_t shared_bytes() const override { return shared_bytes_; }
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) override;
  Result<void> resize(uint64_t size) override;
  Result<void> flush() override;
  std::future<Result<void>> begin_flush() override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    SNAP_ASSIGN(Extent extent, inner_.extent_at(offset, limit));
    extent.file = this;
    return extent;
  }

 private:
  File& inner_;
  WriteLog& log_;
  size_t number_;
  FlushFault fault_;
  bool shares_ = false;
  std::atomic<uint64_t> shared_bytes_ = 0;
  bool none_ended_ = true;  // of the flushes that were begun
};

}  // namespace snaptool::test
