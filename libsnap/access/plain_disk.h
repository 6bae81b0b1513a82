// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "libsnap/access/context.h"

namespace snaptool::access {

// Of a file that was named as a COW and has no header of one: what it is, where it is a plain disk
// ("a disk with a file system (ext4)") or of another format ("an image of the format qcow2").
// nullopt: it is a store, a new one, or one whose header was
// wiped: entries that fit in its areas count more than what looks like a disk. Errors: kIo;
// kInterrupted.
Result<std::optional<std::string>> plain_disk_in(const Context& context, File& cow);

// That it is none. Errors: kCorruption where it is, as for every store that is not sound; those of
// plain_disk_in.
Result<void> check_no_plain_disk(const Context& context, File& cow);

}  // namespace snaptool::access
