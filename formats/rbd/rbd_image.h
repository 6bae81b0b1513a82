// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "libsnap/access/image_driver.h"

namespace snaptool::rbd {

// Ceph's whole images with their snapshots ("rbd export --export-format 2"), as files;
// formats/rbd/FORMAT.md has their bytes.

inline constexpr std::array kImageSettings = {
    access::ImageSetting{"order", "12 to 25: objects of 2^order bytes (default: 22)"},
};

bool has_image_magic(std::span<const std::byte> head);

// Walks all records, but for their data. Errors: as access::ImageDriver's.
Result<access::ImageFacts> read_image_facts(File& file, const Cancel& cancel);

// The image, or a snapshot of it. Memory does not grow with it: of the records of each diff, places
// to look from are known. Errors: as access::ImageDriver's.
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);

// Makes one without snapshots, front to back. What is cut has no end, and is known by that.
// Requires: there is no parent. Errors: kInvalidArgument for options.
Result<std::unique_ptr<access::ImageWriter>> stream_image(ByteSink sink,
                                                          const access::CreateOptions& options);

}  // namespace snaptool::rbd
