// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/access/door.h"
#include "libsnap/snap/merge/undo.h"

namespace snaptool::ops {

struct UndoRequest {
  access::ImageSpec image;                 // an origin and its COW
  std::vector<access::FileSpec> siblings;  // other snapshots of the origin, which keep their views
  std::string undo_file;
  bool dry_run = false;
};

// Takes back a merge that kept an undo file.
class UndoJob {
 public:
  // Opens and checks everything, writes nothing. Errors: those of Door::open_disk and Undo::begin;
  // kNotFound without an undo file; kNoSpace in a sibling; kUnsupported for a stack.
  static Result<std::unique_ptr<UndoJob>> prepare(const access::Context& context,
                                                  const UndoRequest& request);

  const Undo& undo() const { return *undo_; }
  // Requires: no dry run. Errors: those of Undo::run. Crash, error: nothing is lost, and the same
  // request goes on.
  Result<void> run();

 private:
  UndoJob(const access::Context& context, Access access)
      : context_(context), door_(context, access::operations::kUndo, access) {}

  Result<void> open_siblings();
  Result<void> check_space();

  const access::Context context_;
  access::Door door_;
  access::Disk disk_;
  std::shared_ptr<File> notes_;
  std::vector<std::unique_ptr<Snapshot>> siblings_;
  std::optional<Origin> origin_;
  std::unique_ptr<Undo> undo_;
};

}  // namespace snaptool::ops
