// SPDX-License-Identifier: Apache-2.0
#include "formats/lvm2/physical_volume.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/crc32.h"
#include "libsnap/base/endian.h"

namespace snaptool::lvm2 {
namespace {

using Sector = std::array<std::byte, kSectorSize>;

constexpr uint64_t kLabelSectors = 4;
constexpr std::string_view kLabelId = "LABELONE";
constexpr std::string_view kLabelType = "LVM2 001";
constexpr std::string_view kAreaMagic = " LVM2 x[5A%r0N*>";
constexpr size_t kUuidSize = 32;
constexpr uint64_t kAreaHeader = 512;
constexpr size_t kMostAreas = 2;  // that LVM makes on a PV
constexpr uint32_t kIgnored = 1;

// LVM's CRC begins with another value than zlib's, and is not inverted at the end.
uint32_t lvm_crc(std::span<const std::byte> data) { return ~crc32(data, ~0xf597a6cfU); }

bool text_is(std::span<const std::byte> bytes, std::string_view text) {
  return std::equal(text.begin(), text.end(), bytes.begin(),
                    [](char c, std::byte b) { return static_cast<std::byte>(c) == b; });
}

std::string text_of(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) text += static_cast<char>(b);
  return text;
}

struct Area {
  uint64_t offset = 0;
  uint64_t size = 0;
};

// Pairs of offset and size, up to one with offset 0; moves `at` behind it.
Result<std::vector<Area>> read_list(const Sector& label, size_t& at) {
  std::vector<Area> list;
  for (; at + 16 <= label.size(); at += 16) {
    const Area area{load_le<uint64_t>(label.data() + at), load_le<uint64_t>(label.data() + at + 8)};
    if (area.offset == 0) {
      at += 16;
      return list;
    }
    list.push_back(area);
  }
  return Error(ErrorCode::kCorruption, "a list in the PV header does not end");
}

// The text of a metadata area; nullopt when it has none. Errors: kCorruption with the reason.
Result<std::optional<std::string>> read_area(File& device, const Area& area) {
  const auto damaged = [&](std::string_view what) {
    return Error(ErrorCode::kCorruption, fmt::format("the metadata area at byte {} of '{}' {}",
                                                     area.offset, device.name(), what));
  };
  const auto end = checked_add(area.offset, area.size);
  if (area.size <= kAreaHeader || !end || *end > device.size()) {
    return damaged(fmt::format("has {} bytes: more than are there, or too few", area.size));
  }
  Sector header{};
  SNAP_TRY(device.read_at(area.offset, header));
  if (!text_is(std::span(header).subspan(4), kAreaMagic)) return damaged("has no header");
  if (lvm_crc(std::span(header).subspan(4)) != load_le<uint32_t>(header.data())) {
    return damaged("has a header with a wrong CRC");
  }
  if (load_le<uint32_t>(header.data() + 20) != 1) return damaged("has an unknown version");
  if (load_le<uint64_t>(header.data() + 24) != area.offset ||
      load_le<uint64_t>(header.data() + 32) != area.size) {
    return damaged("has a header that names another place");
  }
  // Slot 0 is the committed text; slot 1 one that was never committed.
  const uint64_t offset = load_le<uint64_t>(header.data() + 40);
  const uint64_t size = load_le<uint64_t>(header.data() + 48);
  const uint32_t crc = load_le<uint32_t>(header.data() + 56);
  const uint32_t flags = load_le<uint32_t>(header.data() + 60);
  if (offset == 0 || (flags & kIgnored) != 0) return std::optional<std::string>();
  if (offset < kAreaHeader || offset >= area.size || size > area.size - kAreaHeader) {
    return damaged("has a text that does not lie in it");
  }
  if (size > kMostMetadata) return damaged(fmt::format("has a text of {} bytes", size));
  std::vector<std::byte> text(size);
  // It goes on behind the header where the area ends.
  const uint64_t first = std::min(size, area.size - offset);
  SNAP_TRY(device.read_at(area.offset + offset, std::span(text).first(first)));
  SNAP_TRY(device.read_at(area.offset + kAreaHeader, std::span(text).subspan(first)));
  if (lvm_crc(text) != crc) return damaged("has a text with a wrong CRC");
  return std::optional(text_of(text));
}

// The sector of the label; nullopt when there is none.
Result<std::optional<std::pair<uint64_t, Sector>>> find_label(File& device) {
  for (uint64_t number = 0; number < kLabelSectors; ++number) {
    if ((number + 1) * kSectorSize > device.size()) break;
    Sector sector{};
    SNAP_TRY(device.read_at(number * kSectorSize, sector));
    if (text_is(sector, kLabelId) && text_is(std::span(sector).subspan(24), kLabelType)) {
      return std::optional(std::pair{number, sector});
    }
  }
  return std::optional<std::pair<uint64_t, Sector>>();
}

}  // namespace

Result<bool> has_label(File& device) {
  SNAP_ASSIGN(const auto label, find_label(device));
  return label.has_value();
}

Result<PhysicalVolume> read_physical_volume(File& device) {
  const auto damaged = [&](std::string_view what) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("the LVM2 label of '{}' is damaged: {}", device.name(), what));
  };
  SNAP_ASSIGN(const auto found, find_label(device));
  if (!found) {
    return Error(ErrorCode::kNotFound,
                 fmt::format("'{}' is no LVM2 physical volume: it has no label", device.name()));
  }
  const auto& [number, label] = *found;
  if (lvm_crc(std::span(label).subspan(20)) != load_le<uint32_t>(label.data() + 16)) {
    return damaged("its CRC is wrong");
  }
  if (load_le<uint64_t>(label.data() + 8) != number) return damaged("it names another sector");
  size_t at = load_le<uint32_t>(label.data() + 20);
  if (at < 32 || at > label.size() - kUuidSize - 8) return damaged("no PV header lies in it");
  PhysicalVolume volume;
  volume.uuid = text_of(std::span(label).subspan(at, kUuidSize));
  volume.device_size = load_le<uint64_t>(label.data() + at + kUuidSize);
  at += kUuidSize + 8;
  const auto data = read_list(label, at);
  if (!data) return damaged(data.error().message());
  const auto areas = read_list(label, at);
  if (!areas) return damaged(areas.error().message());
  volume.reserved.push_back({0, kLabelSectors * kSectorSize});
  for (const Area& area : *areas) {
    volume.reserved.push_back({area.offset, area.size});
    if (volume.reserved.size() > 1 + kMostAreas) continue;
    auto text = read_area(device, area);
    if (text) {
      if (*text) volume.texts.push_back(std::move(**text));
    } else if (text.error().code() == ErrorCode::kCorruption) {
      volume.problems.push_back(text.error().message());
    } else {
      return text.error();
    }
  }
  if (areas->size() > kMostAreas) {
    volume.problems.push_back(fmt::format("'{}' has {} metadata areas: the first {} are read",
                                          device.name(), areas->size(), kMostAreas));
  }
  return volume;
}

}  // namespace snaptool::lvm2
