// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/support/invocation.h"
#include "libsnap/ops/merge.h"

namespace snaptool::cli {

// What a merge prints.

// What it did, or with `dry_run` would do.
Result<void> report_merge(const Invocation& invocation, const ops::MergeRequest& request,
                          const ops::MergeJob& job);
// That -o made a file of the view.
Result<void> report_view(const Invocation& invocation, const ops::MergeRequest& request,
                         const std::string& path);
// What is true of the files of one that stopped, and how it goes on.
std::string stopped_merge(const Invocation& invocation, const ops::MergeRequest& request,
                          const ops::MergeJob& job);
// The command that goes on where this one stopped.
std::string resume_merge(const Invocation& invocation, const ops::MergeRequest& request);

}  // namespace snaptool::cli
