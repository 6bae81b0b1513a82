// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "formats/vpc/layout.h"
#include "libsnap/access/image_driver.h"

namespace snaptool::vpc {

// VHD, Microsoft's older format of images; formats/vpc/FORMAT.md has its bytes. QEMU calls it vpc.

inline constexpr std::array kSettings = {
    access::ImageSetting{"subformat",
                         "dynamic (the default), fixed (the disk's bytes, and a footer), "
                         "or azure (fixed, in whole MiB)"},
};

// A fixed one, or one whose beginning is lost, is known by its footer: sum, type and size are
// right.
bool is_footer(std::span<const std::byte> tail, uint64_t size);

// In what units the size of an image with these settings is counted, bytes.
uint64_t size_unit_of(const std::map<std::string, std::string>& settings);

// What a file says before its blocks are looked at.
struct Start {
  Footer footer;
  std::optional<Header> header;  // but for fixed ones
  std::vector<std::string> warnings;
};
// Errors: kCorruption; kUnsupported; kIo.
Result<Start> read_start(File& file);

// Errors: as access::ImageDriver's.
Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel);
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options);
// Requires: there is no parent; the size is one of whole sectors.
Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options);
// Of what a child has written, a sector is the smallest; the image gets the child's UUID at last.
Result<std::unique_ptr<access::ImageWriter>> update_image(File& file,
                                                          const access::UpdateOptions& options);

}  // namespace snaptool::vpc
