// SPDX-License-Identifier: Apache-2.0
#include "formats/format.h"

#include <array>

#include "formats/blkid/blkid.h"
#include "formats/dm_snapshot/store_writer.h"
#include "formats/ewf/ewf_image.h"
#include "formats/ewf/ewf_writer.h"
#include "formats/exfat/exfat_file_system.h"
#include "formats/ext/ext_file_system.h"
#include "formats/fat/fat_file_system.h"
#include "formats/hfsplus/hfsplus_file_system.h"
#include "formats/iso9660/iso_file_system.h"
#include "formats/known_format.h"
#include "formats/lvm2/lvm2_driver.h"
#include "formats/ntfs/ntfs_file_system.h"
#include "formats/partition/partition_table.h"
#include "formats/qcow2/qcow2_image.h"
#include "formats/qcow2/qcow2_writer.h"
#include "formats/raw/parts_writer.h"
#include "formats/raw/raw_image.h"
#include "formats/raw/raw_writer.h"
#include "formats/rbd/rbd_diff.h"
#include "formats/rbd/rbd_image.h"
#include "formats/simg/simg_image.h"
#include "formats/simg/simg_writer.h"
#include "formats/vdi/vdi_image.h"
#include "formats/vhdx/vhdx_image.h"
#include "formats/vmdk/vmdk_image.h"
#include "formats/vpc/vpc_image.h"
#include "libsnap/access/split_raw.h"

namespace snaptool {
namespace {

using access::ImageDriver;
using access::ImageKind;

Result<access::SumsFound> check_simg(std::shared_ptr<File> file,
                                     const access::ImageOptions& options, const Job& /*job*/) {
  access::SumsFound found;
  SNAP_ASSIGN(found.has_sums, simg::check_sums(*file, options.cancel));
  return found;
}

constexpr std::array kImages = {
    ImageDriver{.name = "raw",
                .kind = ImageKind::kRaw,
                .facts = raw::read_facts,
                .open = raw::open_image,
                .create = raw::create_image,
                .stream_parts = raw::stream_parts,
                .parts_setting = raw::kPartSize,
                .part_name = access::split_part_name,
                .settings = raw::kSettings,
                .can_be_parent = true},
    ImageDriver{.name = "dm-snapshot",
                .kind = ImageKind::kStore,
                .probe = dm_snapshot::has_magic,
                .open = dm_snapshot::open_image,
                .create = dm_snapshot::create_image,
                .settings = dm_snapshot::kSettings,
                .size_unit = kSectorSize,
                .takes_base = true,
                .has_parents_size = true},
    ImageDriver{.name = "qcow2",
                .probe = qcow2::has_magic,
                .facts = qcow2::read_facts,
                .open = qcow2::open_image,
                .create = qcow2::create_image,
                .settings = qcow2::kSettings,
                .size_unit = kSectorSize,
                .can_be_parent = true,
                .takes_base = true,
                .has_snapshots = true,
                .can_compress = true},
    ImageDriver{.name = "ewf",
                .alias = "e01",
                .probe = ewf::has_magic,
                .has_parts = ewf::has_magic,
                .facts = ewf::read_facts,
                .whole_facts = ewf::read_whole_facts,
                .open = ewf::open_image,
                .check_sums = ewf::check_sums,
                .checks_reads = ewf::checks_reads,
                .stream = ewf::stream_image,
                .stream_parts = ewf::stream_parts,
                .parts_setting = ewf::kSegmentSize,
                .part_name = ewf::segment_name,
                .settings = ewf::kSettings,
                .size_unit = kSectorSize,
                .can_compress = true},
    ImageDriver{.name = "rbd",
                .probe = rbd::has_image_magic,
                .facts = rbd::read_image_facts,
                .open = rbd::open_image,
                .stream = rbd::stream_image,
                .settings = rbd::kImageSettings,
                .has_snapshots = true},
    ImageDriver{.name = "simg",
                .probe = simg::has_magic,
                .facts = simg::read_facts,
                .open = simg::open_image,
                .check_sums = check_simg,
                .open_parts = simg::open_parts,
                .stream = simg::stream_image,
                .settings = simg::kSettings,
                .size_unit = simg::kNewBlock},
    ImageDriver{.name = "vmdk",
                .probe = vmdk::has_magic,
                .has_parts = vmdk::is_descriptor,
                .facts = vmdk::read_facts,
                .open = vmdk::open_image,
                .create = vmdk::create_image,
                .stream = vmdk::stream_image,
                .settings = vmdk::kSettings,
                .size_unit = kSectorSize,
                .can_be_parent = true,
                .can_compress = true},
    ImageDriver{.name = "vpc",
                .alias = "vhd",
                .probe = vpc::has_cookie,
                .probe_tail = vpc::is_footer,
                .facts = vpc::read_facts,
                .open = vpc::open_image,
                .create = vpc::create_image,
                .update = vpc::update_image,
                .settings = vpc::kSettings,
                .size_unit = kSectorSize,
                .size_unit_of = vpc::size_unit_of,
                .can_be_parent = true},
    ImageDriver{.name = "vhdx",
                .probe = vhdx::has_magic,
                .facts = vhdx::read_facts,
                .open = vhdx::open_image,
                .create = vhdx::create_image,
                .update = vhdx::update_image,
                .settings = vhdx::kSettings,
                .size_unit = kSectorSize,
                .can_be_parent = true},
    ImageDriver{.name = "vdi",
                .probe = vdi::has_magic,
                .facts = vdi::read_facts,
                .open = vdi::open_image,
                .create = vdi::create_image,
                .size_unit = kSectorSize,
                .can_be_parent = true},
};

template <int kVersion>
bool is_rbd(std::span<const std::byte> head) {
  // One of another version is refused by its reader.
  const int version = rbd::version_of(head);
  return version == kVersion || (kVersion == 2 && version == 0 && rbd::looks_like_diff(head));
}
Result<std::unique_ptr<ChangeReader>> open_rbd(ByteSource source, std::string name) {
  SNAP_ASSIGN(auto reader, rbd::Reader::open(std::move(source), std::move(name)));
  return std::unique_ptr<ChangeReader>(std::move(reader));
}
template <int kVersion>
std::unique_ptr<ChangeWriter> make_rbd(ByteSink sink, int /*level*/) {
  return std::make_unique<rbd::Writer>(std::move(sink), kVersion);
}
Result<std::unique_ptr<ChangeReader>> open_snapdiff(ByteSource source, std::string name) {
  SNAP_ASSIGN(auto reader, SnapdiffReader::open(std::move(source), std::move(name)));
  return std::unique_ptr<ChangeReader>(std::move(reader));
}
std::unique_ptr<ChangeWriter> make_snapdiff(ByteSink sink, int level) {
  return std::make_unique<SnapdiffWriter>(std::move(sink), level);
}

constexpr std::array kChanges = {
    access::ChangeDriver{.name = "snapdiff",
                         .probe = looks_like_snapdiff,
                         .open = open_snapdiff,
                         .make = make_snapdiff,
                         .has_sums = true,
                         .read_end = read_snapdiff_end,
                         .expectations = expectations_of},
    access::ChangeDriver{.name = "rbd", .probe = is_rbd<1>, .open = open_rbd, .make = make_rbd<1>},
    access::ChangeDriver{.name = "rbd2", .probe = is_rbd<2>, .open = open_rbd, .make = make_rbd<2>},
};

constexpr std::array kFileSystems = {
    access::FileSystemDriver{.name = "ext", .probe = ext::has_magic, .open = ext::open},
    access::FileSystemDriver{.name = "exfat", .probe = exfat::has_magic, .open = exfat::open},
    access::FileSystemDriver{.name = "fat", .probe = fat::has_magic, .open = fat::open},
    access::FileSystemDriver{.name = "ntfs", .probe = ntfs::has_magic, .open = ntfs::open},
    access::FileSystemDriver{.name = "hfsplus", .probe = hfsplus::has_magic, .open = hfsplus::open},
    // Others may have been made over what is left of a disc.
    access::FileSystemDriver{.name = "iso9660",
                             .probe = iso9660::has_magic,
                             .open = iso9660::open,
                             .beside_table = true},
};

constexpr access::Drivers kDrivers = {
    .images = kImages,
    .changes = kChanges,
    .volumes = {.read_partitions = read_partition_table,
                .unread_partitions = unread_partition_table,
                .partition_type_name = partition_type_name,
                .is_physical_volume = lvm2::has_label,
                .open_group = lvm2::open_group,
                .most_backup = lvm2::kMostMetadata},
    .detect_known = detect_known_format,
    .file_systems = kFileSystems,
    .name_file_system = known_file_system,
    .find_file_system = blkid::find_file_system,
};

}  // namespace

const access::Drivers& all_drivers() { return kDrivers; }

}  // namespace snaptool
