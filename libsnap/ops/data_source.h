// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include "libsnap/io/file.h"

namespace snaptool::ops {

// Where the bytes of a write come from.
class DataSource {
 public:
  virtual ~DataSource() = default;
  virtual const std::string& name() const = 0;
  // Which file or block device it is; nothing for a pipe.
  virtual std::optional<FileId> id() const = 0;
  // The mode bits that a new file made from it may have: File::permissions.
  virtual unsigned permissions() const = 0;
  // Bytes to come in all, if that is known.
  virtual std::optional<uint64_t> length() const = 0;
  // Fills `out`; returns how much of it, which is less only at the end.
  // Errors: kIo, also when it ends before the length that was asked for; kInterrupted.
  virtual Result<uint64_t> read(std::span<std::byte> out) = 0;
  // Whether it can be read twice.
  virtual bool can_rewind() const = 0;
  // To the start again. Requires: can_rewind(). Errors: kIo.
  virtual Result<void> rewind() = 0;
};

}  // namespace snaptool::ops
