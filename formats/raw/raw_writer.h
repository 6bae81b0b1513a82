// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/access/image_writer.h"
#include "libsnap/io/file.h"

namespace snaptool::raw {

// What a raw target has before the image is written to it.
enum class Before {
  kZeros,    // a new file: zeros stay holes
  kUnknown,  // all of the image is written, zeros too
  kPartly,   // perhaps a part of the image already: what is there is not written again
};

// What becomes of zeros.
enum class Zeros { kHoles, kAllocated };

// Writes the bytes of an image to where they are in it; `unit` is what zeros are told by.
// Requires: the file has the size of the image, or more.
std::unique_ptr<access::ImageWriter> make_writer(File& file, Before before, Zeros zeros,
                                                 uint64_t unit);

}  // namespace snaptool::raw
