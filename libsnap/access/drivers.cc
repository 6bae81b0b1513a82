// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/drivers.h"

#include <algorithm>
#include <array>

namespace snaptool::access {

std::string remedy_for(const KnownFormat& format, const std::string& path) {
  constexpr std::string_view kFile = "FILE";
  std::string text(format.remedy);
  if (const size_t at = text.find(kFile); at != std::string::npos) {
    text.replace(at, kFile.size(), path);
  }
  return text;
}

const ImageDriver* Drivers::find_image(std::string_view name) const {
  const auto found = std::find_if(images.begin(), images.end(), [&](const ImageDriver& driver) {
    return driver.name == name || (!name.empty() && driver.alias == name);
  });
  return found == images.end() ? nullptr : &*found;
}

Result<const ImageDriver*> Drivers::detect_image(File& file) const {
  std::array<std::byte, kProbeBytes> bytes{};
  const auto head = std::span(bytes).first(std::min<uint64_t>(bytes.size(), file.size()));
  SNAP_TRY(file.read_at(0, head));
  // The beginning of what is told by its end is a disk's, and so a guest's.
  std::array<std::byte, kProbeBytes> tail{};
  if (file.size() >= tail.size()) {
    SNAP_TRY(file.read_at(file.size() - tail.size(), tail));
    for (const ImageDriver& driver : images) {
      if (driver.probe_tail != nullptr && driver.probe_tail(tail, file.size())) return &driver;
    }
  }
  for (const ImageDriver& driver : images) {
    if (driver.probe != nullptr && driver.probe(head)) return &driver;
  }
  return &raw();
}

const ChangeDriver* Drivers::find_changes(std::string_view name) const {
  const auto found = std::find_if(changes.begin(), changes.end(),
                                  [&](const ChangeDriver& driver) { return driver.name == name; });
  return found == changes.end() ? nullptr : &*found;
}

const ChangeDriver* Drivers::detect_changes(std::span<const std::byte> head) const {
  const auto found = std::find_if(changes.begin(), changes.end(),
                                  [&](const ChangeDriver& driver) { return driver.probe(head); });
  return found == changes.end() ? nullptr : &*found;
}

Result<const ChangeDriver*> Drivers::detect_changes(File& file) const {
  std::array<std::byte, kChangeProbeBytes> bytes{};
  const auto head = std::span(bytes).first(std::min<uint64_t>(bytes.size(), file.size()));
  SNAP_TRY(file.read_at(0, head));
  return detect_changes(head);
}

}  // namespace snaptool::access
