// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "libsnap/base/result.h"

namespace snaptool::ntfs {

// LZNT1, what NTFS compresses files with. Fills all of `out`; what the chunks do not give is zeros.
// What of `packed` lies behind them is not looked at. Errors: kCorruption.
Result<void> unpack_lznt1(std::span<const std::byte> packed, std::span<std::byte> out);

}  // namespace snaptool::ntfs
