// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>

#include "libsnap/base/result.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool {

// What a dump of a store says before its list.
struct DumpHeader {
  DiskHeader header;
  uint64_t cow_size = 0;  // bytes
};

// Exceptions whose old and new chunks go up by one.
struct DumpRun {
  Exception first;
  uint64_t length = 0;  // chunks, at least 1
};

struct DumpVisitor {
  std::function<Result<void>(const DumpHeader&)> begin;  // called once, before the runs
  std::function<Result<void>(const DumpRun&)> run;       // in list order
};

// Reads what dump_store wrote, XML or json, maybe edited since. Streaming: memory is bounded,
// whatever comes. Sizes and runs are checked for what a store can have, not for each other.
// `name` is what messages say before their reason. Errors: kCorruption, with the line or byte;
// kUnsupported for another version of the format; the source's; the visitor's.
using TextSource = std::function<Result<size_t>(std::span<std::byte>)>;
Result<void> read_dump(const TextSource& source, const std::string& name,
                       const DumpVisitor& visitor);

}  // namespace snaptool
