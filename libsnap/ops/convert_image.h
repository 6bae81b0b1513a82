// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/access/image_writer.h"
#include "libsnap/base/progress.h"
#include "libsnap/io/image.h"

namespace snaptool::ops {

struct ConvertOptions {
  // What the new image has below it: what is the same there is left out. nullptr: nothing.
  Image* base = nullptr;
  // Units that are all zeros become zeros; else only what the source knows to be.
  bool detect_zeros = true;
};

struct ConvertResult {
  uint64_t data_bytes = 0;
  uint64_t zero_bytes = 0;  // that were written as such, or not at all
};

// Hands an image to a writer, from job.jobs threads: read, looked at for zeros and compressed in
// parallel, placed in order. Memory does not grow with the image. Errors: those of Image and of the
// writer; kInterrupted. Flushes nothing.
Result<ConvertResult> convert_image(Image& source, access::ImageWriter& writer,
                                    const ConvertOptions& options, const Job& job);

}  // namespace snaptool::ops
