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
  uint64_t bytes = 0;         // that the parent got, or would get
  uint64_t grown_from = 0;    // the parent's size before; as `size` where it did not grow
  uint64_t size = 0;          // of the image
  bool has_identity = false;  // the child's: other images over the parent are refused
};

// Whether the file is an image of a format; a broken one is none. Errors: those of
// Opener::open_path; kUnsupported.
Result<bool> is_child(const access::Context& context, const std::string& path);

// Writes what the child has into its parent, which then shows what the child shows over it: a raw
// one, or one of a format with ImageDriver::update. Any state of it shows the same below the child,
// which stays as it is, so that whatever a crash leaves, the same request goes on. At last, a
// parent of the child's format gets the child's identity: what is over the child may be over it,
// and other images over the parent, which would show something else, are refused. Nothing tells of
// those over a parent without one. Errors: those of Door, Opener and ImageDriver::update;
// kWrongBase when the child is over another parent (Policy::force takes any that has no identity
// all the same); kUnsupported for a parent of another format, and one of a format that has not the
// child's size; kNoSpace when it is too small and cannot grow; kInterrupted.
Result<ChildMerged> merge_child(const access::Context& context, const ChildMergeRequest& request);

}  // namespace snaptool::ops
