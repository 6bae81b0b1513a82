// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include "formats/common/uuid.h"
#include "libsnap/base/result.h"
#include "libsnap/base/units.h"

namespace snaptool::vdi {

// What lies where in a VDI file (formats/vdi/FORMAT.md). Pure: nothing here reads a file. Offsets
// and sizes are bytes. Source: VirtualBox's VDICore.h.

inline constexpr size_t kHeaderBytes = 512;          // what is read of it
inline constexpr uint32_t kFree = 0xffffffff;        // of the map: the parent's, or zeros
inline constexpr uint32_t kZero = 0xfffffffe;        // of the map
inline constexpr uint64_t kNewBlock = kMiB;          // of an image that is made
inline constexpr uint64_t kMostBlocks = 0x1fffff80;  // QEMU's

enum class Type : uint32_t { kDynamic = 1, kFixed = 2, kUndo = 3, kDifferencing = 4 };
std::string_view type_name(Type type);

struct Header {
  Type type = Type::kDynamic;
  std::string comment;
  uint64_t map_offset = 0;
  uint64_t data_offset = 0;
  uint64_t size = 0;  // of the image
  uint64_t block_size = kNewBlock;
  uint64_t extra = 0;  // before each block
  uint64_t blocks = 0;
  uint64_t allocated = 0;  // blocks
  Uuid uuid{};
  Uuid modification{};  // another after every change
  Uuid parent{};        // null: there is none
  Uuid parent_modification{};

  // Where block `index` of the file's lies.
  uint64_t offset_of(uint32_t index) const {
    return data_offset + index * (block_size + extra) + extra;
  }
};

bool has_magic(std::span<const std::byte> head);
// Requires: kHeaderBytes bytes. Errors: kCorruption; kUnsupported for other versions.
Result<Header> parse_header(std::span<const std::byte> bytes);
// kHeaderBytes bytes.
std::vector<std::byte> encode_header(const Header& header);

// By what a child knows its parent: "UUID at modification UUID".
std::string identity_of(const Uuid& uuid, const Uuid& modification);

}  // namespace snaptool::vdi
