// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "libsnap/access/door.h"
#include "libsnap/diff/export.h"

namespace snaptool::ops {

struct ExportRequest {
  access::ImageSpec image;
  // What the diff is to be applied to; nothing: the origin of a view, or, if `full`, nothing.
  std::optional<access::ImageSpec> base;
  bool full = false;
  bool reverse = false;                     // of a view, from it back to its origin
  std::optional<access::FileSpec> changes;  // the images differ only where it has exceptions
  const access::ChangeDriver* driver = nullptr;
  int level = 0;  // of compression
  ExportOptions options;
  // Both images are read in full for their sums, which `changes` is checked by.
  bool whole_sums = false;
  // All of both is read, whatever file systems say of holes and shared blocks.
  bool verify = false;
};

struct Exported {
  ChangeEnd end;
  uint64_t size = 0;   // of the image, bytes
  bool links = false;  // the diff says which state it follows
};

// Writes what changed between two images as a diff, to a new file, a pipe, or standard output
// ("-"). Errors: those of open_image, export_changes and access::ByteOutput; kWrongBase when
// `changes` is of another disk; kInvalidArgument for what does not go together.
Result<Exported> export_diff(const access::Context& context, const ExportRequest& request,
                             const std::string& path);

}  // namespace snaptool::ops
