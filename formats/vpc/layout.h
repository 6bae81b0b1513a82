// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/common/uuid.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/result.h"
#include "libsnap/base/units.h"

namespace snaptool::vpc {

// What lies where in a VHD file (formats/vpc/FORMAT.md). Pure: nothing here reads a file. Offsets
// and sizes are bytes. Source: Microsoft's Virtual Hard Disk Image Format Specification 1.0.

inline constexpr size_t kFooterBytes = 512;
inline constexpr size_t kOldFooterBytes = 511;  // as Virtual PC wrote them before 2004
inline constexpr size_t kHeaderBytes = 1024;
inline constexpr size_t kLocators = 8;
inline constexpr uint32_t kAbsent = 0xffffffff;  // of the table of blocks
inline constexpr uint64_t kAlign = 4 * kKiB;     // of a new block's data, as Windows has it
inline constexpr uint64_t kNewBlock = 2 * kMiB;  // of an image that is made
inline constexpr uint64_t kMostBytes = uint64_t{2040} * kGiB;  // Microsoft's
inline constexpr uint64_t kMostLocator = 64 * kKiB;

enum class Type : uint32_t { kFixed = 2, kDynamic = 3, kDifferencing = 4 };
std::string_view type_name(Type type);

struct Footer {
  Type type = Type::kDynamic;
  uint64_t header_offset = kFooterBytes;  // nothing of a fixed one
  uint32_t time = 0;                      // seconds since 2000 began, UTC
  std::string creator = "win ";
  uint64_t size = 0;     // of the image
  uint64_t sectors = 0;  // by its geometry, which is rounded
  Uuid uuid{};
  bool sum_is_right = true;
};

bool has_cookie(std::span<const std::byte> bytes);
// Requires: kFooterBytes bytes. Errors: kCorruption; kUnsupported. A wrong sum is none.
Result<Footer> parse_footer(std::span<const std::byte> bytes);
std::vector<std::byte> encode_footer(const Footer& footer);
// The same footer, of another UUID. Requires: kFooterBytes bytes.
std::vector<std::byte> with_uuid(std::span<const std::byte> footer, const Uuid& uuid);

// Where a name of the parent is.
struct Locator {
  std::string code;  // four letters
  uint64_t offset = 0;
  uint32_t length = 0;
};

// Of dynamic and differencing ones.
struct Header {
  uint64_t table_offset = 0;
  uint64_t blocks = 0;
  uint64_t block_size = kNewBlock;
  Uuid parent{};            // null: a raw image, as Xen's blktap has them
  std::string parent_name;  // without its folder
  std::vector<Locator> locators;

  // Of the bits that say which sectors of a block it has, before its data.
  uint64_t bitmap_bytes() const {
    return div_round_up(block_size / kSectorSize, 8 * kSectorSize) * kSectorSize;
  }
};

// Requires: kHeaderBytes bytes. Errors: kCorruption.
Result<Header> parse_header(std::span<const std::byte> bytes, const Footer& footer);
std::vector<std::byte> encode_header(const Header& header);

// What a locator's bytes name, relative to the folder of the image; nothing where that is no name.
std::optional<std::string> decode_locator(const Locator& locator, std::span<const std::byte> bytes);

// By what a child knows its parent.
std::string identity_of(const Uuid& uuid);

}  // namespace snaptool::vpc
