// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/stdio.h"
#include "cli/writing.h"
#include "libsnap/base/sha256.h"
#include "libsnap/copy/copy_image.h"
#include "libsnap/diff/compare.h"
#include "libsnap/io/image_file.h"
#include "libsnap/io/output_file.h"
#include "libsnap/snap/identity.h"
#include "libsnap/snap/merge.h"
#include "libsnap/snap/origin.h"
#include "libsnap/snap/snapshot_image.h"
#include "libsnap/snap/undo_journal.h"

namespace snaptool::cli {
namespace {

// The stores below the one that is merged: what it is merged into.
access::ImageSpec origin_of(const access::ImageSpec& spec) {
  return {spec.base, {spec.stores.begin(), spec.stores.end() - 1}, {}};
}

// What --salvage left.
std::string unreadable_text(const Merge& merge, const access::ImageSpec& spec) {
  constexpr size_t kShown = 20;
  std::string text = fmt::format("unreadable in '{}':\n", spec.stores.back().name());
  size_t shown = 0;
  for (const auto& [entry, cause] : merge.unreadable()) {
    if (shown++ == kShown) break;
    text += fmt::format("  COW chunk {}, for origin chunk {}: {}\n", entry.new_chunk,
                        entry.old_chunk, cause);
  }
  if (merge.unreadable_count() > kShown) {
    text += fmt::format("  and {} more (--output=json lists up to {})\n",
                        merge.unreadable_count() - kShown, Merge::kUnreadableKept);
  }
  return text;
}

// What LVM does not know yet; nothing when it has nothing to do with it.
std::string lvm_note(const access::ImageSpec& spec) {
  const access::Part* const volume = spec.stores.back().volume();
  if (volume == nullptr || !volume->own_bytes) return {};
  return fmt::format(
      "LVM still has the snapshot '{0}', which now shows no more than its origin: 'lvremove {0}'\n"
      "drops it (if LVM was merging it, it finishes by itself at the next activation)\n",
      volume->group + "/" + volume->volume);
}

// Says what the merge did, or with `dry_run` would do.
Result<void> report_merge(const Invocation& invocation, const access::ImageSpec& spec,
                          const Merge& merge, uint64_t exceptions, bool dry_run,
                          bool undo_was_empty) {
  const bool empty = exceptions == 0;
  if (invocation.json()) {
    Json json = {{"format_version", 1},
                 {"origin", access::name_of(origin_of(spec))},
                 {"cow", spec.stores.back().name()},
                 {"dry_run", dry_run},
                 {"exceptions", exceptions},
                 {"runs", merge.report().runs},
                 {"bytes", merge.bytes_to_copy()}};
    if (merge.unreadable_count() > 0) {
      json["unreadable_count"] = merge.unreadable_count();
      json["kept_exceptions"] = merge.kept_exceptions();
      json["unreadable"] = Json::array();
      for (const auto& [entry, cause] : merge.unreadable()) {
        json["unreadable"].push_back(
            {{"old_chunk", entry.old_chunk}, {"new_chunk", entry.new_chunk}, {"cause", cause}});
      }
    }
    return invocation.report(json.text());
  }
  if (empty)
    return invocation.report(
        fmt::format("'{}' is empty: nothing to merge\n", spec.stores.back().name()));
  if (merge.unreadable_count() > 0) {
    return invocation.report(unreadable_text(merge, spec));
  }
  std::string text = fmt::format("{} {} exceptions ({}, {} runs) of '{}' into '{}'\n",
                                 dry_run ? "would merge" : "merged", exceptions,
                                 format_size(merge.bytes_to_copy()), merge.report().runs,
                                 spec.stores.back().name(), access::name_of(origin_of(spec)));
  if (dry_run) {
    text +=
        "The origin would become what the snapshot shows. If the snapshot was written to,\n"
        "that commits these writes; if the origin was written to after the snapshot was\n"
        "made, it rolls the origin back. The store does not say which. Nothing was written.\n";
  } else if (const auto undo = invocation.value("undo")) {
    text += fmt::format(
        "'snaptool undo{} {} {} {}' {}\n", invocation.has("format") ? " -f raw" : "",
        shell_quoted(*undo), operand_for(origin_of(spec)), operand_for(spec.stores.back()),
        undo_was_empty ? "takes back what this command merged; the undo file was empty, and "
                         "what another merged before is not in it"
                       : "brings both back");
  }
  if (!dry_run) text += lvm_note(spec);
  return invocation.report(text);
}

// The sum of the view must be the one that was expected.
Result<void> check_expected(const Invocation& invocation, File& origin, File& cow,
                            const std::string& expected) {
  RawImage base(origin, origin.size());
  SNAP_ASSIGN(const auto view,
              SnapshotImage::open(base, cow, SnapshotImage::Damage::kChecked, invocation.cancel()));
  Progress progress;
  progress.set_size(view->size());
  Sha256 hash;
  {
    const ProgressReporter reporter("hashing", invocation.progress_style(), progress);
    SNAP_TRY(stream_image(
        *view, 0, view->size(),
        [&](std::span<const std::byte> bytes) -> Result<void> {
          hash.update(bytes);
          return {};
        },
        invocation.job(progress)));
  }
  const std::string sum = hash.finish();
  if (sum != expected) {
    return Error(
        ErrorCode::kWrongBase,
        fmt::format("the view's SHA-256 is {}, not the expected {}: nothing was written (is it the "
                    "right origin?)",
                    sum, expected));
  }
  invocation.say("the view has the expected SHA-256");
  return {};
}

// What names itself on the origin must not have another name in the view: then the store belongs to
// another origin.
Result<void> check_identities(const Invocation& invocation, File& origin, File& cow) {
  const auto compared = contradictions_of(origin, cow, invocation.cancel());
  if (!compared) {
    if (!invocation.has("salvage") || compared.error().code() != ErrorCode::kIo) {
      return compared.error();
    }
    invocation.warn(fmt::format("the view's UUIDs are not compared with the origin's: {}",
                                compared.error().describe()));
    return {};
  }
  const std::vector<std::string>& found = *compared;
  if (found.empty()) return {};
  if (invocation.has("force")) {
    invocation.warn(found.front());
    return {};
  }
  return Error(
      ErrorCode::kWrongBase,
      fmt::format("{}: '{}' may be a snapshot of another disk; nothing was written (--force "
                  "merges all the same)",
                  found.front(), cow.name()));
}

Result<std::optional<std::string>> expected_sum(const Invocation& invocation) {
  auto text = invocation.value("expect");
  if (!text) return text;
  std::transform(text->begin(), text->end(), text->begin(), [](char c) {
    return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (text->size() != 64 || text->find_first_not_of("0123456789abcdef") != std::string::npos) {
    return Error(ErrorCode::kInvalidArgument, "--expect takes a SHA-256: 64 hex digits");
  }
  return text;
}

// What file systems say of holes, or of blocks that two files share, is not believed.
Result<void> verify_copy(const Invocation& invocation, Image& view, File& copy) {
  RawImage made(copy, view.size());
  UnmappedImage a(view);
  UnmappedImage b(made);
  Progress progress;
  progress.set_size(view.size());
  const ProgressReporter reporter("verifying", invocation.progress_style(), progress);
  const auto differs = [](const Difference& difference) -> Result<void> {
    return Error(ErrorCode::kCorruption,
                 fmt::format("the new file differs from the view at byte {}", difference.offset));
  };
  SNAP_TRY(compare_images(a, b, {}, differs, invocation.job(progress)));
  return {};
}

void warn_if_new(const Invocation& invocation, const Merge& merge, const File& cow) {
  if (merge.report().count(DefectCode::kNoStore) == 0) return;
  invocation.warn(fmt::format("'{}' is all zeros, a new store: is it the right file?", cow.name()));
}

Result<int> merge_into_new_file(Invocation& invocation, const access::ImageSpec& spec,
                                const MergeOptions& options) {
  const OpenOptions open_options{Access::kRead, invocation.force_share()};
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const auto origin, opener.open(spec.base, open_options));
  SNAP_ASSIGN(const auto cow, opener.open(spec.stores.back(), open_options));
  SNAP_TRY(access::check_origin_and_cow(invocation.access(), spec.base, *origin, *cow));
  Progress progress;
  const Job job = invocation.job(progress);
  SNAP_ASSIGN(const auto merge, Merge::begin(*origin, *cow, options, job));
  warn_if_new(invocation, *merge, *cow);
  SNAP_ASSIGN(const auto expected, expected_sum(invocation));
  SNAP_TRY(check_identities(invocation, *origin, *cow));
  if (expected) SNAP_TRY(check_expected(invocation, *origin, *cow, *expected));
  RawImage base(*origin, origin->size());
  SNAP_ASSIGN(const auto view,
              SnapshotImage::open(base, *cow, SnapshotImage::Damage::kChecked, job.cancel));

  // What lies behind the origin's last whole sector is no part of the view, but of the file.
  const uint64_t tail = origin->size() - view->size();
  const std::string target = *invocation.value("out");
  progress.set_size(view->size());
  SNAP_TRY(access::check_output_name(target));
  SNAP_ASSIGN(const auto stream, StreamTarget::open(target, StreamTarget::Content::kBinary));
  if (stream && options.verify) {
    return Error(ErrorCode::kInvalidArgument, "--verify: a pipe cannot be read back");
  }
  if (stream) {
    const auto write = [&](std::span<const std::byte> bytes) {
      return write_all(stream.fd(), bytes);
    };
    const ProgressReporter reporter("merging", invocation.progress_style(), progress);
    SNAP_TRY(stream_image(*view, 0, view->size(), write, job));
    SNAP_TRY(stream_image(base, view->size(), tail, write, job));
    return kExitDone;
  }
  SNAP_ASSIGN(const auto output,
              OutputFile::create(target, origin->size(), {origin.get(), cow.get()},
                                 invocation.has("force")));
  {
    const ProgressReporter reporter("merging", invocation.progress_style(), progress);
    SNAP_TRY(copy_image(*view, 0, view->size(), output->file(), output->starts_zeroed(), job));
    std::vector<std::byte> rest(tail);
    SNAP_TRY(origin->read_at(view->size(), rest));
    SNAP_TRY(output->file().write_at(view->size(), rest));
  }
  if (options.verify) SNAP_TRY(verify_copy(invocation, *view, output->file()));
  SNAP_TRY(output->commit());
  SNAP_TRY(invocation.report(invocation.json()
                                 ? std::string("{\"format_version\": 1, \"dry_run\": false}\n")
                                 : fmt::format("wrote the view to '{}'\n", target)));
  return kExitDone;
}

// The command that goes on where this one stopped.
std::string resume_command(const Invocation& invocation, const access::ImageSpec& spec) {
  std::string command = "snaptool merge";
  for (const char* flag : {"verify", "salvage", "force", "accept-duplicates"}) {
    if (invocation.has(flag)) command += fmt::format(" --{}", flag);
  }
  if (const auto format = invocation.value("format")) command += " -f " + *format;
  if (const auto undo = invocation.value("undo")) command += " --undo " + shell_quoted(*undo);
  for (const std::string& sibling : invocation.values("sibling")) {
    command += " --sibling " + shell_quoted(sibling);
  }
  if (const auto rate = invocation.value("rate-limit")) command += " -r " + *rate;
  return fmt::format("{} {} {}", command, operand_for(origin_of(spec)),
                     operand_for(spec.stores.back()));
}

// "50M" (bytes a second) or "30%" (of the time).
Result<RateLimit> rate_limit(const Invocation& invocation) {
  RateLimit limit;
  const auto text = invocation.value("rate-limit");
  if (!text) return limit;
  if (text->ends_with('%')) {
    const char* const end = text->data() + text->size() - 1;
    const auto [parsed, ec] = std::from_chars(text->data(), end, limit.percent);
    if (ec == std::errc() && parsed == end && limit.percent >= 1 && limit.percent <= 100) {
      return limit;
    }
  } else if (auto bytes = parse_size(*text); bytes && *bytes > 0) {
    limit.bytes_per_second = *bytes;
    return limit;
  }
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("--rate-limit takes bytes a second (50M) or a part of the time, 1% to "
                           "100% (30%), not '{}'",
                           *text));
}

struct UndoFile {
  std::unique_ptr<PosixFile> file;
  bool was_empty = false;  // it was there, with nothing in it: what runs before merged is not kept
};

// Has the merge keep its undo file, which is made if it is not there.
Result<UndoFile> keep_undo(const Invocation& invocation, const access::OpenPair& pair, Merge& merge,
                           const Job& job) {
  const auto path = invocation.value("undo");
  const bool dry_run = invocation.has("dry-run");
  UndoFile undo;
  if (!path) return undo;
  SNAP_TRY(access::check_output_name(*path));
  SNAP_ASSIGN(undo.file,
              access::find_undo_file(*path, pair, dry_run ? Access::kRead : Access::kReadWrite));
  const bool is_new = undo.file == nullptr;
  if (is_new) {
    if (dry_run || merge.report().exceptions == 0) return undo;
    SNAP_ASSIGN(undo.file, PosixFile::create(*path));
  }
  if (!is_new) {
    SNAP_ASSIGN(undo.was_empty, UndoJournal::is_blank(*undo.file));
  }
  if (auto kept = merge.keep_undo(*undo.file, job); !kept) {
    if (is_new) std::remove(path->c_str());
    return kept.error();
  }
  return undo;
}

// What is merged into what: a pair of files, or a store into a view.
struct Opened {
  access::OpenPair pair;
  access::OpenTarget lower;  // of a stack
  std::unique_ptr<ImageFile> lower_file;
  // Other snapshots of the origin, which keep their views.
  std::vector<std::shared_ptr<File>> sibling_cows;
  std::unique_ptr<RawImage> raw;  // what these stand on, but for a stack
  std::vector<std::unique_ptr<Snapshot>> siblings;

  File& origin() { return lower_file ? static_cast<File&>(*lower_file) : *pair.origin; }
  Image& image() { return lower_file ? *lower.top : static_cast<Image&>(*raw); }
};

Result<void> open_siblings(const Invocation& invocation, access::Opener& opener, Opened& opened,
                           const access::FileSpec& base,
                           const std::vector<access::FileSpec>& siblings, Access access) {
  if (siblings.empty()) return {};
  std::vector<File*> others = opened.lower.files();
  if (!opened.lower_file) {
    opened.raw = std::make_unique<RawImage>(*opened.pair.origin, opened.pair.origin->size());
    others = {opened.pair.origin.get()};
  }
  others.push_back(opened.pair.cow.get());
  SnapshotOptions options;
  options.discard_tail = invocation.has("force");
  for (const access::FileSpec& sibling : siblings) {
    SNAP_ASSIGN(auto cow,
                access::open_cow(invocation.access(), opener, base, sibling, others, access));
    others.push_back(cow.get());
    SNAP_ASSIGN(auto snapshot, Snapshot::open(opened.image(), *cow, options, invocation.cancel()));
    opened.sibling_cows.push_back(std::move(cow));
    opened.siblings.push_back(std::move(snapshot));
  }
  return {};
}

Result<Opened> open_files(const Invocation& invocation, const access::ImageSpec& spec,
                          const std::vector<access::FileSpec>& siblings, Access access) {
  Opened opened;
  access::Opener opener(invocation.access());
  if (access == Access::kReadWrite) {
    for (const access::FileSpec& sibling : siblings) opener.expect_writes(sibling);
  }
  if (spec.stores.size() == 1) {
    SNAP_ASSIGN(opened.pair, access::open_pair(invocation.access(), opener, spec, access));
  } else {
    SnapshotOptions options;
    options.kind = StoreKind::kPersistentOverflow;
    options.discard_tail = invocation.has("force");
    if (access == Access::kReadWrite) opener.expect_writes(spec.stores.back());
    SNAP_ASSIGN(opened.lower,
                access::open_target(invocation.access(), opener, origin_of(spec), options, access));
    SNAP_ASSIGN(opened.pair.cow,
                access::open_cow(invocation.access(), opener, spec.base, spec.stores.back(),
                                 opened.lower.files(), access));
    opened.lower_file = std::make_unique<ImageFile>(*opened.lower.top);
  }
  SNAP_TRY(open_siblings(invocation, opener, opened, spec.base, siblings, access));
  return opened;
}

// A store below must have room for what it gets, and siblings for what they must keep, before
// anything is written.
Result<void> check_room(const Invocation& invocation, const Opened& opened) {
  std::vector<const Snapshot*> snapshots;
  if (opened.lower.snapshot() != nullptr) snapshots.push_back(opened.lower.snapshot());
  for (const auto& sibling : opened.siblings) snapshots.push_back(sibling.get());
  if (snapshots.empty()) return {};
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(*opened.pair.cow));
  if (store.state() == StoreState::kNone) return {};
  SNAP_ASSIGN(ExceptionTable table, ExceptionTable::load(store, invocation.cancel()));
  for (const Snapshot* const snapshot : snapshots) {
    const uint64_t needed = snapshot->exceptions_needed_to_merge(table, store.chunk_bytes());
    if (needed > snapshot->room()) return no_room(*snapshot, needed, "the merge");
  }
  return {};
}

// Has the siblings keep, durably, what the merge will overwrite.
Result<void> keep_for_siblings(Opened& opened, const Job& job) {
  if (opened.siblings.empty()) return {};
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(*opened.pair.cow));
  if (store.state() == StoreState::kNone) return {};
  SNAP_TRY(store.read_metadata(job.cancel));
  Origin origin(opened.image());
  for (const auto& sibling : opened.siblings) origin.add(*sibling);
  if (auto kept = origin.copy_out_for_merge(store, job.cancel); !kept) {
    return std::move(kept).error().with_context("keeping what siblings show");
  }
  for (const auto& sibling : opened.siblings) SNAP_TRY(sibling->flush());
  return {};
}

Result<std::vector<access::FileSpec>> sibling_operands(const Invocation& invocation) {
  std::vector<access::FileSpec> siblings;
  for (const std::string& text : invocation.values("sibling")) {
    SNAP_ASSIGN(access::FileSpec sibling, cow_operand(invocation, text));
    siblings.push_back(std::move(sibling));
  }
  return siblings;
}

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, origin_and_cow_operands(invocation));
  const bool stacked = spec.stores.size() > 1;
  if (stacked && (invocation.has("undo") || invocation.has("out"))) {
    return Error(ErrorCode::kUnsupported,
                 invocation.has("undo")
                     ? "an undo file for a merge into a view"
                     : "-o with a stack of stores: 'snaptool read A@C1@C2 -o NEW' writes its view");
  }
  SNAP_ASSIGN(const auto expected, expected_sum(invocation));
  MergeOptions options;
  options.accept_duplicates = invocation.has("accept-duplicates");
  options.verify = invocation.has("verify");
  options.discard_tail = invocation.has("force");
  options.ignore_space = invocation.has("force");
  options.salvage = invocation.has("salvage");
  SNAP_ASSIGN(options.rate, rate_limit(invocation));
  const bool dry_run = invocation.has("dry-run");
  options.only_look = dry_run || invocation.has("out");
  if (invocation.has("out")) {
    if (dry_run || options.salvage || invocation.has("undo") || invocation.has("rate-limit") ||
        invocation.has("sibling")) {
      return Error(ErrorCode::kInvalidArgument,
                   "--dry-run, --salvage, --undo, --sibling and --rate-limit go with a merge in "
                   "place, not with -o");
    }
    options.ignore_space = true;  // the origin gets nothing
    return merge_into_new_file(invocation, spec, options);
  }
  if (invocation.force_share() && !dry_run) {
    return Error(
        ErrorCode::kInvalidArgument,
        "--force-share is for reading only: with --dry-run or -o, not with a merge in place");
  }

  SNAP_ASSIGN(const std::vector<access::FileSpec> siblings, sibling_operands(invocation));
  if (!stacked) {
    std::vector<access::FileSpec> known = spec.stores;
    known.insert(known.end(), siblings.begin(), siblings.end());
    SNAP_TRY(access::check_siblings(invocation.access(), spec.base, known));
  }
  SNAP_ASSIGN(Opened opened,
              open_files(invocation, spec, siblings, dry_run ? Access::kRead : Access::kReadWrite));
  const access::OpenPair& pair = opened.pair;
  File& origin = opened.origin();
  File& cow = *pair.cow;
  Progress progress;
  const Job job = invocation.job(progress);
  const auto merge = Merge::begin(origin, cow, options, job);
  if (!merge) return merge.error();
  const uint64_t exceptions = (*merge)->report().exceptions;
  warn_if_new(invocation, **merge, cow);
  if ((*merge)->report().count(DefectCode::kLiveBehindTerminator) > 0) {
    invocation.say("entries behind the end of the list, left by a crash, are cleared first");
  }
  SNAP_TRY(check_room(invocation, opened));
  SNAP_TRY(check_identities(invocation, origin, cow));
  if (expected) SNAP_TRY(check_expected(invocation, origin, cow, *expected));
  SNAP_ASSIGN(const UndoFile undo_file, keep_undo(invocation, pair, **merge, job));
  if (dry_run) {
    SNAP_TRY(report_merge(invocation, spec, **merge, exceptions, true, false));
    return kExitDone;
  }
  invocation.say(fmt::format(
      "copying by reading and writing pieces of up to {} with {} threads; between two flushes "
      "at most {}, and about {} s",
      format_size(kIoPiece), job.jobs, format_size(options.batch_bytes),
      options.batch_time.count()));
  Result<void> merged = keep_for_siblings(opened, job);
  if (merged) {
    const ProgressReporter reporter("merging", invocation.progress_style(), progress);
    merged = (*merge)->run(job);
  }
  if (!merged) {
    std::string note =
        fmt::format("{} of {} exceptions are merged, nothing is lost, and '{}' resumes",
                    (*merge)->merged_exceptions(), exceptions, resume_command(invocation, spec));
    Error error = std::move(merged).error();
    if (error.code() == ErrorCode::kInterrupted)
      error = Error(ErrorCode::kInterrupted, "interrupted");
    return std::move(error).with_note(std::move(note));
  }
  SNAP_TRY(report_merge(invocation, spec, **merge, exceptions, false, undo_file.was_empty));
  if ((*merge)->unreadable_count() > 0) {
    return Error(
        ErrorCode::kIo,
        fmt::format("{} of {} exceptions could not be read; the store keeps {}, all others are "
                    "merged: keep '{}', and '{}' tries again",
                    (*merge)->unreadable_count(), exceptions, (*merge)->kept_exceptions(),
                    spec.stores.back().name(), resume_command(invocation, spec)));
  }
  return kExitDone;
}

}  // namespace

CommandSpec merge_command() {
  CommandSpec command;
  command.name = "merge";
  command.operands = "ORIGIN COW";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "make an origin equal to the view of its snapshot, in place and crash-safe";
  command.description =
      "Copies every chunk of COW to ORIGIN and empties COW. Stopped at any instant, by a signal, a "
      "crash or a "
      "power cut, ORIGIN and COW together still show the same view, and the same command resumes; "
      "so does the "
      "kernel's snapshot-merge target.\n\n"
      "What that means depends on the life of the COW. If the snapshot was written to, COW holds "
      "new data, and "
      "merging commits them. If the origin was written to, COW holds the old data, and merging "
      "rolls the origin "
      "back. The store does not say which, nor which origin it belongs to: the wrong origin is "
      "destroyed by it. "
      "Other snapshots of the same origin lose their views, unless they are named with --sibling: "
      "these get first what they still need. ORIGIN may itself be a view, A@C1: "
      "then "
      "its store gets the chunks, and A is only read.\n\n"
      "A store that verify finds corrupt is refused (exit status 65) before the first write, "
      "except "
      "for what an interrupted merge leaves behind the end of the list. --dry-run, --undo, "
      "--salvage, --sibling and --rate-limit do not go with -o; --force-share only with "
      "--dry-run or "
      "-o.";
  command.options = {
      {0,
       "dry-run",
       OptionKind::kFlag,
       "",
       "check everything, say what would be done, write nothing",
       ValueHint::kNone,
       {}},
      {0,
       "expect",
       OptionKind::kValue,
       "SHA256",
       "refuse unless the view has this SHA-256 (reads all of it)",
       ValueHint::kNone,
       {}},
      {0,
       "sibling",
       OptionKind::kValue,
       "COW2",
       "another snapshot of ORIGIN, which keeps its view; may be given several times",
       ValueHint::kFile,
       {},
       true},
      {'r',
       "rate-limit",
       OptionKind::kValue,
       "RATE",
       "copy at most so many bytes a second (50M), or in such a part of the time "
       "(30%, as the kernel's snapshot_copy_throttle)",
       ValueHint::kNone,
       {}},
      {0,
       "verify",
       OptionKind::kFlag,
       "",
       "read each batch back, past the page cache, before its entries are cleared; with -o: "
       "compare "
       "NEW with the view, all of both",
       ValueHint::kNone,
       {}},
      {0,
       "undo",
       OptionKind::kValue,
       "FILE",
       "keep in FILE what the merge overwrites, for 'snaptool undo'; an "
       "interrupted merge continues its FILE",
       ValueHint::kFile,
       {}},
      {0,
       "salvage",
       OptionKind::kFlag,
       "",
       "go on past data that cannot be read; list them, and keep their exceptions "
       "and all before them in COW",
       ValueHint::kNone,
       {}},
      {0,
       "accept-duplicates",
       OptionKind::kFlag,
       "",
       "merge a store with several exceptions for one chunk: the first in the list "
       "wins, as in the kernel",
       ValueHint::kNone,
       {}},
      {0,
       "force",
       OptionKind::kFlag,
       "",
       "merge although the view bears another UUID than the origin, entries lie "
       "behind the end of the list that no interrupted merge left, or space seems "
       "too short; with -o: replace FILE if it exists",
       ValueHint::kNone,
       {}}};
  command.shared = "ofUjpOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
