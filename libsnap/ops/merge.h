// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/access/door.h"
#include "libsnap/snap/merge/merge.h"
#include "libsnap/snap/view/origin.h"

namespace snaptool::ops {

// A merge of a store into its origin, which may have other snapshots: how merge and a session do
// it.
class OriginMerge {
 public:
  struct Options {
    MergeOptions merge;
    // A sibling that has no room for what it must keep is invalidated, as in the kernel; else that
    // is refused.
    bool may_invalidate = false;
    // What it is merged into, if that is a view: there has to be room in its store.
    const Snapshot* view = nullptr;
  };

  // Checks everything and writes nothing: the store, room where chunks are written to and where
  // siblings keep them, and that the store is of this origin. Requires: `origin` has the siblings,
  // and not the snapshot that is merged; `file` is what origin.image() shows; all outlive this.
  // Errors: those of Merge::begin; kNoSpace; kWrongBase, unless Policy::force.
  static Result<std::unique_ptr<OriginMerge>> prepare(const access::Context& context,
                                                      Origin& origin, File& file, File& cow,
                                                      const Options& options);

  Merge& merge() { return *merge_; }
  // Has the siblings keep, durably, what the merge will overwrite, and then merges. Errors: those
  // of Origin::copy_out_for_merge and Merge::run. Crash, error: prepare and run again go on.
  Result<void> run(const access::Context& context);

 private:
  OriginMerge(Origin& origin, File& cow) : origin_(origin), cow_(cow) {}
  Result<void> keep_for_siblings(const Cancel& cancel);

  Origin& origin_;
  File& cow_;
  std::unique_ptr<Merge> merge_;
};

// A SHA-256 as text, in lower case. Errors: kInvalidArgument for anything else.
Result<std::string> parse_expected(std::string text);

// "50M" (bytes a second) or "30%" (of the time). Errors: kInvalidArgument.
Result<RateLimit> parse_rate_limit(const std::string& text);

struct MergeRequest {
  access::ImageSpec image;  // the origin, and stores over it: the topmost is merged
  // Stores over that one, the lowest first: they are merged into the same origin. Not with
  // siblings, undo_file, salvage or an origin that is a view.
  std::vector<access::FileSpec> flatten;
  std::vector<access::FileSpec> siblings;  // other snapshots of the origin, which keep their views
  std::optional<std::string> undo_file;    // what takes it back is kept there
  std::optional<std::string> expected;     // the SHA-256 of the view, 64 hex digits
  MergeOptions options;
  bool dry_run = false;
};

// Makes an origin what the view of its snapshot is, in place. Policy::force waives what can be
// wrong: the origin's identity, entries behind the end of the list, too little space, siblings that
// lose their views.
class MergeJob {
 public:
  // Opens and checks everything; writes nothing but an undo file that is new. Errors: those of
  // Door::open_disk and OriginMerge::prepare; kWrongBase when the view has another sum; those of
  // Merge::keep_undo; kUnsupported for an undo file with a stack.
  static Result<std::unique_ptr<MergeJob>> prepare(const access::Context& context,
                                                   const MergeRequest& request);

  // The merge of the lowest store; those of `flatten` come after it.
  const Merge& merge() const { return merges_.front()->merge(); }
  // Of all stores: exceptions and runs that there were at the start, bytes to be copied then, and
  // what was cleared since.
  uint64_t exceptions() const;
  uint64_t runs() const;
  uint64_t bytes_to_copy() const;
  uint64_t merged_exceptions() const;
  // Whether entries lie behind the end of a list, as a crash leaves them.
  bool has_tail() const;
  // Whether the undo file was there with nothing in it: what an earlier run merged is not kept.
  bool undo_was_empty() const { return undo_was_empty_; }

  // Requires: no dry run. Errors: those of OriginMerge::run. Crash, error: nothing is lost, and
  // the same request goes on.
  Result<void> run();

 private:
  MergeJob(const access::Context& context, Access access);
  Result<void> open(const MergeRequest& request);
  Result<void> prepare_merges(const MergeRequest& request);
  Result<void> check_space();
  TailKeeper keeper_of(const access::FileSpec& upper);
  Result<void> check_expected(const std::string& expected);
  Result<void> keep_undo(const std::string& path, bool dry_run);

  const access::Context context_;
  access::Door door_;
  access::Disk disk_;
  std::vector<std::unique_ptr<Snapshot>> siblings_;
  std::optional<Origin> origin_;
  size_t stores_ = 1;  // of disk_.cows that are merged; the others are siblings
  std::vector<std::unique_ptr<OriginMerge>> merges_;
  std::shared_ptr<File> undo_;
  bool undo_was_empty_ = false;
};

// What the view of a store over an origin is, to be written elsewhere.
struct MergedView {
  access::OpenPair pair;
  std::unique_ptr<Image> base;
  std::unique_ptr<Image> view;
  // Bytes of the origin behind its last whole sector, which are no part of the view.
  uint64_t tail() const { return pair.origin->size() - view->size(); }
};
// Opens a pair and makes the same checks as a merge in place. Requires: image has one store.
// Errors: as MergeJob::prepare.
Result<MergedView> prepare_view(access::Door& door, const MergeRequest& request);
// Makes a new file of it. Errors: those of Door::make_file and Image; kCorruption when, read back
// on request.options.verify, it is not the view.
Result<void> write_view(access::Door& door, MergedView& view, const MergeRequest& request,
                        const std::string& path);
// Hands its bytes to a sink. Errors: those of Image and of the sink.
Result<void> stream_view(access::Door& door, MergedView& view, const ByteSink& sink);

}  // namespace snaptool::ops
