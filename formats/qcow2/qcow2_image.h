// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/qcow2/layout.h"
#include "libsnap/access/image_driver.h"

namespace snaptool::qcow2 {

// QEMU's copy-on-write images, versions 2 and 3, to be read; formats/qcow2/FORMAT.md says what of
// them.

// Reads the header, the table of snapshots and the directory of bitmaps. Errors: as
// access::ImageDriver's.
Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel);

// The image, or a snapshot within it. Its tables are read as they are needed, so that damage is an
// error where it matters only. Errors: as access::ImageDriver's.
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);

}  // namespace snaptool::qcow2
