// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "cli/change_files.h"
#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/stdio.h"
#include "cli/writing.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/copy/copy_image.h"
#include "libsnap/diff/apply.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/io/image_file.h"
#include "libsnap/io/output_file.h"
#include "libsnap/io/storage.h"

namespace snaptool::cli {
namespace {

constexpr std::string_view kJournalEnding = ".snaptool-journal";
constexpr std::string_view kSpoolEnding = ".snaptool-spool";

// Removes a file that nobody needs any more. Errors: those of the flush of its folder.
Result<void> drop_file(const std::string& path) {
  if (path.empty() || ::unlink(path.c_str()) != 0) return {};
  return flush_folder_of(path);
}

// The file that standard input went to. It goes away unless it is needed to finish.
struct Spool {
  std::string path;
  bool needed = false;
  Spool() = default;
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;
  ~Spool() {
    if (!needed) (void)drop_file(path);  // left over, it would only be in the way
  }
};

// The diffs of a command, in the order in which they are applied.
struct Diffs {
  std::vector<std::unique_ptr<ChangeFile>> files;
  std::unique_ptr<Spool> spool = std::make_unique<Spool>();

  std::vector<ChainLink> links() const {
    std::vector<ChainLink> links;
    for (const auto& file : files) {
      links.push_back({file->name(), [changes = file.get()] { return changes->reader(); }});
    }
    return links;
  }
  std::vector<const File*> inputs() const {
    std::vector<const File*> inputs;
    for (const auto& file : files) inputs.push_back(&file->file());
    return inputs;
  }
};

// Standard input goes to a file first: so all of it is checked before anything is written, a line
// that is cut changes nothing, and what is applied can be applied again after a crash.
Result<void> spool_input(const Invocation& invocation, const std::string& path) {
  SNAP_TRY(access::check_output_name(path));
  if (::access(path.c_str(), F_OK) == 0) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{0}' is there already: if an apply was interrupted, give it as the "
                             "diff instead of '-'; else remove it, or name another by --spool",
                             path));
  }
  DataSource::Request request;
  request.input = "-";
  SNAP_ASSIGN(DataSource source, DataSource::open(request));
  SNAP_ASSIGN(auto output, OutputFile::create(path, 0, {}, false));
  Progress progress;
  const ProgressReporter reporter("receiving", invocation.progress_style(), progress);
  IoBytes buffer(kIoPiece);
  uint64_t at = 0;
  while (true) {
    SNAP_ASSIGN(const uint64_t size, source.read(buffer));
    if (size == 0) break;
    SNAP_TRY(output->file().resize(at + size));
    SNAP_TRY(output->file().write_at(at, std::span(buffer).first(size)));
    at += size;
    progress.add(size);
  }
  return output->commit();
}

Result<Diffs> open_diffs(const Invocation& invocation, const std::vector<std::string>& paths,
                         const std::string& beside) {
  Diffs diffs;
  for (std::string path : paths) {
    std::string name;
    if (path == "-") {
      if (!diffs.spool->path.empty()) {
        return Error(ErrorCode::kInvalidArgument, "standard input can be only one of the diffs");
      }
      path = invocation.value("spool").value_or(
          beside.empty() ? "" : beside + std::string(kSpoolEnding));
      if (path.empty()) {
        return Error(ErrorCode::kInvalidArgument,
                     "--spool FILE must say where standard input is kept until it is applied");
      }
      SNAP_TRY(spool_input(invocation, path));
      diffs.spool->path = path;
      name = kStandardInput;
    }
    SNAP_ASSIGN(auto file, ChangeFile::open(invocation.access(), path, name));
    diffs.files.push_back(std::move(file));
  }
  return diffs;
}

// Tells diffs apart: their lengths, and both ends (a snapdiff's end has the sums of all of it).
Result<Sha256::Digest> fingerprint(const Diffs& diffs) {
  constexpr uint64_t kEnds = 4096;
  Sha256 sum;
  for (const auto& changes : diffs.files) {
    File& file = changes->file();
    const uint64_t size = file.size();
    std::vector<std::byte> bytes(std::min(size, kEnds));
    const std::string text = fmt::format("{}\n", size);
    sum.update(std::as_bytes(std::span(text)));
    for (const uint64_t at : {uint64_t{0}, size - bytes.size()}) {
      SNAP_TRY(file.read_at(at, bytes));
      sum.update(bytes);
    }
  }
  return sum.finish_digest();
}

// What is known of the image that a command leaves.
enum class Known {
  kChanges,  // that it has what the diffs change
  kAll,      // that it is what the last diff leads to
};

Error not_the_base(const std::string& image, const std::string& diff) {
  return {ErrorCode::kWrongBase,
          fmt::format("'{}' is not the base of '{}': its content is another", image, diff)};
}

// --verify-base, before anything is written: all of the base must be the first diff's, and what
// becomes of it, what the last one names.
Result<Known> verify_whole(const Invocation& invocation, Apply& apply, Image* base, bool resizable,
                           const ChainCheck& checked, const Diffs& diffs) {
  const ChangeEnd& first = checked.ends.front();
  const ChangeEnd& last = checked.ends.back();
  const bool full = apply.shape().full;
  if (!invocation.has("verify-base")) return full ? Known::kAll : Known::kChanges;
  const std::string& name = diffs.files.front()->name();
  if (!full && !first.base_sum && !first.base_content) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' does not say what its base is, as a whole: it was exported of "
                             "ORIGIN@COW, or with --changes, without --verify-base",
                             name));
  }
  Progress progress;
  progress.set_size(std::max(apply.shape().base_size, apply.shape().final_size()));
  const ProgressReporter reporter("verifying", invocation.progress_style(), progress);
  const bool with_sums = first.base_sum || last.target_sum;
  SNAP_ASSIGN(const WholeSums sums,
              apply.whole_sums(base, resizable, with_sums, invocation.job(progress)));
  const bool right_base =
      full || ((!first.base_sum || *first.base_sum == sums.base_sum) &&
               (!first.base_content || *first.base_content == sums.base_content));
  if (!right_base) return not_the_base(base->name(), name);
  if ((last.target_sum && *last.target_sum != sums.target_sum) ||
      (last.target_content && *last.target_content != sums.target_content)) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' does not have all that changed up to the image that it names: "
                             "applied, it would make another one",
                             diffs.files.back()->name()));
  }
  return Known::kAll;
}

// --verify-base, when the changes are there: the image must be what the last diff names.
Result<Known> verify_result(const Invocation& invocation, Image& image, uint64_t size,
                            const ChainCheck& checked, const Diffs& diffs) {
  if (!invocation.has("verify-base")) return Known::kChanges;
  const ChangeEnd& last = checked.ends.back();
  if (!last.target_sum && !last.target_content) return Known::kChanges;
  Progress progress;
  progress.set_size(size);
  const ProgressReporter reporter("verifying", invocation.progress_style(), progress);
  const Job job = invocation.job(progress);
  bool right = image.size() >= size;
  if (right && last.target_sum) {
    SNAP_ASSIGN(const auto sums, hash_range(image, 0, size, {HashAlgorithm::kSha256}, job));
    right = sums.front() == id_text(*last.target_sum);
  } else if (right && image.size() == size) {
    SNAP_ASSIGN(const ContentId content, content_id_of(image, job));
    right = content == *last.target_content;
  }
  if (right) return Known::kAll;
  return Error(ErrorCode::kWrongBase,
               fmt::format("'{}' has all changes of '{}', but other content elsewhere: it is not "
                           "the image that this leads to",
                           image.name(), diffs.files.back()->name()));
}

Result<ChainCheck> check(const Invocation& invocation, Apply& apply, Image* base, bool resizable,
                         const std::optional<ApplyProgress>& done,
                         const Apply::RangeVisitor& visit = {}) {
  Progress progress;
  const ProgressReporter reporter("checking", invocation.progress_style(), progress);
  return apply.check(base, resizable, done, invocation.job(progress), visit);
}

Result<void> write(const Invocation& invocation, Apply& apply, const ApplyTarget& target,
                   const ChainCheck& checked, ApplyJournal* journal) {
  Progress progress;
  progress.set_size(checked.bytes);
  const ProgressReporter reporter("applying", invocation.progress_style(), progress);
  return apply.write(target, checked, journal, invocation.job(progress));
}

Result<void> report(const Invocation& invocation, const Diffs& diffs, const ChainCheck& checked,
                    const std::string& target, bool nothing_to_do, Known known) {
  const auto& id = checked.ends.back().child_id;
  if (invocation.json()) {
    Json json = {{"format_version", 1},
                 {"target", target},
                 {"diffs", diffs.files.size()},
                 {"bytes", checked.bytes},
                 {"already_applied", nothing_to_do}};
    if (id) json["child_id"] = id_text(*id);
    json["verified"] = known == Known::kAll ? "all" : "changes";
    return invocation.report(json.text());
  }
  const std::string what =
      diffs.files.size() == 1 ? "the diff" : fmt::format("{} diffs", diffs.files.size());
  std::string text = nothing_to_do
                         ? fmt::format("'{}' has all changes of {} already\n", target, what)
                         : fmt::format("applied {} to '{}': {} written\n", what, target,
                                       format_size(checked.bytes));
  if (id) {
    text += known == Known::kAll
                ? fmt::format("its state has the id {}\n", id_text(*id))
                : fmt::format(
                      "where the diff{} it, it is what has the id {} (--verify-base looks "
                      "at all of it)\n",
                      diffs.files.size() == 1 ? " changes" : "s change", id_text(*id));
  }
  return invocation.report(text);
}

void warn_of_unchecked(const Invocation& invocation, const Apply& apply, const Diffs& diffs) {
  if (apply.shape().has_old_sums) return;
  invocation.warn(fmt::format("'{}' has no sums: whether the image is its base cannot be checked",
                              diffs.files.front()->name()));
}

// The beginning of the base into the new file: as a clone where the file system can.
Result<void> copy_base(const Invocation& invocation, access::OpenImage& base, uint64_t length,
                       OutputFile& output) {
  if (base.layers.size() == 1) {
    SNAP_ASSIGN(const bool cloned, output.clone(*base.files.front(), length));
    if (cloned) {
      invocation.say("the base is cloned: both files share its blocks");
      return {};
    }
  }
  invocation.say("the base is copied: it cannot be cloned to there");
  Progress progress;
  progress.set_size(length);
  const ProgressReporter reporter("copying the base", invocation.progress_style(), progress);
  return copy_image(base.image(), 0, length, output.file(), output.starts_zeroed(),
                    invocation.job(progress));
}

// -o: the base stays as it is.
Result<int> apply_to_new(const Invocation& invocation) {
  const std::string out = *invocation.value("out");
  if (invocation.has("journal")) {
    return Error(ErrorCode::kInvalidArgument, "--journal is for an apply in place, not for -o");
  }
  SNAP_TRY(access::check_output_name(out));
  std::vector<std::string> paths = invocation.operands();
  bool full = false;
  if (paths.front() == "-") {
    full = paths.size() == 1;
  } else {
    SNAP_ASSIGN(const auto first, ChangeFile::open(invocation.access(), paths.front()));
    SNAP_ASSIGN(const auto reader, first->reader());
    full = reader->header().full;
  }
  access::OpenImage base;
  if (!full) {
    if (paths.size() < 2) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is not a full diff: name the image that it is for, behind it",
                               paths.front()));
    }
    SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation, paths.size() - 1));
    SNAP_ASSIGN(base, access::open_image(invocation.access(), spec));
    paths.pop_back();
  }
  SNAP_ASSIGN(const auto stream, StreamTarget::open(out, StreamTarget::Content::kBinary));
  if (stream) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is a pipe or terminal: an image is written to a file", out));
  }
  SNAP_ASSIGN(const Diffs diffs, open_diffs(invocation, paths, out));
  Image* const image = full ? nullptr : &base.image();
  SNAP_ASSIGN(Chain chain,
              Chain::open(diffs.links(), full ? 0 : image->size(), linking_of(invocation)));
  Apply apply(std::move(chain));
  if (full && !apply.shape().full) {
    return Error(ErrorCode::kInvalidArgument,
                 "the diff from standard input is not a full one: name the image that it is for");
  }
  if (!full) warn_of_unchecked(invocation, apply, diffs);
  std::vector<const File*> inputs = diffs.inputs();
  for (const auto& file : base.opened) inputs.push_back(file.get());
  const uint64_t size = apply.shape().final_size();
  SNAP_ASSIGN(const auto output, OutputFile::create(out, size, inputs, invocation.has("force")));
  const bool fresh = output->starts_zeroed();
  SNAP_ASSIGN(const ChainCheck checked, check(invocation, apply, image, fresh, std::nullopt));
  SNAP_ASSIGN(const Known known, verify_whole(invocation, apply, image, fresh, checked, diffs));
  if (image != nullptr) {
    SNAP_TRY(copy_base(invocation, base, apply.shape().kept_size(), *output));
  }
  SNAP_TRY(write(invocation, apply, {&output->file(), fresh, fresh}, checked, nullptr));
  SNAP_TRY(output->commit());
  SNAP_TRY(report(invocation, diffs, checked, out, false, known));
  return kExitDone;
}

// The file beside which the journal of an image lies; nothing for a device or a part of a file.
std::string file_beside(const access::ImageSpec& spec, const File& file) {
  const access::FileSpec& top = spec.stores.empty() ? spec.base : spec.stores.back();
  const auto* const posix = dynamic_cast<const PosixFile*>(&file);
  return top.is_whole_file() && posix != nullptr && !posix->is_block_device() ? top.path()
                                                                              : std::string();
}

// A view must have room for all that is written, before it begins.
class RoomCounter {
 public:
  explicit RoomCounter(const Snapshot* snapshot) : snapshot_(snapshot) {}
  void add(uint64_t offset, uint64_t length) {
    if (snapshot_ == nullptr) return;
    const uint64_t chunk = snapshot_->chunk_bytes();
    const uint64_t begin = std::max(offset, counted_);
    const uint64_t end = offset + length;
    if (begin < end) needed_ += snapshot_->exceptions_needed(begin, end - begin);
    counted_ = std::max(counted_, div_round_up(end, chunk) * chunk);
  }
  Result<void> check() const {
    if (snapshot_ == nullptr || needed_ <= snapshot_->room()) return {};
    return no_room(*snapshot_, needed_, "the diff");
  }

 private:
  const Snapshot* snapshot_;
  uint64_t counted_ = 0;  // chunks before it are counted
  uint64_t needed_ = 0;
};

// The journal of an apply that did not finish, or nothing.
struct Journal {
  std::string path;
  std::unique_ptr<PosixFile> file;
  std::optional<ApplyJournal> journal;

  Result<void> find(const std::string& name) {
    path = name;
    SNAP_TRY(access::check_output_name(path));
    auto there = PosixFile::open(path, {Access::kReadWrite, false});
    if (!there) {
      return there.error().code() == ErrorCode::kNotFound ? Result<void>() : there.error();
    }
    file = std::move(*there);
    if (file->is_block_device()) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is a block device: the journal must be a file", path));
    }
    SNAP_ASSIGN(journal, ApplyJournal::open(*file));
    return {};
  }
  Result<void> check(const ApplyJournal::Identity& identity) const {
    if (!journal || journal->identity() == identity) return {};
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' is the journal of another apply, which was interrupted: finish "
                             "that one first, with its diffs",
                             path));
  }
  Result<void> make(const ApplyJournal::Identity& identity) {
    if (journal) return {};
    if (file == nullptr) {
      SNAP_ASSIGN(file, PosixFile::create(path));
    }
    SNAP_ASSIGN(journal, ApplyJournal::create(*file, identity));
    return {};
  }
};

std::string resume_command(const Invocation& invocation, const Diffs& diffs) {
  std::string command = "snaptool apply";
  for (const char* flag : {"unlinked", "verify-base", "force"}) {
    if (invocation.has(flag)) command += fmt::format(" --{}", flag);
  }
  if (const auto journal = invocation.value("journal")) {
    command += " --journal " + shell_quoted(*journal);
  }
  if (const auto format = invocation.value("format")) command += " -f " + *format;
  for (const auto& file : diffs.files) command += " " + shell_quoted(file->file().name());
  return command + " " + shell_quoted(invocation.operands().back());
}

Result<int> apply_in_place(const Invocation& invocation) {
  std::vector<std::string> paths = invocation.operands();
  if (paths.size() < 2) {
    return Error(ErrorCode::kInvalidArgument,
                 "an image must follow the diffs, or -o NEW for a full one");
  }
  SNAP_ASSIGN(const access::ImageSpec spec, target_operand(invocation, paths.size() - 1));
  paths.pop_back();
  if (spec.stores.empty()) SNAP_TRY(access::check_siblings(invocation.access(), spec.base, {}));
  SnapshotOptions options;
  options.kind = StoreKind::kPersistentOverflow;
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const access::OpenTarget target,
              access::open_target(invocation.access(), opener, spec, options));
  Snapshot* const snapshot = target.snapshot();
  if (spec.stores.empty() && spec.base.format != "raw") {
    SNAP_ASSIGN(const bool is_store, access::looks_like_store(*target.file));
    if (is_store) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{0}' is a dm-snapshot store, only half of an image: name it as "
                               "ORIGIN@{0}, or take its bytes for the image with -f raw",
                               access::name_of(spec)));
    }
  }
  const std::string beside = file_beside(spec, *target.file);
  std::optional<ImageFile> view;
  if (snapshot != nullptr) view.emplace(*snapshot);
  File& file = view ? static_cast<File&>(*view) : *target.file;
  // Threads take turns with a view.
  RawImage image(file, file.size());

  SNAP_ASSIGN(const Diffs diffs, open_diffs(invocation, paths, beside));
  for (const File* input : diffs.inputs()) {
    for (File* written : target.files()) {
      if (!share_storage(*input, *written)) continue;
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is a diff and the image at once", input->name()));
    }
  }
  const bool resizable = !beside.empty() && snapshot == nullptr;
  const std::string journal_path = invocation.value("journal").value_or(
      beside.empty() ? "" : beside + std::string(kJournalEnding));
  if (journal_path.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is no whole file: --journal FILE must say where the journal is "
                             "kept while the diff is applied",
                             access::name_of(spec)));
  }
  Journal journal;
  SNAP_TRY(journal.find(journal_path));
  // Interrupted, the file may have another size already.
  const uint64_t size = journal.journal ? journal.journal->identity().base_size : file.size();
  SNAP_ASSIGN(Chain chain, Chain::open(diffs.links(), size, linking_of(invocation)));
  Apply apply(std::move(chain));
  if (apply.shape().full) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a full diff, which would replace '{}': -o writes what it has "
                             "to a new file or a device",
                             diffs.files.front()->name(), access::name_of(spec)));
  }
  warn_of_unchecked(invocation, apply, diffs);
  ApplyJournal::Identity identity;
  SNAP_ASSIGN(identity.chain, fingerprint(diffs));
  identity.base_size = apply.shape().base_size;
  identity.final_size = apply.shape().final_size();
  SNAP_TRY(journal.check(identity));
  std::optional<ApplyProgress> done;
  if (journal.journal) done = journal.journal->progress();

  RoomCounter room(snapshot);
  SNAP_ASSIGN(const ChainCheck checked,
              check(invocation, apply, &image, resizable, done,
                    [&](uint64_t offset, uint64_t length) { room.add(offset, length); }));
  const bool nothing_to_do =
      checked.is_applied() && (!resizable || file.size() == apply.shape().final_size());
  Known known = Known::kChanges;
  if (!nothing_to_do) {
    if (!done) {
      SNAP_ASSIGN(known, verify_whole(invocation, apply, &image, resizable, checked, diffs));
    }
    SNAP_TRY(room.check());
    // The diffs are what a crash is mended with: they must be as durable as the journal.
    for (const auto& changes : diffs.files) {
      SNAP_TRY(changes->file().flush());
      SNAP_TRY(flush_folder_of(changes->file().name()));
    }
    SNAP_TRY(journal.make(identity));
    diffs.spool->needed = true;
    auto written = write(invocation, apply, {&file, resizable, false}, checked, &*journal.journal);
    if (!written) {
      Error error = std::move(written).error();
      if (error.code() == ErrorCode::kInterrupted) {
        error = Error(ErrorCode::kInterrupted, "interrupted");
      }
      return std::move(error).with_note(fmt::format(
          "the image is between two states: '{}' finishes", resume_command(invocation, diffs)));
    }
  } else {
    // What was found to be there may be in the page cache only.
    SNAP_TRY(file.flush());
  }
  if (journal.file != nullptr) SNAP_TRY(drop_file(journal.path));
  diffs.spool->needed = false;
  if (known == Known::kChanges) {
    RawImage after(file, file.size());
    SNAP_ASSIGN(known,
                verify_result(invocation, after, apply.shape().final_size(), checked, diffs));
  }
  SNAP_TRY(report(invocation, diffs, checked, access::name_of(spec), nothing_to_do, known));
  return kExitDone;
}

Result<int> run(Invocation& invocation) {
  return invocation.has("out") ? apply_to_new(invocation) : apply_in_place(invocation);
}

}  // namespace

CommandSpec apply_command() {
  CommandSpec command;
  command.name = "apply";
  command.operands = "DIFF... IMAGE";
  command.min_operands = 1;
  command.max_operands = 4096;
  command.summary = "apply diffs to an image, in place and crash-safe, or to a new file";
  command.description =
      "Brings IMAGE to the state that the last DIFF leads to. Several diffs are a chain, the "
      "oldest first, and each range is written once. Everything is checked before the first write: "
      "that no diff is damaged or cut, that each follows from the one before, and that what they "
      "change in IMAGE is what they expect. Diffs of whole images, and such as were exported with "
      "--parent or --verify-base, say themselves what they follow; one that nothing links to the "
      "one before it is refused. Interrupted at any instant, by a signal, a crash or a "
      "power cut, the same command finishes: a small journal beside IMAGE says where it was.\n\n"
      "With -o, IMAGE is only read, and not there at all when the first DIFF is a full one. '-' is "
      "standard input, which is kept in a file until it is applied. Diffs of Ceph's rbd are "
      "applied "
      "to raw images, too, but they have no sums to check.";
  command.options = {
      {0,
       "journal",
       OptionKind::kValue,
       "FILE",
       "keep the journal there (default: IMAGE.snaptool-journal; needed for devices)",
       ValueHint::kFile,
       {}},
      {0,
       "spool",
       OptionKind::kValue,
       "FILE",
       "keep standard input there until it is applied (default: IMAGE.snaptool-spool)",
       ValueHint::kFile,
       {}},
      unlinked_option(),
      {0,
       "verify-base",
       OptionKind::kFlag,
       "",
       "read all of IMAGE: it must be the whole base of the first diff, and become the whole "
       "target "
       "of the last",
       ValueHint::kNone,
       {}},
      {0,
       "ignore-invalid",
       OptionKind::kFlag,
       "",
       "with -o, read what an invalid store still holds",
       ValueHint::kNone,
       {}},
      {0,
       "force",
       OptionKind::kFlag,
       "",
       "replace FILE if it exists; write to a volume whose other snapshots this breaks",
       ValueHint::kNone,
       {}}};
  command.shared = "ofjpOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
