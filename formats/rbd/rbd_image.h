// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "formats/format.h"

namespace snaptool::rbd {

// Ceph's whole images with their snapshots ("rbd export --export-format 2"), as files;
// formats/rbd/FORMAT.md has their bytes.

inline constexpr std::array kImageSettings = {
    FormatSetting{"order", "12 to 25: objects of 2^order bytes (default: 22)"},
};

bool has_image_magic(std::span<const std::byte> head);

// Walks all records, but for their data. Errors: as FormatDriver's.
Result<FormatFacts> read_image_facts(File& file, const Cancel& cancel);

// The image, or a snapshot of it. Memory does not grow with it: of the records of each diff, places
// to look from are known. Errors: as FormatDriver's.
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file, const FormatOptions& options);

// Makes one without snapshots, front to back. What is cut has no end, and is known by that.
// Requires: there is no parent. Errors: kInvalidArgument for options.
Result<std::unique_ptr<ImageWriter>> stream_image(ByteSink sink, const CreateOptions& options);

}  // namespace snaptool::rbd
