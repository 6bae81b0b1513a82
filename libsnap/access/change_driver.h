// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/diff/change_stream.h"
#include "libsnap/diff/snapdiff.h"

namespace snaptool::access {

// A format of diffs: streams of what changed between two images.
struct ChangeDriver {
  std::string_view name;  // as export takes it
  // Whether a stream begins so; looks at the first kChangeProbeBytes at most.
  bool (*probe)(std::span<const std::byte> head) = nullptr;
  // `name` is for messages. Errors: kCorruption; kUnsupported; the source's.
  Result<std::unique_ptr<ChangeReader>> (*open)(ByteSource source, std::string name) = nullptr;
  // `level`: how hard it compresses, if it does.
  std::unique_ptr<ChangeWriter> (*make)(ByteSink sink, int level) = nullptr;
  // It has ids, sums of what changes, and compression; else it names snapshots.
  bool has_sums = false;
  // What its end says, read without what is before it. Errors: kCorruption; those of File. Only
  // with has_sums.
  Result<ChangeEnd> (*read_end)(File& file) = nullptr;
  // What it expects of its base. Only with has_sums.
  Result<std::vector<Expectation>> (*expectations)(File& file) = nullptr;
};

inline constexpr size_t kChangeProbeBytes = 12;

}  // namespace snaptool::access
