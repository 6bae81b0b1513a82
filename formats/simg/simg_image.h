// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "formats/simg/layout.h"
#include "libsnap/access/image_driver.h"

namespace snaptool::simg {

// Android's sparse images; formats/simg/FORMAT.md has their bytes. All walk the headers of all
// chunks before anything else.

// Errors: as access::ImageDriver's.
Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel);
// Compares no sums.
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);
// An image that was split into several, in their order: of each byte the last one counts that cares
// for it. Requires: there is one. Errors: also kCorruption when they are not of one size.
Result<std::unique_ptr<Image>> open_parts(std::vector<std::shared_ptr<File>> files,
                                          const access::ImageOptions& options);
// Reads all, and compares every CRC-32 that the header and the chunks have; returns whether there
// are any. Errors: kCorruption,
// also where one is wrong; kIo; kInterrupted.
Result<bool> check_sums(File& file, const Cancel& cancel);

}  // namespace snaptool::simg
