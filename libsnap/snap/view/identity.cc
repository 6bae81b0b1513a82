// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/view/identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "libsnap/base/endian.h"
#include "libsnap/base/hash.h"
#include "libsnap/snap/view/snapshot_image.h"

namespace snaptool {
namespace {

// A magic at a fixed place, and where the 16 bytes of the UUID are.
struct FixedPlace {
  std::string_view kind;
  uint64_t magic_offset;
  std::string_view magic;
  uint64_t uuid_offset;
};

constexpr std::string_view kExtMagic("\x53\xef", 2);
constexpr FixedPlace kFixedPlaces[] = {
    {"ext2/3/4 file system", 1024 + 56, kExtMagic, 1024 + 104},
    {"XFS file system", 0, "XFSB", 32},
    {"Btrfs file system", 64 * kKiB + 64, "_BHRfS_M", 64 * kKiB + 32},
    {"GPT", 512, "EFI PART", 512 + 56},
};

bool has_at(std::span<const std::byte> bytes, uint64_t offset, std::string_view text) {
  return offset <= bytes.size() && text.size() <= bytes.size() - offset &&
         std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
}

// An LVM2 label lies in one of the first four sectors; the PV's header follows at an offset that it
// names.
void add_physical_volume(std::span<const std::byte> bytes, std::vector<Identity>& found) {
  constexpr uint64_t kUuidLength = 32;
  for (uint64_t label = 0; label < 4 * kSectorSize && label + kSectorSize <= bytes.size();
       label += kSectorSize) {
    if (!has_at(bytes, label, "LABELONE") || !has_at(bytes, label + 24, "LVM2 001")) continue;
    const uint64_t header = load_le<uint32_t>(&bytes[label + 20]);
    if (header > kSectorSize - kUuidLength) continue;
    std::string uuid;
    for (uint64_t i = 0; i < kUuidLength; ++i) {
      const char letter = static_cast<char>(bytes[label + header + i]);
      uuid += letter >= '!' && letter <= '~' ? letter : '?';
    }
    found.push_back({"LVM2 physical volume", uuid});
    return;
  }
}

}  // namespace

Result<std::vector<Identity>> read_identities(Image& image) {
  std::vector<std::byte> bytes(std::min(image.size(), kIdentityBytes));
  SNAP_TRY(image.read_at(0, bytes));
  std::vector<Identity> found;
  for (const FixedPlace& place : kFixedPlaces) {
    if (!has_at(bytes, place.magic_offset, place.magic)) continue;
    if (place.uuid_offset + 16 > bytes.size()) continue;
    found.push_back(
        {std::string(place.kind), hex_of(std::span(bytes).subspan(place.uuid_offset, 16))});
  }
  add_physical_volume(bytes, found);
  return found;
}

std::vector<std::string> contradictions(const std::vector<Identity>& origin,
                                        const std::vector<Identity>& view) {
  std::vector<std::string> texts;
  for (const Identity& mine : origin) {
    for (const Identity& theirs : view) {
      if (mine.kind != theirs.kind || mine.uuid == theirs.uuid) continue;
      texts.push_back(fmt::format("the {} has UUID {} on the origin, but {} in the view", mine.kind,
                                  mine.uuid, theirs.uuid));
    }
  }
  return texts;
}

Result<std::vector<std::string>> contradictions_of(File& origin, File& cow, const Cancel& cancel) {
  RawImage base(origin, origin.size());
  SNAP_ASSIGN(const auto view, SnapshotImage::open_head(base, cow, kIdentityBytes, cancel));
  SNAP_ASSIGN(const auto of_origin, read_identities(base));
  SNAP_ASSIGN(const auto of_view, read_identities(*view));
  return contradictions(of_origin, of_view);
}

}  // namespace snaptool
