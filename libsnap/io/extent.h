// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace snaptool {

class File;

// A range of a file or an image, and where its content lies.
struct Extent {
  uint64_t length = 0;   // bytes, at least 1
  bool zero = false;     // known to read as zeros without looking (a hole)
  int depth = 0;         // layers above the one that supplies it; 0: the topmost
  File* file = nullptr;  // the file that holds it, or the hole; nullptr: none that is known
  // Where in that file, in bytes; nullopt: nowhere as it is (data that are compressed, zeros that
  // are only said).
  std::optional<uint64_t> file_offset;
};

}  // namespace snaptool
