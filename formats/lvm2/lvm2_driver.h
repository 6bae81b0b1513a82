// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/lvm2/physical_volume.h"
#include "libsnap/access/volumes.h"

namespace snaptool::lvm2 {

// The group of the devices, as access::VolumeDrivers::open_group says.
Result<std::unique_ptr<access::VolumeGroup>> open_group(std::vector<std::shared_ptr<File>> devices,
                                                        const std::optional<std::string>& backup);

}  // namespace snaptool::lvm2
