// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "libsnap/access/image_driver.h"

namespace snaptool::vmdk {

// VMware's images; formats/vmdk/FORMAT.md has their bytes.

inline constexpr std::array kSettings = {
    access::ImageSetting{"subformat",
                         "monolithicSparse, or streamOptimized, which is compressed (default: "
                         "monolithicSparse; to a pipe and with --compress, streamOptimized)"},
    access::ImageSetting{"adapter_type", "lsilogic, buslogic, pvscsi or ide (default: lsilogic)"},
    access::ImageSetting{"name",
                         "what the file is called in its descriptor (default: its name; to a "
                         "pipe, disk.vmdk)"},
};

bool has_magic(std::span<const std::byte> head);
// Whether it is a descriptor, which names the files with the content.
bool is_descriptor(std::span<const std::byte> head);
// Errors: as access::ImageDriver's.
Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel);
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);
// Makes a monolithicSparse one, or a streamOptimized one in a new file. Requires: there is no
// parent; the size is one of whole sectors. Errors: kInvalidArgument for settings; kUnsupported for
// what is too large.
Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options);
// Makes a streamOptimized one. Requires and errors: the same.
Result<std::unique_ptr<access::ImageWriter>> stream_image(ByteSink sink,
                                                          const access::CreateOptions& options);

}  // namespace snaptool::vmdk
