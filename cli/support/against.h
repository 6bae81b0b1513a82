// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/support/invocation.h"

namespace snaptool::cli {

// verify --against MANIFEST IMAGE: whether an image is what a manifest of 'snaptool hash' or
// sha256sum says. Returns the exit status: done, or corrupt where it is not. Errors: those of
// open_image and ManifestReader.
Result<int> verify_against(Invocation& invocation);

}  // namespace snaptool::cli
