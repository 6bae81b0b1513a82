// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "libsnap/base/progress.h"
#include "libsnap/io/image.h"

namespace snaptool {

// Identities are looked for in the first bytes of a disk only.
inline constexpr uint64_t kIdentityBytes = 128 * kKiB;

// Something on a disk that names itself.
struct Identity {
  std::string kind;  // "ext4 file system", "GPT", ...
  std::string uuid;  // lower-case hex; of a PV, LVM's own letters
};

// The identities that an image bears: ext2 to ext4, XFS, Btrfs, GPT, LVM2 PV. At most one of a
// kind. Nothing is trusted but compared: magics and fixed offsets only. Sources: the on-disk
// formats of e2fsprogs, xfsprogs, btrfs-progs, UEFI 2.10 and LVM2. Errors: those of Image.
Result<std::vector<Identity>> read_identities(Image& image);

// The kinds that both have with different UUIDs: signs that a store does not belong to an origin,
// when `view` is the store over it. Empty when nothing contradicts (which proves nothing).
std::vector<std::string> contradictions(const std::vector<Identity>& origin,
                                        const std::vector<Identity>& view);

// The same for a store over its origin, of which the first bytes are read; nothing for a new store.
// Errors: those of SnapshotImage::open_head and Image.
Result<std::vector<std::string>> contradictions_of(File& origin, File& cow, const Cancel& cancel);

}  // namespace snaptool
