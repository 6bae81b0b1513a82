// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "libsnap/access/plain_disk.h"
#include "libsnap/base/check.h"
#include "libsnap/base/sha256.h"
#include "libsnap/copy/copy_image.h"
#include "libsnap/ops/check_equal.h"
#include "libsnap/ops/room.h"
#include "libsnap/snap/view/identity.h"
#include "libsnap/snap/view/snapshot_image.h"

namespace snaptool::ops {
namespace {

using access::Context;

// What names itself on the origin must not have another name in the view: then the store belongs to
// another origin.
Result<void> check_identities(const Context& context, File& origin, File& cow, bool salvage) {
  const auto compared = contradictions_of(origin, cow, context.cancel);
  if (!compared) {
    if (!salvage || compared.error().code() != ErrorCode::kIo) return compared.error();
    context.notices.warn(fmt::format("the view's UUIDs are not compared with the origin's: {}",
                                     compared.error().describe()));
    return {};
  }
  if (compared->empty()) return {};
  if (context.policy.force) {
    context.notices.warn(compared->front());
    return {};
  }
  return Error(ErrorCode::kWrongBase,
               fmt::format("{}: '{}' may be a snapshot of another disk; nothing was written",
                           compared->front(), cow.name()))
      .with_remedy(Remedy::kForce);
}

// The sum of the view must be the one that was expected.
Result<void> check_sum(const Context& context, Image& view, const std::string& expected) {
  Sha256 hash;
  {
    const access::Phase phase(context, "hashing", view.size());
    const auto update = [&](std::span<const std::byte> bytes) -> Result<void> {
      hash.update(bytes);
      return {};
    };
    SNAP_TRY(stream_image(view, 0, view.size(), update, phase.job()));
  }
  const std::string sum = hash.finish();
  if (sum != expected) {
    return Error(
        ErrorCode::kWrongBase,
        fmt::format("the view's SHA-256 is {}, not the expected {}: nothing was written (is it the "
                    "right origin?)",
                    sum, expected));
  }
  context.notices.say("the view has the expected SHA-256");
  return {};
}

MergeOptions options_of(const Context& context, const MergeRequest& request) {
  MergeOptions options = request.options;
  options.discard_tail = options.discard_tail || context.policy.force;
  options.ignore_space = options.ignore_space || context.policy.force;
  // What was copied leaves the cache when it is flushed.
  if (context.policy.leave_cache) options.batch_bytes = std::min(options.batch_bytes, 32 * kMiB);
  return options;
}

// What a store and another one over it show.
struct TwoViews {
  std::unique_ptr<SnapshotImage> lower;
  std::unique_ptr<SnapshotImage> upper;
};

// Whether each sector of the entry's data is in one of the views: then they lose nothing by it.
Result<bool> either_shows(TwoViews& views, PersistentStore& store, const Exception& entry) {
  const auto source = store.layout().chunk_offset(entry.new_chunk);
  const auto target = store.layout().chunk_offset(entry.old_chunk);
  const uint64_t size = views.lower->size();
  if (!source || entry.new_chunk >= store.cow_chunks() || !target || *target >= size) return false;
  const uint64_t length = std::min(store.chunk_bytes(), size - *target);
  std::array<std::vector<std::byte>, 3> pieces;
  for (uint64_t done = 0; done < length; done += kIoPiece) {
    for (auto& piece : pieces) piece.resize(std::min(kIoPiece, length - done));
    SNAP_TRY(store.cow().read_at(*source + done, pieces[0]));
    SNAP_TRY(views.lower->read_at(*target + done, pieces[1]));
    SNAP_TRY(views.upper->read_at(*target + done, pieces[2]));
    for (uint64_t at = 0; at < pieces[0].size(); at += kSectorSize) {
      const auto is = [&](const std::vector<std::byte>& other) {
        return std::memcmp(&pieces[0][at], &other[at], kSectorSize) == 0;
      };
      if (!is(pieces[1]) && !is(pieces[2])) return false;
    }
  }
  return true;
}

// The stores below the one that is merged: what it is merged into.
access::ImageSpec origin_of(const access::ImageSpec& image) {
  return {image.base, {image.stores.begin(), image.stores.end() - 1}, {}};
}

}  // namespace

Result<std::string> parse_expected(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos) {
    return text;
  }
  return Error(ErrorCode::kInvalidArgument, "a SHA-256 has 64 hex digits");
}

Result<RateLimit> parse_rate_limit(const std::string& text) {
  RateLimit limit;
  if (text.ends_with('%')) {
    const char* const end = text.data() + text.size() - 1;
    const auto [parsed, ec] = std::from_chars(text.data(), end, limit.percent);
    if (ec == std::errc() && parsed == end && limit.percent >= 1 && limit.percent <= 100) {
      return limit;
    }
  } else if (auto bytes = parse_size(text); bytes && *bytes > 0) {
    limit.bytes_per_second = *bytes;
    return limit;
  }
  return Error(
      ErrorCode::kInvalidArgument,
      fmt::format("a rate is bytes a second (50M) or a part of the time, 1% to 100% (30%), "
                  "not '{}'",
                  text));
}

Result<std::unique_ptr<OriginMerge>> OriginMerge::prepare(const Context& context, Origin& origin,
                                                          File& file, File& cow,
                                                          const Options& options) {
  std::unique_ptr<OriginMerge> merge(new OriginMerge(origin, cow));
  Progress unseen;
  SNAP_ASSIGN(merge->merge_,
              Merge::begin(file, cow, options.merge, {unseen, context.cancel, context.jobs}));
  std::vector<const Snapshot*> stores;
  if (options.view != nullptr) stores.push_back(options.view);
  if (!options.may_invalidate) {
    stores.insert(stores.end(), origin.snapshots().begin(), origin.snapshots().end());
  }
  SNAP_TRY(check_room_for_merge(stores, cow, context.cancel));
  SNAP_TRY(check_identities(context, file, cow, options.merge.salvage));
  return merge;
}

Result<void> OriginMerge::keep_for_siblings(const Cancel& cancel) {
  if (origin_.snapshots().empty()) return {};
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(cow_));
  if (store.state() == StoreState::kNone) return {};
  SNAP_TRY(store.read_metadata(cancel));
  SNAP_TRY(origin_.copy_out_for_merge(store, cancel));
  for (Snapshot* const sibling : origin_.snapshots()) SNAP_TRY(sibling->flush());
  return {};
}

Result<void> OriginMerge::run(const Context& context) {
  if (auto kept = keep_for_siblings(context.cancel); !kept) {
    return std::move(kept).error().with_context("keeping what siblings show");
  }
  const access::Phase phase(context, "merging", merge_->bytes_to_copy());
  return merge_->run(phase.job());
}

MergeJob::MergeJob(const Context& context, Access access)
    : context_(context), door_(context, access::operations::kMerge, access) {}


bool MergeJob::has_tail() const {
  return std::any_of(merges_.begin(), merges_.end(), [](const auto& merge) {
    return merge->merge().report().count(DefectCode::kLiveBehindTerminator) > 0;
  });
}

template <typename Figure>
static uint64_t sum_of(const std::vector<std::unique_ptr<OriginMerge>>& merges, Figure figure) {
  uint64_t sum = 0;
  for (const auto& merge : merges) sum += figure(merge->merge());
  return sum;
}

uint64_t MergeJob::exceptions() const {
  return sum_of(merges_, [](const Merge& merge) { return merge.report().exceptions; });
}
uint64_t MergeJob::runs() const {
  return sum_of(merges_, [](const Merge& merge) { return merge.report().runs; });
}
uint64_t MergeJob::bytes_to_copy() const {
  return sum_of(merges_, [](const Merge& merge) { return merge.bytes_to_copy(); });
}
uint64_t MergeJob::merged_exceptions() const {
  return sum_of(merges_, [](const Merge& merge) { return merge.merged_exceptions(); });
}

Result<void> MergeJob::open(const MergeRequest& request) {
  std::vector<access::FileSpec> cows = {request.image.stores.back()};
  cows.insert(cows.end(), request.flatten.begin(), request.flatten.end());
  stores_ = cows.size();
  cows.insert(cows.end(), request.siblings.begin(), request.siblings.end());
  SnapshotOptions snapshot;
  snapshot.discard_tail = context_.policy.force;
  SnapshotOptions lower = snapshot;
  lower.kind = StoreKind::kPersistentOverflow;
  lower.tail_keeper = keeper_of(request.image.stores.back());
  SNAP_ASSIGN(disk_, door_.open_disk(origin_of(request.image), cows, lower));
  origin_.emplace(*disk_.image);
  for (size_t i = stores_; i < disk_.cows.size(); ++i) {
    SNAP_ASSIGN(auto sibling,
                Snapshot::open(*disk_.image, disk_.cows[i].look(), snapshot, context_.cancel));
    origin_->add(*sibling);
    siblings_.push_back(std::move(sibling));
  }
  return {};
}

// What an interrupted merge wrote to the store below, it has itself until that is durable.
TailKeeper MergeJob::keeper_of(const access::FileSpec& upper) {
  return
      [this, upper, views = std::make_shared<TwoViews>(), cow = std::shared_ptr<File>()](
          Image& origin, PersistentStore& store, const Exception& entry) mutable -> Result<bool> {
        constexpr auto kChecked = SnapshotImage::Damage::kChecked;
        if (views->upper == nullptr) {
          SNAP_ASSIGN(cow, door_.opener().open(upper, {Access::kReadWrite}));
          SNAP_ASSIGN(views->lower,
                      SnapshotImage::open(origin, store.cow(), kChecked, context_.cancel));
          SNAP_ASSIGN(views->upper,
                      SnapshotImage::open(*views->lower, *cow, SnapshotImage::Damage::kRefuse,
                                          context_.cancel));
        }
        return either_shows(*views, store, entry);
      };
}

Result<void> MergeJob::check_expected(const std::string& expected) {
  std::vector<std::unique_ptr<SnapshotImage>> views;
  for (size_t i = 0; i < stores_; ++i) {
    Image& below = views.empty() ? *disk_.image : *views.back();
    SNAP_ASSIGN(auto view, SnapshotImage::open(below, disk_.cows[i].look(),
                                               SnapshotImage::Damage::kChecked, context_.cancel));
    views.push_back(std::move(view));
  }
  return check_sum(context_, *views.back(), expected);
}

Result<void> MergeJob::keep_undo(const std::string& path, bool dry_run) {
  SNAP_ASSIGN(undo_, door_.find_notes(path, "the undo file"));
  const bool is_new = undo_ == nullptr;
  if (is_new) {
    if (dry_run || exceptions() == 0) return {};
    SNAP_ASSIGN(undo_, door_.make_notes(path));
  } else {
    SNAP_ASSIGN(undo_was_empty_, UndoJournal::is_blank(*undo_));
  }
  Progress unseen;
  auto kept = merges_.front()->merge().keep_undo(*undo_, {unseen, context_.cancel, context_.jobs});
  if (kept || !is_new) return kept;
  const auto removed = context_.files.remove(path);
  return removed ? kept : std::move(kept).error().with_note(removed.error().describe());
}

// All are checked before the first is merged. From the topmost down: what it hides is left out of
// those below.
Result<void> MergeJob::prepare_merges(const MergeRequest& request) {
  OriginMerge::Options options;
  options.merge = options_of(context_, request);
  // Several are looked at together.
  const bool check_all_space = stores_ > 1 && !options.merge.ignore_space;
  options.merge.ignore_space |= check_all_space;
  options.view = disk_.snapshot;
  for (size_t i = stores_; i-- > 0;) {
    File& cow = disk_.cows[i].look();
    SNAP_ASSIGN(auto merge, OriginMerge::prepare(context_, *origin_, disk_.look(), cow, options));
    const bool has_store = merge->merge().report().count(DefectCode::kNoStore) == 0;
    merges_.insert(merges_.begin(), std::move(merge));
    if (i == 0 || !has_store) continue;
    SNAP_ASSIGN(PersistentStore store, PersistentStore::open(cow));
    SNAP_TRY(options.merge.upper.add(store, context_.cancel));
  }
  return check_all_space ? check_space() : Result<void>();
}

Result<void> MergeJob::check_space() {
  const auto left = disk_.look().space_left();
  if (!left || *left >= bytes_to_copy()) return {};
  uint64_t holes = 0;
  for (const auto& merge : merges_) {
    SNAP_ASSIGN(const uint64_t more, merge->merge().holes_to_fill(context_.cancel));
    holes += more;
  }
  if (*left >= holes) return {};
  return no_space_for_holes(disk_.look(), holes, *left);
}

static Result<void> check_flatten(const MergeRequest& request) {
  if (request.flatten.empty()) return {};
  if (request.image.stores.size() > 1) {
    return Error(ErrorCode::kUnsupported,
                 "--flatten into a view: name its origin, and its stores with --flatten");
  }
  if (request.siblings.empty() && !request.undo_file && !request.options.salvage) return {};
  return Error(ErrorCode::kInvalidArgument,
               "--flatten does not go with --sibling, --undo or --salvage: merge the stores one by "
               "one, the lowest first");
}

Result<std::unique_ptr<MergeJob>> MergeJob::prepare(const Context& context,
                                                    const MergeRequest& request) {
  SNAP_TRY(access::check_is_view(request.image));
  if (request.image.stores.size() > 1 && request.undo_file) {
    return Error(ErrorCode::kUnsupported,
                 "a merge into a view keeps no undo file: merge without --undo");
  }
  SNAP_TRY(check_flatten(request));
  std::unique_ptr<MergeJob> job(
      new MergeJob(context, request.dry_run ? Access::kRead : Access::kReadWrite));
  SNAP_TRY(job->open(request));
  SNAP_TRY(job->prepare_merges(request));
  if (job->merge().report().count(DefectCode::kNoStore) > 0) {
    context.notices.warn(fmt::format("'{}' is all zeros, a new store: is it the right file?",
                                     request.image.stores.back().name()));
  }
  if (request.expected) SNAP_TRY(job->check_expected(*request.expected));
  if (request.undo_file) SNAP_TRY(job->keep_undo(*request.undo_file, request.dry_run));
  return job;
}

Result<void> MergeJob::run() {
  SNAP_CHECK(disk_.top.writable() && disk_.cows.front().writable());
  // A store is empty, durably, before an exception of one above it is cleared: what that hides of
  // it has not been merged.
  for (const auto& merge : merges_) SNAP_TRY(merge->run(context_));
  access::say_shared(context_.notices, disk_.look());
  return {};
}

Result<MergedView> prepare_view(access::Door& door, const MergeRequest& request) {
  const Context& context = door.context();
  MergedView merged;
  SNAP_ASSIGN(merged.pair, open_pair(door.opener(), request.image));
  MergeOptions options = options_of(context, request);
  options.ignore_space = true;  // the origin gets nothing
  File& origin = *merged.pair.origin;
  File& cow = *merged.pair.cow;
  SNAP_TRY(access::check_no_plain_disk(context, cow));
  Progress unseen;
  SNAP_ASSIGN(const auto merge,
              Merge::begin(origin, cow, options, {unseen, context.cancel, context.jobs}));
  if (merge->report().count(DefectCode::kNoStore) > 0) {
    context.notices.warn(
        fmt::format("'{}' is all zeros, a new store: is it the right file?", cow.name()));
  }
  SNAP_TRY(check_identities(context, origin, cow, false));
  merged.base = std::make_unique<RawImage>(origin, origin.size());
  SNAP_ASSIGN(merged.view, SnapshotImage::open(*merged.base, cow, SnapshotImage::Damage::kChecked,
                                               context.cancel));
  if (request.expected) SNAP_TRY(check_sum(context, *merged.view, *request.expected));
  return merged;
}

Result<void> write_view(access::Door& door, MergedView& merged, const MergeRequest& request,
                        const std::string& path) {
  const Context& context = door.context();
  File& origin = *merged.pair.origin;
  Image& view = *merged.view;
  SNAP_ASSIGN(const auto output, door.make_file(path, origin.size()));
  {
    const access::Phase phase(context, "merging", view.size());
    SNAP_TRY(
        copy_image(view, 0, view.size(), output->file(), output->starts_zeroed(), phase.job()));
    access::say_shared(context.notices, output->file());
    std::vector<std::byte> rest(merged.tail());
    SNAP_TRY(origin.read_at(view.size(), rest));
    SNAP_TRY(output->file().write_at(view.size(), rest));
  }
  if (request.options.verify) {
    RawImage made(output->file(), view.size());
    SNAP_TRY(check_equal(context, view, made, "the new file", "the view"));
  }
  return output->commit();
}

Result<void> stream_view(access::Door& door, MergedView& merged, const ByteSink& sink) {
  const access::Phase phase(door.context(), "merging", merged.view->size());
  SNAP_TRY(stream_image(*merged.view, 0, merged.view->size(), sink, phase.job()));
  return stream_image(*merged.base, merged.view->size(), merged.tail(), sink, phase.job());
}

}  // namespace snaptool::ops
