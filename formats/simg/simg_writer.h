// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "libsnap/access/image_driver.h"

namespace snaptool::simg {

inline constexpr uint64_t kNewBlock = 4096;  // bytes of a block of an image that is made

inline constexpr std::array kSettings = {
    access::ImageSetting{"zeros",
                         "fill or dont-care: whether zeros are written by who writes the image "
                         "to a device (default: fill)"},
    access::ImageSetting{"crc", "on or off: the CRC-32 of all at the end (default: off)"},
};

// Makes one front to back. What is cut has less chunks than its header says, and is known by that.
// Requires: there is no parent; the size is one of whole blocks. Errors: kInvalidArgument for
// settings; kUnsupported for sizes that are too large.
Result<std::unique_ptr<access::ImageWriter>> stream_image(ByteSink sink,
                                                          const access::CreateOptions& options);

}  // namespace snaptool::simg
