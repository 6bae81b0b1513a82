// SPDX-License-Identifier: Apache-2.0
#include "formats/hfsplus/compression.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/common/zlib_format.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"

namespace snaptool::hfsplus {
namespace {

constexpr size_t kHeadBytes = 16;
constexpr uint32_t kMagic = 0x636d7066;     // little-endian: "fpmc" on the disk
constexpr uint64_t kForkBlock = 64 * kKiB;  // of content
constexpr uint64_t kMostOfByte = 1032;      // that deflate makes of one
constexpr uint64_t kMostPacked = 2 * kForkBlock;

std::string_view method_of(uint32_t type) {
  switch (type) {
    case 5:
      return "sparse";
    case 7:
    case 8:
      return "LZVN";
    case 11:
    case 12:
      return "LZFSE";
    case 13:
    case 14:
      return "LZBITMAP";
    default:
      return "unknown";
  }
}

}  // namespace

Result<Compression> parse_compression(Bytes value) {
  if (value.size() < kHeadBytes || load_le<uint32_t>(value.data()) != kMagic) {
    return damaged("an attribute com.apple.decmpfs has no magic");
  }
  Compression compression;
  compression.type = load_le<uint32_t>(value.data() + 4);
  compression.size = load_le<uint64_t>(value.data() + 8);
  compression.within.assign(value.begin() + kHeadBytes, value.end());
  if (compression.size > INT64_MAX) return damaged("a compressed file has an impossible size");
  return compression;
}

// A first byte whose low half is all ones: the rest is as it is.
Result<void> Unpacker::unpack(Bytes packed, uint64_t size, uint32_t id) {
  const Error wrong = damaged(fmt::format("compressed file {} cannot be unpacked", id));
  kept_.resize(size);
  if (packed.empty()) return wrong;
  if ((packed[0] & std::byte{0xf}) == std::byte{0xf}) {
    if (packed.size() - 1 < size) return wrong;
    std::copy_n(packed.begin() + 1, size, kept_.begin());
    return {};
  }
  const auto length = unpack_zlib(inflater_, packed, kept_);
  if (!length || *length != size) return wrong;
  return {};
}

Result<void> Unpacker::load(uint32_t id, const Compression& compression, uint64_t fork_size,
                            const ReadFork& read_fork, uint64_t block) {
  if (kept_id_ == id && kept_block_ == block) return {};
  kept_id_ = 0;
  if (compression.type == 1) {
    if (compression.within.size() < compression.size) {
      return damaged(fmt::format("file {} has less within its attribute than its size", id));
    }
    kept_ = compression.within;
  } else if (compression.type == 3) {
    // A node of the tree has the attribute, so this is no more than 32 MiB.
    if (compression.size > kMostOfByte * compression.within.size()) {
      return damaged(fmt::format("compressed file {} has {} bytes in {}", id, compression.size,
                                 compression.within.size()));
    }
    SNAP_TRY(unpack(compression.within, compression.size, id));
  } else {
    std::array<std::byte, 16> head{};
    const auto in_fork = [&](uint64_t at, std::span<std::byte> out) -> Result<void> {
      if (at > fork_size || out.size() > fork_size - at) {
        return damaged(fmt::format("the resource fork of compressed file {} ends early", id));
      }
      return read_fork(at, out);
    };
    SNAP_TRY(in_fork(0, std::span(head).first(4)));
    // Behind the fork's header and the length of its resource: the number of blocks.
    const uint64_t table = uint64_t{load_be<uint32_t>(head.data())} + 4;
    SNAP_TRY(in_fork(table, std::span(head).first(4)));
    const uint32_t blocks = load_le<uint32_t>(head.data());
    if (blocks != div_round_up(compression.size, kForkBlock)) {
      return damaged(fmt::format("compressed file {} has {} blocks", id, blocks));
    }
    SNAP_TRY(in_fork(table + 4 + 8 * block, std::span(head).first(8)));
    const uint64_t at = table + load_le<uint32_t>(head.data());
    const uint32_t length = load_le<uint32_t>(head.data() + 4);
    if (length > kMostPacked) {
      return damaged(fmt::format("compressed file {} has a block of {} bytes", id, length));
    }
    std::vector<std::byte> packed(length);
    SNAP_TRY(in_fork(at, packed));
    SNAP_TRY(unpack(packed, std::min(kForkBlock, compression.size - block * kForkBlock), id));
  }
  kept_id_ = id;
  kept_block_ = block;
  return {};
}

Result<void> Unpacker::read(uint32_t id, const Compression& compression, uint64_t fork_size,
                            const ReadFork& read_fork, uint64_t offset, std::span<std::byte> out) {
  const uint32_t type = compression.type;
  if (type != 1 && type != 3 && type != 4) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("file {} is compressed by a method that is not read (type {}, {})", id,
                             type, method_of(type)));
  }
  while (!out.empty()) {
    const uint64_t block = type == 4 ? offset / kForkBlock : 0;
    const uint64_t within = type == 4 ? offset % kForkBlock : offset;
    SNAP_TRY(load(id, compression, fork_size, read_fork, block));
    const size_t length = std::min<uint64_t>(out.size(), kept_.size() - within);
    if (length == 0) return damaged(fmt::format("compressed file {} ends early", id));
    std::copy_n(kept_.begin() + static_cast<ptrdiff_t>(within), length, out.begin());
    out = out.subspan(length);
    offset += length;
  }
  return {};
}

}  // namespace snaptool::hfsplus
