// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/crc32.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/tree_volumes.h"
#include "tests/support/model.h"

namespace snaptool::test {

// Writes partition tables, physical volumes and stores into each other, as a fuzzer's bytes say:
// sound ones, and such with a number or a sum that is wrong. What passes the end of the disk is
// left out.
class TreeBuilder {
 public:
  TreeBuilder(Bytes& disk, FuzzInput& in) : disk_(disk), in_(in) {}

  // Something in the `length` bytes from `at` on.
  void any(uint64_t at, uint64_t length, int depth = 0) {
    if (depth > 3 || length < 2 * kSectorSize || in_.empty()) return;
    switch (in_.byte() % 6) {
      case 0:
        return raw(at);
      case 1:
        return mbr(at, length, depth);
      case 2:
        return gpt(at, length, depth);
      case 3:
        return volume(at, length);
      case 4:
        return put(at, store_bytes(in_.byte()));
      default:
        return;
    }
  }

 private:
  void put(uint64_t at, std::span<const std::byte> bytes) {
    if (at >= disk_.size()) return;
    const size_t length = std::min(bytes.size(), disk_.size() - at);
    std::copy_n(bytes.begin(), length, disk_.begin() + static_cast<ptrdiff_t>(at));
  }

  void raw(uint64_t at) {
    Bytes bytes(in_.number() % 1025);
    for (std::byte& one : bytes) one = static_cast<std::byte>(in_.byte());
    put(at, bytes);
  }

  // ---- MBR

  struct Entry {
    unsigned type = 0;
    uint32_t start = 0;  // sectors
    uint32_t count = 0;
  };

  void put_boot_sector(uint64_t at, std::span<const Entry> entries, bool with_signature = true) {
    Bytes sector(kSectorSize);
    for (size_t i = 0; i < entries.size(); ++i) {
      std::byte* const entry = &sector[446 + 16 * i];
      entry[4] = static_cast<std::byte>(entries[i].type);
      store_le(entry + 8, entries[i].start);
      store_le(entry + 12, entries[i].count);
    }
    if (with_signature) store_le(&sector[510], uint16_t{0xaa55});
    put(at, sector);
  }

  void mbr(uint64_t at, uint64_t length, int depth) {
    constexpr std::array<unsigned, 6> kTypes{0x83, 0x8e, 0x05, 0x83, 0, 0xee};
    const auto piece = static_cast<uint32_t>(length / kSectorSize / 5);
    std::vector<Entry> entries;
    for (uint32_t i = 0; i < 4; ++i) {
      const unsigned how = in_.byte();
      Entry entry{kTypes[how / 8 % kTypes.size()], (i + 1) * piece, piece};
      if (how % 8 == 7) {
        const unsigned start = in_.number();
        entry.start = start << in_.byte() % 17;
        entry.count = in_.number() + 1;
      }
      const uint64_t start = at + entry.start * kSectorSize;
      if (entry.type == 5) {
        logical(start);
      } else if (entry.type != 0) {
        any(start, entry.count * kSectorSize, depth + 1);
      }
      entries.push_back(entry);
    }
    put_boot_sector(at, entries);
  }

  // A chain of sectors, each with a partition of one sector behind it.
  void logical(uint64_t at) {
    const uint32_t links = 1 + in_.number() % 300;
    const unsigned end = in_.byte() % 6;  // how it ends: in itself, without a signature, far away
    for (uint32_t i = 0; i < links; ++i) {
      std::vector<Entry> entries{{0x83, 1, 1}, {5, 2 * (i + 1), 2}};
      if (i + 1 == links) {
        if (end > 1) entries.pop_back();
        if (end == 0) entries.back().start = 0;
        if (end == 1) entries.back().start = UINT32_MAX;
      }
      put_boot_sector(at + 2 * i * kSectorSize, entries, end != 2 || i + 1 < links);
    }
  }

  // ---- GPT

  struct Gpt {
    uint64_t sector = kSectorSize;  // bytes
    uint64_t sectors = 0;
    uint32_t count = 0;  // entries
    uint32_t entry_bytes = 128;
    uint64_t first = 0;  // sector that a partition can have
    uint64_t used = 0;   // entries
    uint64_t step = 1;   // sectors from one partition to the next
  };

  Gpt take_gpt(uint64_t length) {
    constexpr std::array<uint32_t, 4> kCounts{4, 128, 4096, 4097};
    Gpt gpt;
    if (in_.byte() % 4 == 3) gpt.sector = 4096;
    const unsigned how = in_.byte();
    gpt.count = how % 8 < 4 ? kCounts[how % 4] : in_.number() % 4096 + 1;
    gpt.entry_bytes = how / 8 % 4 == 3 ? 384 : 128;
    gpt.sectors = length / gpt.sector;
    gpt.first = 2 + div_round_up(uint64_t{gpt.count} * gpt.entry_bytes, gpt.sector);
    if (gpt.first + 1 >= gpt.sectors) return gpt;
    const uint64_t left = gpt.sectors - 1 - gpt.first;
    gpt.used = std::min<uint64_t>({gpt.count, left, in_.number() + 1});
    gpt.step = left / gpt.used;
    return gpt;
  }

  Bytes gpt_entries(const Gpt& gpt) {
    Bytes entries(uint64_t{gpt.count} * gpt.entry_bytes);
    const auto put_entry = [&](uint64_t number, uint64_t first, uint64_t last) {
      std::byte* const entry = &entries[number * gpt.entry_bytes];
      std::fill_n(entry, 32, std::byte{0x41});
      store_le(entry + 32, first);
      store_le(entry + 40, last);
      store_le(entry + 56, static_cast<uint16_t>(0x61 + number));
    };
    for (uint64_t i = 0; i < gpt.used; ++i) {
      const uint64_t first = gpt.first + i * gpt.step;
      put_entry(i, first, first + gpt.step - 1);
    }
    for (unsigned n = in_.byte() % 6; n > 3; --n) {  // odd ones
      const uint64_t number = in_.number() % gpt.count;
      const uint64_t first = uint64_t{in_.number()} << in_.byte() % 56;
      put_entry(number, first, first + in_.number());
    }
    return entries;
  }

  void put_gpt_header(uint64_t at, const Gpt& gpt, uint64_t number, const Bytes& entries) {
    Bytes header(gpt.sector);
    std::memcpy(header.data(), "EFI PART\0\0\1\0\x5c\0\0\0", 16);
    store_le(&header[24], number);
    store_le(&header[72], uint64_t{2});
    store_le(&header[80], gpt.count);
    store_le(&header[84], gpt.entry_bytes);
    store_le(&header[88], crc32(entries));
    store_le(&header[16], crc32(std::span(header).first(92)));
    const unsigned damage = in_.byte();
    if (damage % 4 == 3) header[in_.byte() % 92] ^= std::byte{1};
    put(at + number * gpt.sector, header);
  }

  void gpt(uint64_t at, uint64_t length, int depth) {
    const Gpt table = take_gpt(length);
    if (table.sectors < 3) return;
    const Bytes entries = gpt_entries(table);
    for (uint64_t i = 0; i < std::min<uint64_t>(table.used, 3); ++i) {
      any(at + (table.first + i * table.step) * table.sector, table.step * table.sector, depth + 1);
    }
    const std::array<Entry, 1> protective{{{0xee, 1, UINT32_MAX}}};
    put_boot_sector(at, protective);
    put(at + 2 * table.sector, entries);
    put_gpt_header(at, table, 1, entries);
    put_gpt_header(at, table, table.sectors - 1, entries);
  }

  // ---- LVM2

  void volume(uint64_t at, uint64_t length) {
    for (const auto& [offset, bytes] : VolumeMaker(length, in_).make()) put(at + offset, bytes);
  }

  Bytes& disk_;
  FuzzInput& in_;
};

}  // namespace snaptool::test
