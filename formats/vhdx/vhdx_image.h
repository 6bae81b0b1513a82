// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "formats/vhdx/layout.h"
#include "formats/vhdx/replayed_file.h"
#include "libsnap/access/image_driver.h"

namespace snaptool::vhdx {

// Hyper-V's images; formats/vhdx/FORMAT.md has their bytes.

inline constexpr std::array kSettings = {
    access::ImageSetting{"subformat", "dynamic or fixed (default: dynamic)"},
    access::ImageSetting{"block_size", "1M to 256M (default: 32M)"},
};

// What a file says before its blocks are looked at.
struct Start {
  Header header;
  std::unique_ptr<ReplayedFile> replayed;  // nullptr: the log is empty
  Regions regions;
  Metadata metadata;
  ParentLocator parent;  // of a differencing image
  std::vector<std::string> warnings;
};
// Errors: kCorruption; kUnsupported; kIo; kInterrupted.
Result<Start> read_start(File& file, const Cancel& cancel);

// Errors: as access::ImageDriver's.
Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel);
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);
// Requires: there is no parent; the size is one of whole sectors.
Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options);
// The image gets the data write GUID of the child at last, or another one. Errors: kUnsupported for
// a differencing image, and for one whose log is not empty.
Result<std::unique_ptr<access::ImageWriter>> update_image(File& file,
                                                          const access::UpdateOptions& options);

}  // namespace snaptool::vhdx
