// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/access/image_driver.h"
#include "libsnap/io/file.h"

namespace snaptool::raw {

// What becomes of zeros.
enum class Zeros { kHoles, kAllocated };

// Writes the bytes of an image to where they are in it; `unit` is what zeros are told by.
// Requires: the file has the size of the image, or more.
std::unique_ptr<access::ImageWriter> make_writer(File& file, access::Before before, Zeros zeros,
                                                 uint64_t unit);

// The same, as access::ImageDriver::create says.
Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options);

}  // namespace snaptool::raw
