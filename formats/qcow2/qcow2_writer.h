// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "libsnap/access/image_driver.h"

namespace snaptool::qcow2 {

inline constexpr std::array kSettings = {
    access::ImageSetting{"cluster_size", "512 to 2M (default: 64k)"},
    access::ImageSetting{"compression_type", "zlib or zstd, of what is compressed (default: zstd)"},
    access::ImageSetting{"extended_l2",
                         "on or off: a cluster has 32 subclusters, which are told apart"},
    access::ImageSetting{"bitmap",
                         "of an overlay: a persistent bitmap of that name marks what it changed"},
    access::ImageSetting{"bitmap_granularity", "of that, 512 to 2G (default: 4k)"},
};

// Makes an image of version 3, in one pass: data and tables as they come, then the L1 table and the
// refcounts, and the header last, so that a crash leaves a file without magic. The same source and
// options make the same bytes. Requires: the file is empty, or a device. Errors: kInvalidArgument
// for options; kUnsupported for sizes that are too large for the clusters.
Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options);

}  // namespace snaptool::qcow2
