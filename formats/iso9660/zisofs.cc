// SPDX-License-Identifier: Apache-2.0
#include "formats/iso9660/zisofs.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/common/zlib_format.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"

namespace snaptool::iso9660 {
namespace {

constexpr size_t kPackedHead = 16;
constexpr std::array<uint8_t, 8> kPackedMagic = {0x37, 0xe4, 0x53, 0x96, 0xc9, 0xdb, 0xd6, 0x07};

}  // namespace

Result<std::unique_ptr<ZisofsFile>> ZisofsFile::open(ReadPacked read, uint64_t packed_bytes,
                                                     const Zisofs& entry) {
  std::unique_ptr<ZisofsFile> file(new ZisofsFile(std::move(read), packed_bytes, entry));
  SNAP_TRY(file->check_head());
  return file;
}

Result<void> ZisofsFile::check_head() const {
  if (entry_.header_bytes != kPackedHead || entry_.block_bits < 15 || entry_.block_bits > 17) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("zisofs with a head of {} bytes and blocks of 2^{}",
                             entry_.header_bytes, entry_.block_bits));
  }
  const uint64_t blocks = div_round_up(entry_.size, uint64_t{1} << entry_.block_bits);
  if (packed_bytes_ < kPackedHead + 4 * (blocks + 1)) {
    return damaged(fmt::format("what zisofs packed has {} bytes only", packed_bytes_));
  }
  std::array<std::byte, kPackedHead> head{};
  SNAP_TRY(read_(0, head));
  const bool is_same = std::equal(kPackedMagic.begin(), kPackedMagic.end(), head.begin(),
                                  [](uint8_t a, std::byte b) { return std::byte{a} == b; }) &&
                       load_le<uint32_t>(&head[8]) == entry_.size &&
                       head[12] == std::byte{kPackedHead / 4} &&
                       head[13] == std::byte{entry_.block_bits};
  if (!is_same) return damaged("the head of what zisofs packed is not what its record says");
  return {};
}

Result<void> ZisofsFile::unpack(uint64_t block) {
  if (known_ == block) return {};
  known_ = UINT64_MAX;
  const uint64_t block_bytes = uint64_t{1} << entry_.block_bits;
  std::array<std::byte, 8> pointers{};
  SNAP_TRY(read_(kPackedHead + 4 * block, pointers));
  const uint64_t from = load_le<uint32_t>(pointers.data());
  const uint64_t to = load_le<uint32_t>(&pointers[4]);
  if (from > to || to > packed_bytes_ || to - from > 2 * block_bytes) {
    return damaged(fmt::format("block {} of what zisofs packed lies from {} to {} of {}", block,
                               from, to, packed_bytes_));
  }
  content_.assign(std::min(block_bytes, entry_.size - block * block_bytes), std::byte{0});
  if (from < to) {
    packed_.resize(to - from);
    SNAP_TRY(read_(from, packed_));
    const auto length = unpack_zlib(inflater_, packed_, content_);
    if (!length || *length != content_.size()) {
      return damaged(fmt::format("block {} of what zisofs packed cannot be unpacked", block));
    }
  }
  known_ = block;
  return {};
}

Result<void> ZisofsFile::read(uint64_t offset, std::span<std::byte> out) {
  SNAP_CHECK(offset <= entry_.size && out.size() <= entry_.size - offset);
  while (!out.empty()) {
    SNAP_TRY(unpack(offset >> entry_.block_bits));
    const uint64_t within = offset % (uint64_t{1} << entry_.block_bits);
    const size_t length = std::min<size_t>(out.size(), content_.size() - within);
    std::copy_n(content_.begin() + static_cast<ptrdiff_t>(within), length, out.begin());
    out = out.subspan(length);
    offset += length;
  }
  return {};
}

}  // namespace snaptool::iso9660
