// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "libsnap/io/file.h"

namespace snaptool {

// What a PartFile consists of, one behind the other.
struct PartSegment {
  uint64_t length = 0;  // bytes
  // Where a leg of it lies.
  struct Leg {
    std::shared_ptr<File> file;
    uint64_t offset = 0;  // bytes
  };
  // None: zeros, which cannot be written. One: its bytes. Several: `stripe` bytes of each in turn.
  std::vector<Leg> legs;
  uint64_t stripe = 0;  // bytes; 0 unless there are several legs
};

// A partition, slice or logical volume as a File: bytes that lie in other files. Its flush is that
// of all of them, so what was written to others through the same files is durable with it. Its size
// is fixed. A part that passes the end of its file can be opened; what is missing cannot be read.
class PartFile : public File {
 public:
  // Requires: every segment's length is a multiple of legs * stripe if it is striped, and the
  // lengths, as each leg's end, fit 64 bits.
  PartFile(std::string name, std::vector<PartSegment> segments);

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  std::vector<Storage> storages() const override;
  unsigned permissions() const override;
  // How many of its bytes lie beyond the ends of the files that they should be in.
  uint64_t missing() const;
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  // Errors: also kCorruption where the file that it lies in ends before the range.
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override;
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) override;
  // Always kUnsupported.
  Result<void> resize(uint64_t size) override;
  Result<void> flush() override;
  std::future<Result<void>> begin_flush() override;
  std::optional<uint64_t> space_left() const override;
  bool is_sparse() const override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;
  void will_need(uint64_t offset, uint64_t length) override;
  bool share_from(uint64_t offset, File& source, uint64_t source_offset, uint64_t length) override;
  bool may_share() const override;
  uint64_t shared_bytes() const override;
  void start_writeback(uint64_t offset, uint64_t length) override;
  Result<void> read_medium(uint64_t offset, std::span<std::byte> out) override;
  bool forget_cache(uint64_t offset, uint64_t length) override;

 private:
  // Bytes that lie together; no file: zeros.
  struct Place {
    File* file = nullptr;
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  // Requires: offset < size().
  Place locate(uint64_t offset, uint64_t limit) const;
  Result<Place> locate_for_writing(uint64_t offset, uint64_t limit) const;
  template <typename Read>
  Result<void> read_places(uint64_t offset, std::span<std::byte> out, const Read& read) const;
  template <typename Visit>
  void for_each_place(uint64_t offset, uint64_t length, const Visit& visit) const;

  std::string name_;
  std::vector<PartSegment> segments_;
  std::vector<uint64_t> starts_;  // of each segment, bytes
  std::vector<File*> files_;      // each once
  uint64_t size_ = 0;
};

}  // namespace snaptool
