// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "libsnap/base/progress.h"
#include "libsnap/io/image.h"

namespace snaptool {

struct CompareOptions {
  // Ranges begin and end at multiples of this many bytes (or at the end of the image): at
  // least 512.
  uint64_t granularity = kSectorSize;
  // A hole and zeros that are stored, and images of different sizes, are different.
  bool strict = false;
};

// A range in which two images differ. Behind the end of the smaller one, zeros are taken for it.
struct Difference {
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t changed_bytes = 0;  // of the range; 0: only one of them is a hole (strict)
};

struct CompareSummary {
  uint64_t ranges = 0;
  uint64_t range_bytes = 0;
  uint64_t changed_bytes = 0;
  uint64_t compared_bytes = 0;      // read from at least one image
  uint64_t same_storage_bytes = 0;  // not read: both have them from the same place
  uint64_t hole_bytes = 0;          // not read: holes in both
  bool sizes_differ = false;
  bool equal(const CompareOptions& options) const {
    return ranges == 0 && !(options.strict && sizes_differ);
  }
};

using DifferenceVisitor = std::function<Result<void>(const Difference&)>;

// Compares two images from job.jobs threads and visits the ranges that differ, lowest first, each
// as long as it is. Reads neither what both have from the same bytes of a file (equal files, an
// origin below its snapshot, reflinked extents) nor what is a hole in both. Memory does not grow
// with the images. Errors: those of Image and of the visitor; kInterrupted.
Result<CompareSummary> compare_images(Image& a, Image& b, const CompareOptions& options,
                                      const DifferenceVisitor& visit, const Job& job);

}  // namespace snaptool
