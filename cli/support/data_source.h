// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include "libsnap/base/result.h"
#include "libsnap/base/units.h"
#include "libsnap/ops/data_source.h"

namespace snaptool::cli {

// What messages call "-".
inline constexpr const char* kStandardInput = "standard input";

// The byte that -P takes: 0 to 255, or 0x00 to 0xff. Errors: kInvalidArgument.
Result<std::byte> parse_byte(std::string_view text);

// Where the bytes of a write come from: a file, standard input, or one byte over and over.
class DataSource : public ops::DataSource {
 public:
  // What was asked for; `length` is how many bytes, if that was said.
  struct Request {
    std::optional<std::string> input;    // a path, or "-"
    std::optional<std::string> pattern;  // a byte, as a number
    std::optional<uint64_t> length;
    bool is_text = false;  // which a person may type
  };
  // Errors: kInvalidArgument for both at once, a bad byte, a pattern without a length, a terminal;
  // kNotFound, kIo.
  static Result<DataSource> open(const Request& request);
  DataSource(DataSource&& other) noexcept;
  DataSource& operator=(DataSource&&) = delete;
  ~DataSource() override;

  const std::string& name() const override { return name_; }
  // Which file or block device it is; nothing for a pipe or a pattern.
  std::optional<FileId> id() const override;
  // Bytes to come in all, if that is known (the length asked for, or the rest of a file).
  unsigned permissions() const override;
  std::optional<uint64_t> length() const override { return length_; }
  // Fills `out`; returns how much of it, which is less only at the end.
  // Errors: kIo, also when it ends before the length that was asked for; kInterrupted.
  Result<uint64_t> read(std::span<std::byte> out) override;
  // The same, but what is there is enough; 0 only at the end.
  Result<uint64_t> read_some(std::span<std::byte> out);
  // Whether it can be read twice.
  bool can_rewind() const override { return start_.has_value(); }
  // To the start again. Requires: can_rewind(). Errors: kIo.
  Result<void> rewind() override;

 private:
  DataSource() = default;

  std::string name_;
  int fd_ = -1;
  bool owned_ = false;
  std::byte pattern_{};
  std::optional<uint64_t> length_;
  uint64_t done_ = 0;
  std::optional<int64_t> start_;  // of a file that can be read again
};

}  // namespace snaptool::cli
