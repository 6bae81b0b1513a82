// SPDX-License-Identifier: Apache-2.0
#include "formats/vdi/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"

namespace snaptool::vdi {
namespace {

constexpr uint32_t kMagic = 0xbeda107f;
constexpr uint32_t kVersion = 0x00010001;
constexpr uint32_t kHeaderSize = 0x190;  // from byte 72 on
constexpr std::string_view kText = "<<< snaptool disk image, of VirtualBox's format >>>\n";
constexpr size_t kCommentAt = 84;
constexpr size_t kCommentBytes = 256;

Error broken(std::string what) { return {ErrorCode::kCorruption, std::move(what)}; }

Result<void> check(const Header& header) {
  if (!std::has_single_bit(header.block_size) || header.block_size < kSectorSize ||
      header.block_size > kGiB) {
    return broken(fmt::format("its blocks of {} bytes are impossible", header.block_size));
  }
  if (header.extra > kGiB || header.extra % kSectorSize != 0) {
    return broken(fmt::format("{} bytes before each block are impossible", header.extra));
  }
  if (header.map_offset < kHeaderBytes - 40 || header.map_offset % 4 != 0) {
    return broken(fmt::format("its map at byte {} is impossible", header.map_offset));
  }
  if (header.data_offset % kSectorSize != 0) {
    return broken(fmt::format("its blocks at byte {} are impossible", header.data_offset));
  }
  if (header.blocks < div_round_up(header.size, header.block_size)) {
    return broken(fmt::format("{} blocks of {} bytes are less than its {} bytes", header.blocks,
                              header.block_size, header.size));
  }
  return {};
}

}  // namespace

std::string_view type_name(Type type) {
  switch (type) {
    case Type::kDynamic:
      return "dynamic";
    case Type::kFixed:
      return "fixed";
    case Type::kUndo:
      return "undo";
    case Type::kDifferencing:
      return "differencing";
  }
  return "unknown";
}

bool has_magic(std::span<const std::byte> head) {
  return head.size() >= 68 && load_le<uint32_t>(head.data() + 64) == kMagic;
}

Result<Header> parse_header(std::span<const std::byte> bytes) {
  SNAP_CHECK(bytes.size() == kHeaderBytes);
  const auto number = [&](size_t at) { return load_le<uint32_t>(bytes.data() + at); };
  if (!has_magic(bytes)) return broken("it is no VDI image: the magic is missing");
  const uint32_t version = number(68);
  if (version >> 16U != 1) {
    return Error(ErrorCode::kUnsupported, fmt::format("version {}.{} of VDI is not read",
                                                      version >> 16U, version & 0xffffU));
  }
  const uint32_t type = number(76);
  if (type < 1 || type > 4) return broken(fmt::format("its type {} is unknown", type));
  Header header;
  header.type = static_cast<Type>(type);
  const auto* const comment = reinterpret_cast<const char*>(bytes.data() + kCommentAt);
  header.comment.assign(comment, ::strnlen(comment, kCommentBytes));
  header.map_offset = number(340);
  header.data_offset = number(344);
  if (number(360) != kSectorSize) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("sectors of {} bytes are not read", number(360)));
  }
  header.size = load_le<uint64_t>(bytes.data() + 368);
  header.block_size = number(376);
  header.extra = number(380);
  header.blocks = number(384);
  header.allocated = number(388);
  header.uuid = uuid_at(bytes, 392);
  header.modification = uuid_at(bytes, 408);
  header.parent = uuid_at(bytes, 424);
  header.parent_modification = uuid_at(bytes, 440);
  SNAP_TRY(check(header));
  return header;
}

std::vector<std::byte> encode_header(const Header& header) {
  std::vector<std::byte> bytes(kHeaderBytes);
  const auto put = [&](size_t at, uint64_t value) {
    store_le(bytes.data() + at, static_cast<uint32_t>(value));
  };
  const auto put_uuid = [&](size_t at, const Uuid& uuid) {
    std::copy(uuid.begin(), uuid.end(), bytes.begin() + static_cast<ptrdiff_t>(at));
  };
  std::memcpy(bytes.data(), kText.data(), kText.size());
  put(64, kMagic);
  put(68, kVersion);
  put(72, kHeaderSize);
  put(76, static_cast<uint32_t>(header.type));
  put(340, header.map_offset);
  put(344, header.data_offset);
  put(360, kSectorSize);
  store_le(bytes.data() + 368, header.size);
  put(376, header.block_size);
  put(380, header.extra);
  put(384, header.blocks);
  put(388, header.allocated);
  put_uuid(392, header.uuid);
  put_uuid(408, header.modification);
  put_uuid(424, header.parent);
  put_uuid(440, header.parent_modification);
  put(468, kSectorSize);
  return bytes;
}

std::string identity_of(const Uuid& uuid, const Uuid& modification) {
  return fmt::format("UUID {} at {}", uuid_text(uuid, UuidOrder::kGuid),
                     uuid_text(modification, UuidOrder::kGuid));
}

}  // namespace snaptool::vdi
