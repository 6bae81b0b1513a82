// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "libsnap/diff/change_stream.h"

namespace snaptool::rbd {

// Ceph's diff streams ("rbd export-diff"), versions 1 and 2; formats/rbd/FORMAT.md has their bytes.
// They have no sums and no ids, only names of snapshots.

inline constexpr std::string_view kBanner1 = "rbd diff v1\n";
inline constexpr std::string_view kBanner2 = "rbd diff v2\n";
// Of a record 'p', which has one byte, Ceph says that it has eight. Where it has, they are zeros.
inline constexpr uint64_t kSaidOfProtection = 8;
inline constexpr uint64_t kMostName = 4096;  // bytes

// 0 when that is not how one begins; else its version. Looks at the first 12 bytes.
int version_of(std::span<const std::byte> head);
// Whether it begins as such a diff does, of whatever version.
bool looks_like_diff(std::span<const std::byte> head);

class Writer : public ChangeWriter {
 public:
  // Requires: version is 1 or 2.
  Writer(ByteSink sink, int version) : sink_(std::move(sink)), version_(version) {}

  // Names the snapshots that the header has names for.
  Result<void> begin(const ChangeHeader& header) override;
  void prepare(ChangeRecord& record, std::span<const std::byte> data) override;
  // One record for each extent.
  Result<void> add(ChangeRecord& record) override;
  // Bytes of the image that are no record's.
  Result<void> add_data(uint64_t offset, std::span<const std::byte> data) {
    return put_range('w', offset, data, data.size());
  }
  Result<void> finish(ChangeEnd& end) override;

 private:
  Result<void> put(std::span<const std::byte> bytes);
  Result<void> put_range(char tag, uint64_t offset, std::span<const std::byte> data,
                         uint64_t length);

  ByteSink sink_;
  int version_;
  uint64_t position_ = 0;
  ChangeTotals totals_;
};

class Reader : public ChangeReader {
 public:
  // Reads all up to the first range. `name` is for messages.
  // Errors: kCorruption when it is none or says no size; kUnsupported; the source's.
  static Result<std::unique_ptr<Reader>> open(ByteSource source, std::string name);

  const ChangeHeader& header() const override { return header_; }
  // Errors: also kUnsupported when the ranges do not ascend.
  Result<bool> next(ChangeRecord& record) override;
  const ChangeEnd& end() const override { return end_; }

 private:
  // What is left of a range that was begun.
  struct Range {
    bool data = false;
    uint64_t offset = 0;
    uint64_t length = 0;
  };

  Reader(ByteSource source, std::string name) : input_(std::move(source)), name_(std::move(name)) {}
  Error damaged(const std::string& what) const;
  Result<void> read_exactly(std::span<std::byte> out);
  Result<uint64_t> read_number();
  Result<std::string> read_name();
  Result<void> skip(uint64_t length);
  Result<void> skip_protection(uint64_t length);
  Result<void> read_tag();
  Result<void> read_range(char tag, std::optional<uint64_t> length);
  Result<void> check_end();

  StreamInput input_;
  std::string name_;
  int version_ = 1;
  ChangeHeader header_;
  ChangeEnd end_;
  std::optional<Range> range_;
  std::optional<char> next_tag_;  // that was read already
  bool has_size_ = false;
  bool ended_ = false;
  uint64_t ranges_end_ = 0;  // where the last range ends
  uint64_t tag_position_ = 0;
};

}  // namespace snaptool::rbd
