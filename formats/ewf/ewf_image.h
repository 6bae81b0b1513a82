// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "formats/ewf/layout.h"
#include "libsnap/access/image_driver.h"

namespace snaptool::ewf {

// Expert Witness images (E01); formats/ewf/FORMAT.md has their bytes.

// What the one file says, whichever segment it is. Errors: as access::ImageDriver's.
Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel);
// What all segments say.
Result<access::ImageFacts> read_whole_facts(std::shared_ptr<File> file,
                                            const access::ImageOptions& options);
// Whatever is read of it is compared with the sum of its chunk.
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);
// Whether that leaves no doubt: no segment can be of another image.
Result<bool> checks_reads(std::shared_ptr<File> file, const access::ImageOptions& options);
// Compares the sums of all chunks, and of the whole image those that are stored.
Result<access::SumsFound> check_sums(std::shared_ptr<File> file,
                                     const access::ImageOptions& options, const Job& job);

}  // namespace snaptool::ewf
