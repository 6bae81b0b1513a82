// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "libsnap/access/image_driver.h"

namespace snaptool::raw {

inline constexpr std::string_view kPartSize = "part_size";
inline constexpr std::array kSettings = {
    access::ImageSetting{kPartSize,
                         "split it into files of so many bytes, OUT being named like the first one "
                         "(x.001, x.aa)"},
};

// Makes a split raw image, the last part of which may be shorter. Errors: kInvalidArgument for
// settings.
Result<std::unique_ptr<access::ImageWriter>> stream_parts(access::PartsSink sink,
                                                          const access::CreateOptions& options);

}  // namespace snaptool::raw
