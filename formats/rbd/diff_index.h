// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/base/progress.h"
#include "libsnap/io/file.h"

namespace snaptool::rbd {

// A record of an image's or diff's stream in a file, but for its content.
struct Record {
  char tag = 0;
  uint64_t content = 0;  // where it begins, bytes of the file
  uint64_t length = 0;   // bytes
  uint64_t end() const { return content + length; }
};

// Reads a stream of version 2 that lies in a file. Errors of all: kCorruption, with the position;
// kIo.
class RecordFile {
 public:
  explicit RecordFile(File& file) : file_(file) {}

  // `last`: the tag that has no length.
  Result<Record> record_at(uint64_t at, char last) const;
  Result<uint64_t> number_at(uint64_t at) const;
  // Length (4), text of at most `most` bytes. Requires: the record is there. Errors: also when it
  // does not fit into it.
  Result<std::string> text_in(const Record& record, uint64_t at, uint64_t most) const;
  Result<void> expect(uint64_t at, std::string_view banner) const;
  Error damaged(uint64_t at, std::string_view what) const;
  File& file() const { return file_; }

 private:
  File& file_;
};

// One diff of version 2 within a file: what changed up to a snapshot. Several threads may find.
class DiffIndex {
 public:
  // Bytes of the image that the diff has something to say of.
  struct Range {
    uint64_t offset = 0;
    uint64_t length = 0;
    bool data = false;         // else zeros
    uint64_t file_offset = 0;  // of data
    uint64_t end() const { return offset + length; }
  };

  // Walks the diff that begins at `at`, and keeps every so-many-th place. Errors: kCorruption;
  // kUnsupported where ranges do not ascend; kIo; kInterrupted.
  static Result<DiffIndex> read(File& file, uint64_t at, const Cancel& cancel);

  uint64_t size() const { return size_; }  // of the image then
  uint64_t end() const { return end_; }    // of the diff, in the file
  const std::string& from_name() const { return from_name_; }
  const std::string& to_name() const { return to_name_; }

  // The first range that ends behind `offset`; nullopt: there is none.
  Result<std::optional<Range>> find(uint64_t offset);

 private:
  // A record, and where the ranges before it end in the image: who wants what is behind that can
  // begin here.
  struct Place {
    uint64_t offset = 0;
    uint64_t position = 0;
  };

  explicit DiffIndex(File& file) : records_(file) {}
  Result<void> read_name(const Record& record, uint64_t at, std::string& name);
  Result<std::optional<Range>> range_of(const Record& record, uint64_t at) const;
  void keep(const Place& place);
  Place place_before(uint64_t offset) const;
  void remember(const Place& place);

  RecordFile records_;
  uint64_t size_ = 0;
  uint64_t end_ = 0;
  std::string from_name_;
  std::string to_name_;
  std::vector<Place> places_;  // ascending
  uint64_t step_ = 1;          // every step_-th record has a place
  uint64_t records_seen_ = 0;

  // Where threads were last: those who read on need not walk again.
  struct Recent {
    std::mutex mutex;
    std::array<Place, 8> places{};
    size_t next = 0;
  };
  std::unique_ptr<Recent> recent_ = std::make_unique<Recent>();
};

}  // namespace snaptool::rbd
