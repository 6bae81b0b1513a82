// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "formats/vhdx/layout.h"
#include "libsnap/access/image_driver.h"

namespace snaptool::vhdx {

// Hyper-V's images; formats/vhdx/FORMAT.md has their bytes.

inline constexpr std::array kSettings = {
    access::ImageSetting{"subformat", "dynamic or fixed (default: dynamic)"},
    access::ImageSetting{"block_size", "1M to 256M (default: 32M)"},
};

// Errors: as access::ImageDriver's.
Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel);
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);
// Requires: there is no parent; the size is one of whole sectors.
Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options);

}  // namespace snaptool::vhdx
