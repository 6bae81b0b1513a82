// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "libsnap/base/result.h"

namespace snaptool {

// Locks belong to the open file description (F_OFD_SETLK), so they end with it, and several threads
// share them. All of them fail at once instead of waiting.

// Declares a reader that QEMU understands: read locks on byte 100 ("reads consistently") and on
// bytes 201 and 203 ("shares neither writing nor resizing"); then looks whether anybody writes or
// resizes (bytes 101, 103) or refuses readers (byte 200). Source: the raw file driver's permission
// bytes in QEMU 7.2. A file system without locks (or read-only) does not stop a reader. Errors:
// kBusy; kIo.
Result<void> lock_for_reading(int fd, const std::string& name);

// A write lock on the whole file, which any reader's or writer's lock above (QEMU's, too) conflicts
// with. Requires: fd is open for writing. Errors: kBusy; kIo where locks do not work.
Result<void> lock_for_writing(int fd, const std::string& name);

// Fails with kBusy when the file is behind a loop device, or the block device has holders
// (device-mapper).
Result<void> check_not_held(int fd, const std::string& name);

}  // namespace snaptool
