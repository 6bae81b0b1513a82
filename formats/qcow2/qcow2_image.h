// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/format.h"
#include "formats/qcow2/layout.h"

namespace snaptool::qcow2 {

// QEMU's copy-on-write images, versions 2 and 3, to be read; formats/qcow2/FORMAT.md says what of
// them.

// Reads the header, the table of snapshots and the directory of bitmaps. Errors: as FormatDriver's.
Result<FormatFacts> read_facts(File& file, const Cancel& cancel);

// The image, or a snapshot within it. Its tables are read as they are needed, so that damage is an
// error where it matters only. Errors: as FormatDriver's.
Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file, const FormatOptions& options);

}  // namespace snaptool::qcow2
