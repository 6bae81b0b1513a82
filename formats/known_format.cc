// SPDX-License-Identifier: Apache-2.0
#include "formats/known_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace snaptool {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kQemu = "'qemu-img convert -O raw FILE NEW' makes it raw";
constexpr std::string_view kVpc = "'snaptool convert -f vpc FILE NEW' makes it raw all the same";
constexpr std::string_view kEwf = "'ewfexport FILE' exports its content";

// A magic and where it is: from the start, or (negative) from the end.
struct Magic {
  int64_t offset;
  std::string_view bytes;
  access::KnownFormat format;
};

constexpr auto kMagics = std::to_array<Magic>({
    {0, "\xbe\xba\xfe\xca\0\0\0\0"sv, {"vmdk", "a VMDK image (SE sparse)", kQemu, false}},
    {-512, "conectix"sv, {"vpc", "a VHD image with a wrong footer", kVpc, false}},
    {-511, "conectix"sv, {"vpc", "a VHD image with a wrong footer", kVpc, false}},
    {0, "QED\0"sv, {"qed", "a QED image", kQemu, false}},
    {0, "QFI\xfb\0\0\0\1"sv, {"qcow", "a qcow image of version 1", kQemu, false}},
    {0, "WithoutFreeSpace"sv, {"parallels", "a Parallels image", kQemu, false}},
    {0, "WithouFreSpacExt"sv, {"parallels", "a Parallels image", kQemu, false}},
    {0, "Bochs Virtual HD Image"sv, {"bochs", "a Bochs image", kQemu, false}},
    {-512, "koly"sv, {"dmg", "a DMG image", kQemu, false}},
    {0, "encrcdsa"sv, {"dmg", "an encrypted DMG image", "macOS's hdiutil converts it", false}},
    {0, "sprs"sv, {"sparseimage", "a sparse image of macOS", "macOS's hdiutil converts it", false}},
    {0,
     "VMA\0"sv,
     {"vma", "a backup of Proxmox VE", "'vma extract FILE FOLDER' unpacks it", false}},
    {0,
     "partclone-image"sv,
     {"partclone", "an image of partclone", "'partclone.restore' restores it", false}},
    {0, "LVF\x09\x0d\x0a\xff\x00"sv, {"ewf", "an EWF (L01) evidence file", kEwf, false}},
    {0, "EVF2\x0d\x0a\x81\x00"sv, {"ewf", "an EWF (Ex01) evidence file", kEwf, false}},
    {0, "LEF2\x0d\x0a\x81\x00"sv, {"ewf", "an EWF (Lx01) evidence file", kEwf, false}},
    {0,
     "AFF10\r\n\0"sv,
     {"aff", "an AFF evidence file", "'affconvert -r -e raw FILE' makes it raw", false}},
    {0, "ADSEGMENTEDFILE\0"sv, {"ad1", "an AD1 evidence file", "FTK Imager reads it", false}},
    {0,
     "LUKS\xba\xbe"sv,
     {"luks", "an encrypted disk (LUKS)", "'cryptsetup open FILE NAME' opens it", true}},
    {0,
     "SKUL\xba\xbe"sv,
     {"luks", "an encrypted disk (LUKS)", "'cryptsetup open FILE NAME' opens it", true}},
    {0, "\x1f\x8b\x08"sv, {"gzip", "a gzip archive", "'gunzip -c FILE > NEW' unpacks it", false}},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     {"xz", "an xz archive", "'xz -dc FILE > NEW' unpacks it", false}},
    {0,
     "\x28\xb5\x2f\xfd"sv,
     {"zstd", "a zstd archive", "'zstd -dc FILE > NEW' unpacks it", false}},
    {0, "BZh"sv, {"bzip2", "a bzip2 archive", "'bunzip2 -c FILE > NEW' unpacks it", false}},
    {0, "\x04\x22\x4d\x18"sv, {"lz4", "an lz4 archive", "'lz4 -dc FILE > NEW' unpacks it", false}},
    {0,
     "PK\3\4"sv,
     {"zip", "a zip archive (or AFF4 evidence)", "'unzip FILE' (or aff4imager) unpacks it", false}},
    {0, "7z\xbc\xaf\x27\x1c"sv, {"7z", "a 7z archive", "'7z x FILE' unpacks it", false}},
    {0, "Rar!\x1a\x07"sv, {"rar", "a RAR archive", "'unrar x FILE' unpacks it", false}},
    {257, "ustar"sv, {"tar", "a tar archive", "'tar -xf FILE' unpacks it", false}},
    {8,
     "\xac\xcb\xba\xf5\x02\0\0\0"sv,
     {"zfs-send", "a stream of 'zfs send'", "'zfs receive' takes it", false}},
    {8,
     "\0\0\0\x02\xf5\xba\xcb\xac"sv,
     {"zfs-send", "a stream of 'zfs send'", "'zfs receive' takes it", false}},
    {0,
     "btrfs-stream\0"sv,
     {"btrfs-send", "a stream of 'btrfs send'", "'btrfs receive' takes it", false}},
    {0, "rbd diff v1\n"sv, {"rbd-diff", "a diff of rbd's", "", false, Remedy::kApplyDiff}},
    {0, "rbd diff v2\n"sv, {"rbd-diff", "a diff of rbd's", "", false, Remedy::kApplyDiff}},
    {0, "\x57\x2a\x4d\x18"sv, {"snapdiff", "a snapdiff", "", false, Remedy::kApplyDiff}},
    {0, "SNAPUNDO"sv, {"undo", "the undo file of a merge", "", false, Remedy::kUndoMerge}},
    {0,
     "snapply1"sv,
     {"apply-journal", "the journal of an apply", "", false, Remedy::kResumeApply}},
    {0,
     "# snaptool block manifest"sv,
     {"manifest", "a manifest of sums", "", false, Remedy::kCheckSums}},
    {0, "{\"snaptool_log\":"sv, {"log", "a log of --log", "'jq . FILE' shows its lines", false}},
});
constexpr size_t kHead = 512;
constexpr access::KnownFormat kBmap = {
    "bmap", "a block map", "'snaptool convert --bmap FILE IMAGE OUT' copies its image by it",
    false};

// At most `size` bytes from there, as far as the file goes.
Result<std::string> bytes_at(File& file, uint64_t offset, uint64_t size) {
  std::string bytes(offset < file.size() ? std::min(size, file.size() - offset) : 0, '\0');
  if (!bytes.empty()) {
    SNAP_TRY(file.read_at(offset, std::as_writable_bytes(std::span(bytes))));
  }
  return bytes;
}

struct FileSystemMagic {
  size_t offset;
  std::string_view bytes;
  std::string_view name;
};

constexpr auto kFileSystemMagics = std::to_array<FileSystemMagic>({
    {0, "XFSB"sv, "XFS"},
    {0x10040, "_BHRfS_M"sv, "btrfs"},
    {1024, "\x10\x20\xf5\xf2"sv, "F2FS"},
    {0x8000, "JFS1"sv, "JFS"},
    {0x10034, "ReIsEr"sv, "ReiserFS"},
    {0, "hsqs"sv, "squashfs"},
    {1024, "\xe2\xe1\xf5\xe0"sv, "EROFS"},
    {3, "-FVE-FS-"sv, "BitLocker"},
    {3, "ReFS"sv, "ReFS"},
    {0x8001, "BEA01"sv, "UDF"},
    {0x8009, "CDROM"sv, "High Sierra"},
    {16 * 2352 + 16 + 1, "CD001"sv, "ISO 9660 in raw sectors of 2352 bytes"},
    {16 * 2352 + 24 + 1, "CD001"sv, "ISO 9660 in raw sectors of 2352 bytes"},
    {32, "NXSB"sv, "APFS"},
    {4086, "SWAPSPACE2"sv, "swap space"},
    {0, "LUKS\xba\xbe"sv, "LUKS"},
    {512, "LABELONE"sv, "an LVM physical volume"},
});

}  // namespace

std::string_view known_file_system(std::span<const std::byte> head) {
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  for (const FileSystemMagic& magic : kFileSystemMagics) {
    if (magic.offset < text.size() && text.substr(magic.offset).starts_with(magic.bytes)) {
      return magic.name;
    }
  }
  return {};
}

Result<const access::KnownFormat*> detect_known_format(File& file) {
  SNAP_ASSIGN(const std::string head, bytes_at(file, 0, kHead));
  const uint64_t tail_size = std::min<uint64_t>(file.size(), kHead);
  SNAP_ASSIGN(const std::string tail, bytes_at(file, file.size() - tail_size, tail_size));
  for (const Magic& magic : kMagics) {
    const std::string_view side = magic.offset < 0 ? tail : head;
    const int64_t at =
        magic.offset < 0 ? static_cast<int64_t>(side.size()) + magic.offset : magic.offset;
    if (at < 0 || static_cast<size_t>(at) > side.size()) continue;
    if (side.substr(static_cast<size_t>(at)).starts_with(magic.bytes)) return &magic.format;
  }
  if (head.starts_with("<?xml") && head.find("<bmap") != std::string::npos) return &kBmap;
  return static_cast<const access::KnownFormat*>(nullptr);
}

}  // namespace snaptool
