// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "libsnap/base/progress.h"
#include "libsnap/io/file.h"
#include "libsnap/snap/store/dump_reader.h"

namespace snaptool {

// Where a store is restored to: a COW of the size that the dump says.
struct RestoreTarget {
  File* file = nullptr;
  bool zeroed = false;  // it reads as zeros
};

// Writes header and list of a store as a dump has them; data chunks are not touched. The live
// metadata are byte for byte those that were dumped. Memory is bounded. Returns the number of
// exceptions. `target` is called once, with what the dump says of the COW.
// Crash: a target that is not zeroed is no store, or the whole store. Not flushed.
// Errors: those of read_dump, `target` and ListWriter; kInterrupted.
Result<uint64_t> restore_store(
    const TextSource& source, const std::string& name,
    const std::function<Result<RestoreTarget>(const DumpHeader&)>& target, const Cancel& cancel);

}  // namespace snaptool
