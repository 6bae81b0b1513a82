// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "libsnap/access/context.h"
#include "libsnap/access/spec.h"

namespace snaptool::ops {

// An image that is only what changed over its parent, and that parent.
struct ChildMergeRequest {
  access::FileSpec parent;
  std::string child;  // a path
  bool dry_run = false;
};

struct ChildMerged {
  uint64_t bytes = 0;       // that the parent got, or would get
  uint64_t grown_from = 0;  // the parent's size before; as `size` where it did not grow
  uint64_t size = 0;        // of the image
};

// Whether the file is an image of a format; a broken one is none. Errors: those of
// Opener::open_path; kUnsupported.
Result<bool> is_child(const access::Context& context, const std::string& path);

// Writes what the child has into its parent, which then shows what the child shows over it. Only
// a raw parent is written in place: any state of it shows the same below the child, which stays as
// it is, so that whatever a crash leaves, the same request goes on. Other images over the parent
// show something else afterwards; nothing tells of them.
// Errors: those of Door and Opener; kWrongBase when the child names another file as its parent
// (Policy::force takes the parent all the same); kUnsupported for a parent that is not raw;
// kNoSpace when it is too small and cannot grow; kInterrupted.
Result<ChildMerged> merge_child(const access::Context& context, const ChildMergeRequest& request);

}  // namespace snaptool::ops
