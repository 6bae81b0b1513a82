// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/apply.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "libsnap/access/medium.h"
#include "libsnap/access/opener.h"
#include "libsnap/access/pending_apply.h"
#include "libsnap/access/stream.h"
#include "libsnap/base/check.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/copy/copy_image.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/diff/untouched.h"
#include "libsnap/ops/room.h"

namespace snaptool::ops {
namespace {

using access::Context;
using access::Phase;

Error not_the_base(const std::string& image, const std::string& diff) {
  return {ErrorCode::kWrongBase,
          fmt::format("'{}' is not the base of '{}': its content differs", image, diff)};
}

// Before anything is written: all of the base must be the first diff's, and what becomes of it,
// what the last one names.
Result<Known> verify_whole(const Context& context, Apply& apply, Image* base, bool resizable,
                           const ChainCheck& checked, const OpenDiffs& diffs) {
  const ChangeEnd& first = checked.ends.front();
  const ChangeEnd& last = checked.ends.back();
  const bool full = apply.shape().full;
  if (!full && !first.base_sum && !first.base_content) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' does not say what its base is, as a whole: it was exported of "
                             "a view, or of its changes, and not of whole images",
                             diffs.name(0)))
        .with_remedy(Remedy::kExportWhole);
  }
  const Phase phase(context, "verifying",
                    std::max(apply.shape().base_size, apply.shape().final_size()));
  const bool with_sums = first.base_sum || last.target_sum;
  SNAP_ASSIGN(const WholeSums sums, apply.whole_sums(base, resizable, with_sums, phase.job()));
  const bool right_base =
      full || ((!first.base_sum || *first.base_sum == sums.base_sum) &&
               (!first.base_content || *first.base_content == sums.base_content));
  if (!right_base) return not_the_base(base->name(), diffs.name(0));
  if ((last.target_sum && *last.target_sum != sums.target_sum) ||
      (last.target_content && *last.target_content != sums.target_content)) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' does not have all that changed up to the image that it names: "
                             "applied, it would make another one",
                             diffs.name(diffs.count() - 1)));
  }
  return Known::kAll;
}

// When the changes are there: the image must be what the last diff names.
Result<Known> verify_result(const Context& context, Image& image, uint64_t size,
                            const ChainCheck& checked, const OpenDiffs& diffs) {
  const ChangeEnd& last = checked.ends.back();
  if (!last.target_sum && !last.target_content) return Known::kChanges;
  const Phase phase(context, "verifying", size);
  bool right = image.size() >= size;
  if (right && last.target_sum) {
    SNAP_ASSIGN(const auto sums, hash_range(image, 0, size, {HashAlgorithm::kSha256}, phase.job()));
    right = sums.front() == hex_of(*last.target_sum);
  } else if (right) {
    SNAP_CHECK(image.size() == size);
    SNAP_ASSIGN(const ContentId content, content_id_of(image, phase.job()));
    right = content == *last.target_content;
  }
  if (right) return Known::kAll;
  return Error(
      ErrorCode::kWrongBase,
      fmt::format("'{}' has all changes of '{}', but different content elsewhere: it is not "
                  "the image that this leads to",
                  image.name(), diffs.name(diffs.count() - 1)));
}

Result<void> check_spool(const DiffSet& diffs) {
  if (!diffs.spool.empty() || diffs.stream == nullptr) return {};
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("where should {} be kept until it is applied?", diffs.stream->name()))
      .with_remedy(Remedy::kNameSpool);
}

void warn_of_unchecked(const Context& context, const Apply& apply, const OpenDiffs& diffs) {
  if (apply.shape().has_old_sums) return;
  context.notices.warn(fmt::format(
      "'{}' has no checksums: whether the image is its base cannot be checked", diffs.name(0)));
}

// The beginning of the base into the new file: as a clone where the file system can.
Result<void> copy_base(const Context& context, access::OpenImage& base, uint64_t length,
                       OutputFile& output) {
  if (base.layers.size() == 1) {
    SNAP_ASSIGN(const bool cloned, output.clone(*base.files.front(), length));
    if (cloned) {
      context.notices.say("the base is cloned: both files share its blocks");
      return {};
    }
  }
  context.notices.say("the base is copied: it cannot be cloned to there");
  const Phase phase(context, "copying the base", length);
  SNAP_TRY(copy_image(base.image(), 0, length, output.file(), output.starts_zeroed(), phase.job()));
  access::say_shared(context.notices, output.file());
  return {};
}

}  // namespace

Spool::~Spool() {
  // Left over, it would only be in the way.
  if (!is_used() || needed_) return;
  try {
    (void)files_->remove(path_);
  } catch (const std::bad_alloc&) {  // it is gone; how that is told has no room
  }
}

// So all of it is checked before anything is written, a line that is cut changes nothing, and what
// is applied can be applied again after a crash.
Result<void> Spool::receive(access::Door& door, DataSource& stream, const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' already exists: if an apply was interrupted, give it as the "
                             "diff instead of the stream; else remove it, or name another",
                             path))
        .with_remedy(Remedy::kNameSpool);
  }
  SNAP_ASSIGN(const auto output, door.make_file(path, 0));
  output->limit_permissions(0600);
  const Phase phase(door.context(), "receiving");
  RawBytes buffer(kIoPiece);
  uint64_t at = 0;
  while (true) {
    SNAP_ASSIGN(const uint64_t size, stream.read(buffer));
    if (size == 0) break;
    SNAP_TRY(output->file().resize(at + size));
    SNAP_TRY(output->file().write_at(at, std::span(buffer).first(size)));
    at += size;
    phase.job().progress.add(size);
  }
  SNAP_TRY(output->commit());
  files_ = &door.context().files;
  path_ = path;
  return {};
}

Result<void> OpenDiffs::open(access::Door& door, const DiffSet& diffs) {
  if (std::count(diffs.paths.begin(), diffs.paths.end(), "-") > 1) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} can be only one of the diffs", diffs.stream->name()));
  }
  for (const std::string& path : diffs.paths) {
    if (path != "-") {
      SNAP_ASSIGN(auto file, access::ChangeFile::open(door.opener(), path));
      files_.push_back(std::move(file));
      continue;
    }
    SNAP_TRY(spool_.receive(door, *diffs.stream, diffs.spool));
    SNAP_ASSIGN(auto file,
                access::ChangeFile::open(door.opener(), diffs.spool, diffs.stream->name()));
    files_.push_back(std::move(file));
  }
  return {};
}

Result<Apply> OpenDiffs::apply(uint64_t image_size, const ApplyRequest& request) const {
  SNAP_ASSIGN(Chain chain,
              Chain::open(access::links_of(files_), image_size, request.diffs.linking));
  return Apply(std::move(chain), request.options);
}

std::vector<std::string> OpenDiffs::paths() const {
  std::vector<std::string> paths;
  for (const auto& changes : files_) paths.push_back(changes->file().name());
  return paths;
}

Result<Sha256::Digest> OpenDiffs::fingerprint(const Cancel& cancel) const {
  constexpr uint64_t kEnds = 4096;
  Sha256 sum;
  RawBytes bytes;
  for (const auto& changes : files_) {
    File& file = changes->file();
    const uint64_t size = file.size();
    const std::string text = fmt::format("{}\n", size);
    sum.update(std::as_bytes(std::span(text)));
    const auto add = [&](uint64_t at, uint64_t length) -> Result<void> {
      bytes.resize(length);
      SNAP_TRY(file.read_at(at, bytes));
      sum.update(bytes);
      return {};
    };
    if (changes->driver().has_sums) {
      SNAP_TRY(add(0, std::min(size, kEnds)));
      SNAP_TRY(add(size - std::min(size, kEnds), std::min(size, kEnds)));
      continue;
    }
    for (uint64_t at = 0; at < size; at += kIoPiece) {
      if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      SNAP_TRY(add(at, std::min(kIoPiece, size - at)));
    }
  }
  return sum.finish_digest();
}

Result<void> OpenDiffs::settle(const access::Context& context) const {
  for (const auto& changes : files_) {
    File& file = changes->file();
    SNAP_TRY(access::trust_only_medium(context, file));
    // Not every folder may be read, nor can each be flushed.
    if (const auto flushed = context.files.flush_name(file.name()); !flushed) {
      context.notices.say(
          fmt::format("a power cut may take away the name of '{}', if it is new: {}", file.name(),
                      flushed.error().describe()));
    }
  }
  return {};
}

Result<std::unique_ptr<ApplyJob>> ApplyJob::prepare(const Context& context,
                                                    const ApplyRequest& request,
                                                    const access::ImageSpec& image,
                                                    const std::optional<std::string>& journal) {
  std::unique_ptr<ApplyJob> job(new ApplyJob(context, request));
  SNAP_TRY(job->open(image, journal));
  SNAP_TRY(job->find_journal());
  SNAP_TRY(job->check());
  return job;
}

Result<void> ApplyJob::open(const access::ImageSpec& image,
                            const std::optional<std::string>& journal) {
  SnapshotOptions lower;
  lower.kind = StoreKind::kPersistentOverflow;
  lower.discard_tail = context_.policy.force;
  lower.tail_keeper = [&](Image&, PersistentStore& store, const Exception& entry) -> Result<bool> {
    SNAP_TRY(find_place(image.stores.back().path(), journal));
    return will_write_again(store, entry);
  };
  SNAP_ASSIGN(disk_, door_.open_disk(image, {}, lower));
  const bool is_file = disk_.top.is_file();
  resizable_ = is_file && disk_.snapshot == nullptr;
  const std::string beside = is_file ? disk_.top.spec().path() : "";
  if (!is_file && !journal) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not a whole file: where should the journal be kept while the "
                             "diff is applied?",
                             access::name_of(image)))
        .with_remedy(Remedy::kNameJournal);
  }
  SNAP_TRY(find_place(beside, journal));
  DiffSet diffs = request_.diffs;
  if (diffs.spool.empty() && is_file) diffs.spool = beside + ".snaptool-spool";
  SNAP_TRY(check_spool(diffs));
  SNAP_TRY(diffs_.open(door_, diffs));
  return diffs_.settle(context_);
}

// Of the journal. `file` is empty where it is no whole file.
Result<void> ApplyJob::find_place(const std::string& file,
                                  const std::optional<std::string>& journal) {
  const auto pending = file.empty() ? std::nullopt : access::pending_apply_of(file);
  marked_ = file;
  journal_path_ = journal.value_or(pending.value_or(access::apply_journal_of(file)));
  if (!pending || access::id_of(*pending) == access::id_of(journal_path_)) return {};
  return Error(ErrorCode::kBusy,
               fmt::format("an apply to '{}' is half done: finish it first, by its journal '{}'",
                           file, *pending));
}

// Whether what a commit that was cut left of an entry is of windows that are written again. (What
// lies before these is durable, and in the list.)
Result<bool> ApplyJob::will_write_again(PersistentStore& store, const Exception& entry) {
  if (journal_file_ == nullptr) SNAP_TRY(find_journal());
  const auto start = store.layout().chunk_offset(entry.old_chunk);
  if (!journal_ || !start) return false;
  if (!writes_) SNAP_TRY(find_writes());
  const uint64_t end = *start + store.chunk_bytes();
  return std::any_of(writes_->begin(), writes_->end(), [&](const ByteRange& range) {
    return range.offset < end && *start < range.offset + range.length;
  });
}

// The windows that the diffs write again; none where the journal is of other diffs.
Result<void> ApplyJob::find_writes() {
  writes_.emplace();
  if (request_.diffs.stream != nullptr) return {};
  OpenDiffs diffs;
  SNAP_TRY(diffs.open(door_, request_.diffs));
  SNAP_ASSIGN(const auto chain, diffs.fingerprint(context_.cancel));
  const ApplyJournal::Identity& begun = journal_->identity();
  if (chain != begun.chain) return {};
  SNAP_ASSIGN(Apply apply, diffs.apply(begun.base_size, request_));
  const ApplyProgress& progress = journal_->progress();
  const Phase phase(context_, "reading the diffs");
  const auto add = [&](uint64_t offset, uint64_t length, ChangeKind /*kind*/) -> Result<void> {
    const uint64_t first = offset / kWindowBytes;
    const uint64_t end = (offset + length - 1) / kWindowBytes + 1;
    if (end <= progress.begin || first >= progress.end) return {};
    const ByteRange range{first * kWindowBytes, (end - first) * kWindowBytes};
    if (!writes_->empty() && writes_->back().offset + writes_->back().length >= range.offset) {
      writes_->back().length = range.offset + range.length - writes_->back().offset;
    } else {
      writes_->push_back(range);
    }
    return {};
  };
  SNAP_TRY(apply.check(nullptr, Apply::BaseSize::kAtLeast, false, std::nullopt, phase.job(), add));
  return {};
}

// The journal of an apply that did not finish, or nothing.
Result<void> ApplyJob::find_journal() {
  if (journal_file_ != nullptr) return {};
  SNAP_ASSIGN(journal_file_, door_.find_notes(journal_path_, "the journal"));
  if (journal_file_ == nullptr) return {};
  SNAP_ASSIGN(journal_, ApplyJournal::open(*journal_file_));
  resumes_ = journal_.has_value();
  if (resumes_ && request_.without_journal) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("there is a journal, '{}': the apply continues from it", journal_path_));
  }
  return {};
}

// That they are for this image, and for this journal.
Result<void> ApplyJob::check_diffs() {
  File& file = disk_.file();
  // Interrupted, the file may have another size already.
  const uint64_t size = journal_ ? journal_->identity().base_size : file.size();
  SNAP_ASSIGN(apply_, diffs_.apply(size, request_));
  if (apply_->shape().full) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a full diff, which would replace '{}'", diffs_.name(0),
                             file.name()))
        .with_remedy(Remedy::kNameOutput);
  }
  if (request_.without_journal && !apply_->shape().has_old_sums) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' has no checksums, so all of it is always written, whatever "
                             "'{}' has: apply it without --resume-without-journal",
                             diffs_.name(0), file.name()));
  }
  warn_of_unchecked(context_, *apply_, diffs_);
  SNAP_ASSIGN(identity_.chain, diffs_.fingerprint(context_.cancel));
  identity_.base_size = apply_->shape().base_size;
  identity_.final_size = apply_->shape().final_size();
  if (journal_ && !journal_->identity().same_diffs(identity_)) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' is the journal of another apply, which was interrupted: finish "
                             "that one first, with its diffs",
                             journal_path_));
  }
  return {};
}

Result<void> ApplyJob::check() {
  SNAP_TRY(check_diffs());
  File& file = disk_.file();
  std::optional<ApplyProgress> done;
  if (request_.without_journal) done = ApplyProgress{0, UINT64_MAX};
  if (journal_) done = journal_->progress();
  // Threads take turns with a view.
  RawImage image(file, file.size());
  RoomCounter room(disk_.snapshot, file);
  UntouchedBlocks untouched(std::min({file.size(), identity_.base_size, identity_.final_size}));
  {
    const Phase phase(context_, "checking");
    const auto count = [&](uint64_t offset, uint64_t length, ChangeKind kind) {
      untouched.touch(offset, length);
      const bool takes_none = disk_.snapshot == nullptr && kind != ChangeKind::kData;
      return takes_none ? Result<void>() : room.add(offset, length);
    };
    const auto rule = resizable_ ? Apply::BaseSize::kExact : Apply::BaseSize::kAtLeast;
    SNAP_ASSIGN(checked_, apply_->check(&image, rule, resizable_, done, phase.job(), count));
  }
  SNAP_ASSIGN(identity_.untouched, untouched.sum(image));
  if (!marked_.empty()) {
    const access::FileMark mark = access::mark_of(marked_);
    identity_.file = mark.id;
    identity_.born = mark.born;
  }
  SNAP_TRY(check_same_image());
  result_.bytes = checked_.bytes;
  result_.child_id = checked_.ends.back().child_id;
  result_.nothing_to_do = checked_.is_applied() &&
                          (!resizable_ || file.size() == apply_->shape().final_size()) &&
                          !(request_.without_journal && identity_.final_size > identity_.base_size);
  if (result_.nothing_to_do) return {};
  if (request_.verify_base && !resumes_ && !request_.without_journal) {
    SNAP_ASSIGN(result_.known,
                verify_whole(context_, *apply_, &image, resizable_, checked_, diffs_));
  }
  return room.check("the diff", context_.policy.force);
}

// What the journal belongs to is a file, not a name.
Result<void> ApplyJob::check_same_image() {
  if (!journal_) return {};
  const ApplyJournal::Identity& begun = journal_->identity();
  const std::string name = disk_.file().name();
  if (begun.untouched != identity_.untouched) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' is not the image that the interrupted apply of '{}' was writing "
                             "to: it differs where the diffs change nothing (if it was put there "
                             "instead, remove the journal)",
                             name, journal_path_));
  }
  if (begun.same_file(identity_) || context_.policy.force) return {};
  return Error(ErrorCode::kWrongBase,
               fmt::format("'{}' is another file than the one to which the apply of '{}' was "
                           "interrupted",
                           name, journal_path_))
      .with_remedy(Remedy::kTakeCopy);
}

// Only an image that is really to be written to gets one.
Result<void> ApplyJob::make_journal() {
  if (journal_) return {};
  if (!marked_.empty()) access::mark_pending_apply(marked_, journal_path_);
  SNAP_ASSIGN(journal_, ApplyJournal::create(*journal_file_, identity_));
  // All of it may be half done, now and when this run is interrupted, too.
  if (request_.without_journal) SNAP_TRY(journal_->set({0, UINT64_MAX}));
  return {};
}

// Before the journal promises anything: where there is no room, nothing was begun.
Result<void> ApplyJob::make_room(const ApplyTarget& target) {
  const bool is_new = journal_file_ == nullptr;
  if (is_new) {
    SNAP_ASSIGN(journal_file_, door_.make_notes(journal_path_));
  }
  File& file = disk_.file();
  const uint64_t size = file.size();
  // Nothing says what is there instead of the zeros of a larger image.
  if (request_.without_journal && resizable_ && size > identity_.base_size) {
    SNAP_TRY(file.resize(identity_.base_size));
  }
  auto room = journal_ ? Result<void>() : journal_file_->reserve(0, ApplyJournal::kFileSize);
  if (room) room = apply_->grow(target);
  if (!room && is_new) remove_journal();
  return room;
}

Result<void> ApplyJob::write() {
  const ApplyTarget target{&disk_.file(), resizable_, false};
  half_done_ = resumes_;
  SNAP_TRY(make_room(target));
  SNAP_TRY(make_journal());
  diffs_.spool().keep(true);
  half_done_ = true;
  const Phase phase(context_, "applying", checked_.bytes);
  return apply_->write(target, checked_, &*journal_, phase.job());
}

Result<void> ApplyJob::settle() {
  // What was found to be there may be in the page cache only.
  SNAP_TRY(disk_.file().flush());
  return journal_ ? journal_->set(ApplyProgress::finished()) : Result<void>();
}

// A finished journal is of no use, and in the way of other commands.
void ApplyJob::remove_journal() {
  if (journal_file_ == nullptr) return;
  if (!marked_.empty()) access::unmark_pending_apply(marked_);
  if (const auto removed = context_.files.remove(journal_path_); !removed) {
    context_.notices.warn(
        fmt::format("the journal of the apply is of no use any more, but cannot be removed: {}",
                    removed.error().describe()));
  }
}

Result<ApplyResult> ApplyJob::run() {
  SNAP_TRY(result_.nothing_to_do ? settle() : write());
  half_done_ = false;
  diffs_.spool().keep(false);
  remove_journal();
  if ((request_.verify_base || request_.without_journal) && result_.known == Known::kChanges) {
    // What lies behind it, on a device or in a view, is not the image's.
    const uint64_t size = apply_->shape().final_size();
    RawImage after(disk_.file(), std::min(size, disk_.file().size()));
    SNAP_ASSIGN(result_.known, verify_result(context_, after, size, checked_, diffs_));
  }
  return result_;
}

Result<ApplyResult> apply_to_new(const Context& context, const ApplyRequest& request,
                                 const std::optional<access::ImageSpec>& image,
                                 const std::string& path) {
  access::Door door(context, access::operations::kOutput);
  access::OpenImage base;
  if (image) {
    SNAP_ASSIGN(base, open_image(door.opener(), *image));
  }
  SNAP_ASSIGN(const auto stream, access::StreamTarget::open(
                                     path, access::StreamTarget::Content::kText, context.cancel));
  if (stream && !stream.discards()) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is a pipe or terminal: an image is written to a file", path));
  }
  DiffSet set = request.diffs;
  if (set.spool.empty() && !stream) set.spool = path + ".snaptool-spool";
  SNAP_TRY(check_spool(set));
  OpenDiffs diffs;
  SNAP_TRY(diffs.open(door, set));
  Image* const old = image ? &base.image() : nullptr;
  SNAP_ASSIGN(Apply apply, diffs.apply(old != nullptr ? old->size() : 0, request));
  if (old == nullptr && !apply.shape().full) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not a full diff: name the image that it is for, after it",
                             diffs.name(0)));
  }
  if (old != nullptr) warn_of_unchecked(context, apply, diffs);
  // What is not kept is checked all the same.
  std::unique_ptr<OutputFile> output;
  if (!stream) {
    SNAP_ASSIGN(output, door.make_file(path, apply.shape().final_size()));
  }
  const bool fresh = output == nullptr || output->starts_zeroed();
  ChainCheck checked;
  {
    const Phase phase(context, "checking");
    SNAP_ASSIGN(checked,
                apply.check(old, Apply::BaseSize::kExact, fresh, std::nullopt, phase.job()));
  }
  ApplyResult result{checked.bytes, false, checked.ends.back().child_id,
                     apply.shape().full ? Known::kAll : Known::kChanges};
  if (request.verify_base) {
    SNAP_ASSIGN(result.known, verify_whole(context, apply, old, fresh, checked, diffs));
  }
  if (output == nullptr) return result;
  if (old != nullptr) SNAP_TRY(copy_base(context, base, apply.shape().kept_size(), *output));
  {
    const Phase phase(context, "applying", checked.bytes);
    SNAP_TRY(apply.write({&output->file(), fresh, fresh}, checked, nullptr, phase.job()));
  }
  SNAP_TRY(output->commit());
  return result;
}

}  // namespace snaptool::ops
