// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/vdi/layout.h"
#include "libsnap/access/image_driver.h"

namespace snaptool::vdi {

// VirtualBox's images; formats/vdi/FORMAT.md has their bytes.

// Errors: as access::ImageDriver's.
Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel);
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);
// Makes a dynamic one. Requires: there is no parent; the size is one of whole sectors.
Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options);

}  // namespace snaptool::vdi
