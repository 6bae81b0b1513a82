// SPDX-License-Identifier: Apache-2.0
// Any bytes as a disk with partitions, as an LVM2 physical volume, or as LVM2's metadata text:
// nothing crashes or is read out of bounds, and every part that is said to be there lies where
// it can be read, or says why not.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "formats/lvm2/physical_volume.h"
#include "formats/lvm2/volume_group.h"
#include "formats/partition/partition_table.h"
#include "libsnap/base/crc32.h"
#include "libsnap/io/memory_file.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/model.h"

namespace snaptool::test {
namespace {

constexpr uint64_t kDiskBytes = 8 * kMiB;

void require(bool condition) {
  if (!condition) std::abort();
}

template <typename T>
T load(const Bytes& bytes, size_t at) {
  T value = 0;
  if (at <= bytes.size() && bytes.size() - at >= sizeof(T)) {
    std::memcpy(&value, bytes.data() + at, sizeof(T));
  }
  return value;
}

// Stores the sum of the range at `at`, if all of it is there: only then is what lies behind looked
// at.
void seal(Bytes& bytes, size_t at, size_t start, size_t length,
          uint32_t (*sum)(const std::byte*, size_t)) {
  if (start > bytes.size() || bytes.size() - start < length || at + 4 > bytes.size()) return;
  const uint32_t value = sum(bytes.data() + start, length);
  std::memcpy(bytes.data() + at, &value, 4);
}

uint32_t gpt_sum(const std::byte* data, size_t length) { return crc32({data, length}); }
uint32_t lvm_sum(const std::byte* data, size_t length) {
  return ~crc32({data, length}, ~0xf597a6cfU);
}

void seal_gpt(Bytes& disk, size_t sector) {
  if (disk.size() < sector + 512) return;
  const size_t entries = load<uint64_t>(disk, sector + 72) * sector % (1U << 20U);
  const size_t length =
      size_t{load<uint32_t>(disk, sector + 80)} * load<uint32_t>(disk, sector + 84) % (1U << 20U);
  seal(disk, sector + 88, entries, length, gpt_sum);
  std::fill_n(disk.begin() + static_cast<ptrdiff_t>(sector + 16), 4, std::byte{0});
  seal(disk, sector + 16, sector, load<uint32_t>(disk, sector + 12), gpt_sum);
}

// The label in each sector that may have one, and a metadata area at 4096 with its text, which may
// go on behind the header.
void seal_lvm(Bytes& disk) {
  for (size_t label = 0; label < 2048; label += 512) {
    seal(disk, label + 16, label + 20, 492, lvm_sum);
  }
  constexpr size_t kArea = 4096;
  const uint64_t area_size = load<uint64_t>(disk, kArea + 32);
  const uint64_t start = load<uint64_t>(disk, kArea + 40);
  const uint64_t length = load<uint64_t>(disk, kArea + 48);
  if (start < area_size && area_size > 512 && area_size < (1U << 20U) && length < (1U << 20U)) {
    disk.resize(std::max(disk.size(), kArea + area_size));
    Bytes text;
    for (uint64_t i = 0, at = start; i < length; ++i, ++at) {
      if (at == area_size) at = 512;
      text.push_back(disk[kArea + at]);
    }
    const uint32_t sum = lvm_sum(text.data(), text.size());
    std::memcpy(disk.data() + kArea + 56, &sum, 4);
  }
  seal(disk, kArea, kArea + 4, 508, lvm_sum);
}

// Its extents cover it, and what is in it can be read or is said to be missing.
void read_some(File& file) {
  uint64_t at = 0;
  for (int steps = 0; at < file.size() && steps < 64; ++steps) {
    const auto extent = file.extent_at(at, file.size() - at);
    if (!extent) return;
    require(extent->length > 0 && extent->length <= file.size() - at);
    at += extent->length;
  }
  for (const uint64_t start :
       {uint64_t{0}, file.size() / 2, file.size() - std::min<uint64_t>(file.size(), 700)}) {
    Bytes out(std::min<uint64_t>(700, file.size() - start));
    (void)file.read_at(start, out);
  }
}

void open_volumes(const lvm2::OpenVolumeGroup& open) {
  const lvm2::VolumeGroup& group = open.group();
  for (const lvm2::LogicalVolume& lv : group.lvs) {
    (void)lvm2::resolve_name(group, lv.name);
    (void)lvm2::resolve_name(group, lv.name + "-cow");
    (void)lvm2::resolve_name(group, lv.name + "-real");
    const auto file = open.open_volume(lv.name, "lv");
    if (!file) continue;
    require((*file)->size() == group.size_of(lv));
    read_some(**file);
  }
}

void try_disk(const Bytes& bytes) {
  const auto disk = std::make_shared<MemoryFile>("disk", kDiskBytes);
  const size_t used = std::min<size_t>(bytes.size(), kDiskBytes);
  require(disk->write_at(0, std::span(bytes).first(used)).has_value());
  if (const auto table = read_partition_table(*disk); table && *table) {
    for (const access::Partition& one : (*table)->partitions) {
      require(one.length > 0 && one.offset + one.length > one.offset);
      require(one.passes_end == (one.offset + one.length > disk->size()));
      PartFile part("part", {{one.length, {{disk, one.offset}}, 0}});
      read_some(part);
    }
  }
  const auto labelled = lvm2::has_label(*disk);
  const auto volume = lvm2::read_physical_volume(*disk);
  require(labelled.has_value() && (!volume || *labelled));
  if (const auto group = lvm2::OpenVolumeGroup::open({disk}, std::nullopt)) open_volumes(*group);
}

// What is taken is consistent in itself.
void try_text(const std::string& text) {
  const auto parsed = lvm2::parse_volume_group(text, "text");
  if (!parsed) return;
  for (const lvm2::SnapshotEntry& one : parsed->snapshots) {
    require(parsed->find(one.name) != nullptr && parsed->find(one.origin) != nullptr);
  }
  for (const lvm2::LogicalVolume& lv : parsed->lvs) {
    uint64_t extents = 0;
    for (const lvm2::Segment& segment : lv.segments) {
      require(segment.start_extent == extents && segment.extent_count > 0);
      extents += segment.extent_count;
    }
    require(extents == lv.extents && lv.extents <= INT64_MAX / parsed->extent_bytes);
  }
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(disk)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;
  if (size < 1 || size > snaptool::kMiB) return 0;
  // Byte 0: 0 a disk as it is; 1, 2 with a GPT's sums made to fit (512-byte, 4 KiB sectors); 3 with
  // LVM2's; 4 a metadata text.
  const auto* const start = reinterpret_cast<const std::byte*>(data) + 1;
  Bytes bytes(start, start + (size - 1));
  switch (data[0] % 5) {
    case 1:
      seal_gpt(bytes, 512);
      break;
    case 2:
      seal_gpt(bytes, 4096);
      break;
    case 3:
      seal_lvm(bytes);
      break;
    case 4:
      try_text(std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
      return 0;
    default:
      break;
  }
  try_disk(bytes);
  return 0;
}
