// SPDX-License-Identifier: Apache-2.0
#include "formats/format.h"

#include <array>

#include "formats/dm_snapshot/store_writer.h"
#include "formats/known_format.h"
#include "formats/lvm2/lvm2_driver.h"
#include "formats/partition/partition_table.h"
#include "formats/qcow2/qcow2_image.h"
#include "formats/qcow2/qcow2_writer.h"
#include "formats/raw/raw_image.h"
#include "formats/rbd/rbd_image.h"

namespace snaptool {
namespace {

using access::ImageDriver;
using access::ImageKind;

constexpr std::array kImages = {
    ImageDriver{.name = "raw",
                .kind = ImageKind::kRaw,
                .facts = raw::read_facts,
                .open = raw::open_image,
                .can_be_parent = true},
    ImageDriver{.name = "dm-snapshot",
                .kind = ImageKind::kStore,
                .probe = dm_snapshot::has_magic,
                .open = dm_snapshot::open_image,
                .create = dm_snapshot::create_image,
                .settings = dm_snapshot::kSettings,
                .size_unit = kSectorSize,
                .has_parents_size = true},
    ImageDriver{.name = "qcow2",
                .probe = qcow2::has_magic,
                .facts = qcow2::read_facts,
                .open = qcow2::open_image,
                .create = qcow2::create_image,
                .settings = qcow2::kSettings,
                .size_unit = kSectorSize,
                .can_be_parent = true,
                .can_compress = true},
    ImageDriver{.name = "rbd",
                .probe = rbd::has_image_magic,
                .facts = rbd::read_image_facts,
                .open = rbd::open_image,
                .stream = rbd::stream_image,
                .settings = rbd::kImageSettings},
};

constexpr access::Drivers kDrivers = {
    .images = kImages,
    .volumes = {.read_partitions = read_partition_table,
                .unread_partitions = unread_partition_table,
                .partition_type_name = partition_type_name,
                .is_physical_volume = lvm2::has_label,
                .open_group = lvm2::open_group,
                .most_backup = lvm2::kMostMetadata},
    .detect_known = detect_known_format,
};

}  // namespace

const access::Drivers& all_drivers() { return kDrivers; }

}  // namespace snaptool
