// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <vector>

#include "formats/vhdx/layout.h"
#include "libsnap/base/progress.h"
#include "libsnap/io/file.h"

namespace snaptool::vhdx {

// What the log of a VHDX file says that must be done to the file before it is read: it was not
// closed. formats/vhdx/FORMAT.md has the bytes.

inline constexpr uint64_t kLogUnit = 4096;  // bytes; all in the log and all that it changes

// Bytes of the file that are to be others.
struct LogChange {
  uint64_t offset = 0;
  uint64_t length = 0;  // of data, kLogUnit
  uint64_t source = 0;  // where in the file the data are; 0: zeros
  // The first 8 and the last 4 bytes of the data, which are elsewhere.
  std::array<std::byte, 12> ends{};
};

struct Replay {
  std::vector<LogChange> changes;  // in order: later ones go over earlier ones
  uint64_t size = 0;               // of the file, then
};

// Memory: about 120 bytes for each of at most 65536 entries, and 48 for each of at most 262144
// changes. Requires: header.log is not null. Errors: kCorruption where the log does not say what is
// to be done; kUnsupported for logs of another version, or that are too large; kInterrupted; kIo.
Result<Replay> find_replay(File& file, const Header& header, const Cancel& cancel);

}  // namespace snaptool::vhdx
