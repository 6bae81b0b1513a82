// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "libsnap/access/image_driver.h"

namespace snaptool::dm_snapshot {

inline constexpr std::array kSettings = {
    access::ImageSetting{"chunk_size", "512 to 2M, a power of 2 (default: 4k)"},
};

bool has_magic(std::span<const std::byte> head);

// Makes a store whose view over its origin, options.parent, is the image: a chunk that differs is
// an exception. The store is as large as it must be; `resize` makes room in it. The format has no
// way to say another size than the origin's. Errors: kInvalidArgument without a parent, and for
// settings.
Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options);

// The view of a store over its parent. Errors: those of SnapshotImage; kInvalidArgument without a
// parent.
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);

}  // namespace snaptool::dm_snapshot
