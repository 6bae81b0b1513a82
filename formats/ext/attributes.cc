// SPDX-License-Identifier: Apache-2.0
#include "formats/ext/attributes.h"

#include <fmt/format.h>

#include "formats/common/file_facts.h"
#include "libsnap/base/endian.h"

namespace snaptool::ext {
namespace {

constexpr uint32_t kAttributeMagic = 0xea020000;
constexpr size_t kBlockHead = 32;
constexpr size_t kBlockSumAt = 16;
constexpr size_t kAttributeHead = 16;
constexpr uint8_t kSystemPrefix = 7;

Error broken_attribute(const char* what) {
  return damaged(fmt::format("an extended attribute {}", what));
}

// `entries` begin at `at` of `area`, which their offsets are of.
Result<void> visit_attributes(Bytes area, size_t at, const VisitAttribute& visit) {
  size_t value_bytes = 0;
  while (at + 4 <= area.size() && load_le<uint32_t>(area.data() + at) != 0) {
    if (at + kAttributeHead > area.size()) return broken_attribute("is cut");
    const Bytes raw = area.subspan(at);
    const auto name_length = std::to_integer<size_t>(raw[0]);
    if (kAttributeHead + name_length > raw.size())
      return broken_attribute("has a name that is cut");
    Attribute one;
    one.prefix = std::to_integer<uint8_t>(raw[1]);
    one.name = {reinterpret_cast<const char*>(raw.data() + kAttributeHead), name_length};
    const size_t offset = load_le<uint16_t>(raw.data() + 2);
    one.value_inode = load_le<uint32_t>(raw.data() + 4);
    one.value_size = load_le<uint32_t>(raw.data() + 8);
    one.hash = load_le<uint32_t>(raw.data() + 12);
    if (one.value_inode == 0 && one.value_size > 0) {
      if (offset > area.size() || one.value_size > area.size() - offset) {
        return broken_attribute("has a value that is cut");
      }
      one.value = area.subspan(offset, one.value_size);
      value_bytes += one.value_size;  // no two share any
      if (value_bytes > area.size()) return broken_attribute("has another one's value");
    }
    SNAP_TRY(visit(one));
    at += (kAttributeHead + name_length + 3) / 4 * 4;
  }
  return {};
}

bool is_block_sum(Bytes block, uint64_t number, const Superblock& superblock) {
  if (!superblock.has_sums()) return true;
  std::array<std::byte, 8> place{};
  store_le(place.data(), number);
  uint32_t sum = sum_of(block.first(kBlockSumAt), sum_of(place, superblock.sum_seed));
  sum = sum_of(block.subspan(kBlockSumAt + 4), sum_of(std::array<std::byte, 4>{}, sum));
  return sum == load_le<uint32_t>(block.data() + kBlockSumAt);
}

}  // namespace

Result<void> visit_inode_attributes(const Inode& inode, const VisitAttribute& visit) {
  const Bytes area = inode.attributes;
  if (area.size() < 4 || load_le<uint32_t>(area.data()) != kAttributeMagic) return {};
  return visit_attributes(area.subspan(4), 0, visit);
}

Result<void> visit_block_attributes(Bytes block, uint64_t number, const Superblock& superblock,
                                    const VisitAttribute& visit) {
  if (load_le<uint32_t>(block.data()) != kAttributeMagic ||
      load_le<uint32_t>(block.data() + 8) != 1) {  // blocks
    return damaged(fmt::format("block {} has no extended attributes", number));
  }
  if (!is_block_sum(block, number, superblock)) {
    return damaged(
        fmt::format("the checksum of the extended attributes in block {} is wrong", number));
  }
  return visit_attributes(block, kBlockHead, visit);
}

Result<std::vector<std::byte>> inline_rest(const Inode& inode) {
  std::vector<std::byte> rest;
  SNAP_TRY(visit_inode_attributes(inode, [&](const Attribute& one) -> Result<void> {
    if (one.prefix == kSystemPrefix && one.name == "data") {
      rest.assign(one.value.begin(), one.value.end());
    }
    return {};
  }));
  return rest;
}

uint64_t attribute_sum(const Attribute& attribute) {
  if (attribute.prefix == kSystemPrefix && attribute.name == "data") return 0;  // it is content
  std::array<std::byte, 13> head{};
  head[0] = std::byte{attribute.prefix};
  store_le(head.data() + 1, attribute.value_size);
  if (attribute.value_inode != 0) {
    store_le(head.data() + 5, attribute.value_inode);
    store_le(head.data() + 9, attribute.hash);
  }
  const Bytes name{reinterpret_cast<const std::byte*>(attribute.name.data()),
                   attribute.name.size()};
  return bytes_sum(attribute.value, bytes_sum(name, bytes_sum(head, 1)));
}

}  // namespace snaptool::ext
