// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/access/image_driver.h"

namespace snaptool::raw {

// A raw image is the bytes of its file.
Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel);
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);

}  // namespace snaptool::raw
