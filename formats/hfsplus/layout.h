// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/common/damage.h"
#include "libsnap/access/file_system.h"
#include "libsnap/base/result.h"

namespace snaptool::hfsplus {

// The structures of HFS+ and HFSX (formats/hfsplus/FORMAT.md). Pure: nothing here reads an image.
// Source: Apple's Technical Note TN1150.

using Bytes = std::span<const std::byte>;

inline constexpr uint64_t kHeaderAt = 1024;  // bytes
inline constexpr size_t kHeaderBytes = 512;
inline constexpr uint32_t kRootFolder = 2;
inline constexpr uint32_t kExtentsFile = 3;
inline constexpr uint32_t kCatalogFile = 4;
inline constexpr uint32_t kAllocationFile = 6;
inline constexpr uint32_t kStartupFile = 7;
inline constexpr uint32_t kAttributesFile = 8;
inline constexpr uint32_t kFirstUserId = 16;
inline constexpr size_t kInlineExtents = 8;

inline constexpr uint32_t kVolumeUnmounted = 1U << 8U;
inline constexpr uint32_t kVolumeInconsistent = 1U << 11U;
inline constexpr uint32_t kVolumeReusesIds = 1U << 12U;
inline constexpr uint32_t kVolumeJournaled = 1U << 13U;

struct BlockExtent {
  uint32_t start = 0;
  uint32_t count = 0;  // 0: there are no more
};
using Extents = std::array<BlockExtent, kInlineExtents>;

struct Fork {
  uint64_t size = 0;    // bytes
  uint32_t blocks = 0;  // that it has
  Extents extents{};    // the first of them
};

struct VolumeHeader {
  bool is_hfsx = false;
  uint32_t attributes = 0;
  uint32_t journal_block = 0;  // 0: none
  uint32_t block_size = 0;
  uint32_t blocks = 0;
  std::array<std::byte, 8> identifier{};
  Fork allocation;
  Fork extents;
  Fork catalog;
  Fork attributes_file;
  Fork startup;
};

// Of the first 2 KiB of an image: HFS+, HFSX, or HFS, within which HFS+ may lie.
bool has_magic(Bytes head);
// Whether the 512 bytes at 1024 are those of HFS.
bool is_hfs(Bytes header);
// Where HFS+ lies within HFS, bytes; nothing: there is none in it. Requires: is_hfs.
std::optional<uint64_t> embedded_volume(Bytes header);
// Requires: kHeaderBytes bytes. Errors: kCorruption, kUnsupported.
Result<VolumeHeader> parse_header(Bytes header);
// Requires: 80 bytes, and 64.
Fork parse_fork(Bytes bytes);
Extents parse_extents(Bytes bytes);

// Of a file or a folder in the catalog.
struct CatalogRecord {
  bool is_folder = false;
  uint32_t id = 0;
  uint32_t parent = 0;
  std::vector<std::byte> name;  // UTF-16, big-endian
  uint16_t flags = 0;
  std::optional<access::FileTime> created;
  std::optional<access::FileTime> modified;
  std::optional<access::FileTime> changed;
  std::optional<access::FileTime> accessed;
  uint32_t owner = 0;
  uint32_t group = 0;
  uint8_t admin_flags = 0;
  uint8_t owner_flags = 0;
  uint16_t mode = 0;     // 0: none of these four was ever set
  uint32_t special = 0;  // a device, the links of an indirect node, or what a hard link leads to
  std::array<std::byte, 32> finder{};
  uint32_t encoding = 0;
  Fork data;
  Fork resource;

  access::NodeType type() const;
  bool is_file_link() const;    // one of the names of an indirect node
  bool is_folder_link() const;  // one of the names of a folder
  bool has_compressed_flag() const { return (owner_flags & 0x20U) != 0; }
};

inline constexpr uint16_t kFolderRecord = 1;
inline constexpr uint16_t kFileRecord = 2;
inline constexpr uint16_t kFolderThread = 3;
inline constexpr uint16_t kFileThread = 4;

// 0 for a record that is too short.
uint16_t record_type(Bytes data);
// Of kFolderRecord or kFileRecord. `key` is what follows its length. Errors: kCorruption.
Result<CatalogRecord> parse_record(Bytes key, Bytes data);
// Parent and name, as a key has them, of a thread. Errors: kCorruption.
Result<std::vector<std::byte>> parse_thread(Bytes data);

// Keys of the catalog: a parent (4 bytes), the length of the name (2), the name.
std::vector<std::byte> catalog_key(uint32_t parent, Bytes name);
std::vector<std::byte> utf16_name(std::u16string_view name);
// As the three trees are ordered: below 0, 0 or above it.
int compare_folded(Bytes a, Bytes b);
int compare_catalog_exactly(Bytes a, Bytes b);
int compare_extents(Bytes a, Bytes b);
int compare_attributes(Bytes a, Bytes b);

// UTF-8, half a pair as its three bytes. '/' becomes ':', as users have it, and NUL U+2400.
std::string name_text(Bytes utf16);

}  // namespace snaptool::hfsplus
