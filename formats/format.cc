// SPDX-License-Identifier: Apache-2.0
#include "formats/format.h"

#include <algorithm>
#include <array>

#include "formats/dm_snapshot/store_writer.h"
#include "formats/qcow2/qcow2_image.h"
#include "formats/qcow2/qcow2_writer.h"
#include "formats/rbd/rbd_image.h"

namespace snaptool {

std::span<const FormatDriver> format_drivers() {
  static constexpr std::array kDrivers = {
      FormatDriver{"dm-snapshot", nullptr, nullptr, dm_snapshot::open_image,
                   dm_snapshot::create_image, nullptr, dm_snapshot::kSettings, kSectorSize, false,
                   true},
      FormatDriver{"qcow2", qcow2::has_magic, qcow2::read_facts, qcow2::open_image,
                   qcow2::create_image, nullptr, qcow2::kSettings, kSectorSize, true, false},
      FormatDriver{"rbd", rbd::has_image_magic, rbd::read_image_facts, rbd::open_image, nullptr,
                   rbd::stream_image, rbd::kImageSettings, 1, false, false},
  };
  return kDrivers;
}

const FormatDriver* find_format(std::string_view name) {
  for (const FormatDriver& driver : format_drivers()) {
    if (driver.name == name) return &driver;
  }
  return nullptr;
}

Result<const FormatDriver*> detect_format(File& file) {
  std::array<std::byte, kProbeBytes> bytes{};
  const auto head = std::span(bytes).first(std::min<uint64_t>(bytes.size(), file.size()));
  SNAP_TRY(file.read_at(0, head));
  for (const FormatDriver& driver : format_drivers()) {
    if (driver.probe != nullptr && driver.probe(head)) return &driver;
  }
  return nullptr;
}

}  // namespace snaptool
