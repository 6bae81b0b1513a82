// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/support/invocation.h"

namespace snaptool::cli {

// verify --against MANIFEST [IMAGE...]: whether images are what a manifest of 'snaptool hash' or
// sha256sum says; those that it names where none is given. Enters the sandbox. Returns the exit
// status: done, or corrupt where one is not. Errors: those of open_image and ManifestReader;
// kNotFound where the manifest has no sum of an image.
Result<int> verify_against(Invocation& invocation);

}  // namespace snaptool::cli
