// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "libsnap/base/units.h"
#include "libsnap/copy/block_map.h"
#include "libsnap/io/file.h"

namespace snaptool::bmap {

// A map of bmaptool's has about 100 bytes a range.
inline constexpr uint64_t kMostText = 64 * kMiB;

// A block map of bmaptool's, its own sum compared (see FORMAT.md). Memory: a few times the text.
// Errors: kCorruption; kUnsupported for another version or kind of sum, a text that is signed, or
// one of more than kMostText bytes.
Result<BlockMap> parse_bmap(std::string_view text);

// The same of a file. Errors: those of parse_bmap and File, with the file's name.
Result<BlockMap> read_bmap(File& file);

}  // namespace snaptool::bmap
