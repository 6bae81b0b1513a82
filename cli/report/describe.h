// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/support/invocation.h"
#include "cli/support/json.h"
#include "libsnap/access/spec.h"

namespace snaptool::cli {

// What info prints of an image: each adds to `json`, and returns lines for a person. Errors: those
// of Opener and disk_facts.

// A file, or a part of one, whatever it is.
Result<std::string> describe_file(const Invocation& invocation, const access::ImageSpec& spec,
                                  Json& json);
// What stores over an origin show.
Result<std::string> describe_view(const Invocation& invocation, const access::ImageSpec& spec,
                                  Json& json);

}  // namespace snaptool::cli
