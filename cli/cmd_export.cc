// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/byte_output.h"
#include "cli/change_files.h"
#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/operands.h"
#include "cli/version.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/diff/export.h"
#include "libsnap/diff/snapdiff.h"
#include "libsnap/io/image_file.h"
#include "libsnap/io/part_file.h"
#include "libsnap/snap/identity.h"

namespace snaptool::cli {
namespace {

// What is exported, and what it is compared with.
struct Images {
  access::OpenImage target_files;
  access::OpenImage base_files;              // with --base
  std::vector<std::shared_ptr<File>> tails;  // a view with the origin's odd bytes behind it
  std::vector<std::unique_ptr<Image>> joined;
  Image* base = nullptr;  // none: a full diff
  Image* target = nullptr;
  std::string base_name;
};

// A view has whole sectors only; what lies behind them in the origin's file is the same on both
// sides, and is added, so that sizes are those of the files.
void add_tail(access::OpenImage& open, Images& images, Image*& view) {
  const std::shared_ptr<File>& origin = open.files.front();
  if (view->size() >= origin->size()) return;
  const uint64_t tail = origin->size() - view->size();
  auto view_file = std::make_shared<ImageFile>(*view, true);
  std::vector<PartSegment> segments{{view->size(), {{view_file, 0}}, 0},
                                    {tail, {{origin, view->size()}}, 0}};
  auto joined = std::make_shared<PartFile>(view->name(), std::move(segments));
  images.tails.push_back(joined);
  images.joined.push_back(std::make_unique<RawImage>(*joined, joined->size()));
  view = images.joined.back().get();
}

Result<Images> open_images(const Invocation& invocation) {
  const bool full = invocation.has("full");
  const auto base = invocation.value("base");
  const bool reverse = invocation.has("reverse");
  SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
  const bool own_base = !full && !base;
  if (full && (base || invocation.has("parent"))) {
    return Error(ErrorCode::kInvalidArgument,
                 "--full has no base: it goes neither with --base nor with --parent");
  }
  if (own_base && (spec.stores.empty() || !spec.view_parts.empty())) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("what is '{}' to be compared with? --base IMAGE0 names it, --full "
                             "takes all of it, and of ORIGIN@COW it is the origin",
                             access::name_of(spec)));
  }
  if (reverse && !own_base) {
    return Error(ErrorCode::kInvalidArgument,
                 "--reverse is for ORIGIN@COW; elsewhere name the images the other way round");
  }
  Images images;
  SNAP_ASSIGN(images.target_files,
              access::open_image(invocation.access(), spec, access::Tail::kIgnore));
  images.target = &images.target_files.image();
  if (!spec.stores.empty() && spec.view_parts.empty()) {
    add_tail(images.target_files, images, images.target);
  }
  if (own_base) {
    auto& layers = images.target_files.layers;
    images.base = layers[layers.size() - 2].get();
    if (spec.stores.size() > 1) add_tail(images.target_files, images, images.base);
    images.base_name =
        access::name_of({spec.base, {spec.stores.begin(), spec.stores.end() - 1}, {}});
    if (reverse) std::swap(images.base, images.target);
  } else if (base) {
    SNAP_ASSIGN(const access::ImageSpec base_spec, image_named(invocation, *base, "second-format"));
    SNAP_ASSIGN(images.base_files,
                access::open_image(invocation.access(), base_spec, access::Tail::kIgnore));
    images.base = &images.base_files.image();
    if (!base_spec.stores.empty() && base_spec.view_parts.empty()) {
      add_tail(images.base_files, images, images.base);
    }
    images.base_name = *base;
  }
  return images;
}

// --parent: an id, or a diff that leads to the base.
Result<void> read_parent(const Invocation& invocation, ExportOptions& options) {
  const auto text = invocation.value("parent");
  if (!text) return {};
  if (auto id = parse_id(*text)) {
    options.parent_id = *id;
    return {};
  }
  SNAP_ASSIGN(const auto changes, ChangeFile::open(invocation.access(), *text));
  if (changes->format() != ChangeFile::Format::kSnapdiff || !changes->is_file()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--parent takes a snapdiff or an id; '{}' has none", *text));
  }
  SNAP_ASSIGN(const ChangeEnd end, read_snapdiff_end(changes->file()));
  options.parent_id = end.child_id;
  SNAP_ASSIGN(options.expectations, expectations_of(changes->file()));
  return {};
}

Result<ExportOptions> options_of(const Invocation& invocation, ChangeFile::Format format) {
  ExportOptions options;
  options.maker = kProgram;
  options.reverse = invocation.has("reverse");
  SNAP_TRY(read_parent(invocation, options));
  SNAP_ASSIGN(const auto granularity, invocation.size_value("granularity"));
  options.granularity = granularity.value_or(options.granularity);
  if (options.granularity < kSectorSize || options.granularity > kWindowBytes ||
      (options.granularity & (options.granularity - 1)) != 0) {
    return Error(ErrorCode::kInvalidArgument, "--granularity takes a power of two from 512 to 1M");
  }
  const bool rbd = format != ChangeFile::Format::kSnapdiff;
  options.from_name = invocation.value("from-snap").value_or("");
  options.to_name = invocation.value("to-snap").value_or("");
  options.old_sums = !rbd;
  if (rbd && (options.parent_id || invocation.has("verify-base") || invocation.has("level"))) {
    return Error(ErrorCode::kInvalidArgument,
                 "rbd's diffs have no ids, no sums and no compression: --parent, --verify-base and "
                 "--level are for snapdiffs");
  }
  if (!rbd && (invocation.has("from-snap") || invocation.has("to-snap"))) {
    return Error(ErrorCode::kInvalidArgument,
                 "--from-snap and --to-snap name Ceph's snapshots, for -O rbd");
  }
  if (rbd && !invocation.has("full") && options.from_name.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 "rbd knows the base by a name only: --from-snap NAME gives it (without, rbd takes "
                 "the diff for a whole image)");
  }
  if (rbd && invocation.has("full") && !options.from_name.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 "--full has no base: it does not go with --from-snap");
  }
  return options;
}

Result<ContentId> content_of(const Invocation& invocation, Image& image) {
  Progress progress;
  progress.set_size(image.size());
  const ProgressReporter reporter("identifying", invocation.progress_style(), progress);
  return content_id_of(image, invocation.job(progress));
}

Result<Sha256::Digest> sum_of(const Invocation& invocation, Image& image) {
  Progress progress;
  progress.set_size(image.size());
  const ProgressReporter reporter("hashing", invocation.progress_style(), progress);
  SNAP_ASSIGN(const auto sums, hash_range(image, 0, image.size(), {HashAlgorithm::kSha256},
                                          invocation.job(progress)));
  return parse_id(sums.front());
}

// Of ORIGIN@COW, the diff can go two ways: which one it goes, and what that is good for.
std::string direction(const Invocation& invocation, const Images& images) {
  if (images.base == nullptr || invocation.has("base")) return "";
  return invocation.has("reverse")
             ? "it makes the snapshot's view into the origin: the increment of a backup that was "
               "taken from the snapshot\n"
             : "it makes the origin into the snapshot's view: what was written to the snapshot, or "
               "how to roll the origin back\n";
}

Result<int> run(Invocation& invocation) {
  const auto format = *change_format(invocation.value("output-format").value_or("snapdiff"));
  SNAP_ASSIGN(const int level, level_of(invocation));
  SNAP_ASSIGN(ExportOptions options, options_of(invocation, format));
  SNAP_ASSIGN(const Images images, open_images(invocation));
  access::OpenImage limit;
  if (const auto changes = invocation.value("changes")) {
    if (invocation.value("base") == std::nullopt) {
      return Error(ErrorCode::kInvalidArgument,
                   "--changes says where IMAGE and the one that --base names may differ");
    }
    SNAP_ASSIGN(const access::ImageSpec target_spec, image_operand(invocation));
    SNAP_ASSIGN(limit, access::open_changes(invocation.access(), target_spec, *changes));
    options.limit = &limit.image();
    SNAP_ASSIGN(const auto found,
                contradictions_of(*limit.files.front(), *limit.files.back(), invocation.cancel()));
    if (!found.empty()) {
      return Error(ErrorCode::kWrongBase, fmt::format("{}: '{}' may be a snapshot of another disk",
                                                      found.front(), limit.files.back()->name()));
    }
  }
  std::vector<const File*> inputs;
  for (const access::OpenImage* open : {&images.target_files, &images.base_files}) {
    for (const auto& file : open->opened) inputs.push_back(file.get());
  }
  if (limit.files.size() > 1) inputs.push_back(limit.files.back().get());
  const std::string path = invocation.value("out").value_or("-");
  SNAP_ASSIGN(auto output, ByteOutput::open(path, StreamTarget::Content::kBinary, inputs,
                                            invocation.has("force")));
  const bool whole = invocation.has("verify-base");
  options.check_limit = whole;
  // Where the images are read in full anyway, that costs nearly nothing.
  options.identities = invocation.has("base") || invocation.has("full");
  if (whole) {
    if (images.base != nullptr) {
      SNAP_ASSIGN(options.base_sum, sum_of(invocation, *images.base));
      SNAP_ASSIGN(options.base_content, content_of(invocation, *images.base));
    }
    SNAP_ASSIGN(options.target_sum, sum_of(invocation, *images.target));
    SNAP_ASSIGN(options.target_content, content_of(invocation, *images.target));
  }
  // All of both is read, whatever file systems say of holes and shared blocks.
  std::optional<UnmappedImage> whole_base;
  std::optional<UnmappedImage> whole_target;
  Image* base = images.base;
  Image* target = images.target;
  if (invocation.has("verify")) {
    if (base != nullptr) base = &whole_base.emplace(*base);
    target = &whole_target.emplace(*target);
    options.check_limit = true;
    options.identities = true;
  }
  const ByteSink sink = [&](std::span<const std::byte> bytes) { return output.write(bytes); };
  const auto writer = change_writer(format, sink, level);
  Progress progress;
  progress.set_size(images.target->size());
  ChangeEnd end;
  {
    const ProgressReporter reporter("exporting", invocation.progress_style(), progress);
    SNAP_ASSIGN(end, export_changes(base, *target, *writer, options, invocation.job(progress)));
  }
  SNAP_TRY(output.commit());
  // Standard output may be the diff itself.
  if (path == "-") return kExitDone;
  SNAP_TRY(report_changes(invocation, images.target->size(), end));
  if (!invocation.json()) SNAP_TRY(invocation.report(direction(invocation, images)));
  const bool links = end.target_content && (end.base_content || images.base == nullptr);
  if (!invocation.json() && end.child_id && !links && !options.parent_id) {
    SNAP_TRY(
        invocation.report("it does not say which state it follows, since not all of both images "
                          "was read: in a chain, "
                          "--parent or --verify-base link it\n"));
  }
  return kExitDone;
}

}  // namespace

CommandSpec export_command() {
  CommandSpec command;
  command.name = "export";
  command.operands = "IMAGE";
  command.min_operands = command.max_operands = 1;
  command.summary = "write what changed between two images as a diff, to be applied elsewhere";
  command.description =
      "Writes a diff that makes a base into IMAGE: the base is the origin for ORIGIN@COW, IMAGE0 "
      "with --base, or nothing with --full. Of ORIGIN@COW only the exceptions are read. A diff has "
      "the sums of what it changes, before and after, so that 'snaptool apply' refuses the wrong "
      "base and damage on the way; ids tell which diff follows which.\n\n"
      "A diff is a stream: it can go through a pipe to another machine.";
  command.options = {
      {0,
       "base",
       OptionKind::kValue,
       "IMAGE0",
       "what the diff is to be applied to",
       ValueHint::kFile,
       {}},
      {0,
       "full",
       OptionKind::kFlag,
       "",
       "all of IMAGE: the first diff of a chain",
       ValueHint::kNone,
       {}},
      {0,
       "reverse",
       OptionKind::kFlag,
       "",
       "of ORIGIN@COW, from the view back to the origin: what changed since the snapshot was made",
       ValueHint::kNone,
       {}},
      {0,
       "changes",
       OptionKind::kValue,
       "COW",
       "compare only where this store has exceptions; elsewhere the images are taken to be equal",
       ValueHint::kFile,
       {}},
      {0,
       "parent",
       OptionKind::kValue,
       "FILE|ID",
       "the diff that leads to the base, or the id of the base",
       ValueHint::kFile,
       {}},
      {0,
       "verify-base",
       OptionKind::kFlag,
       "",
       "read both images in full and add their SHA-256: they link the diffs of a chain, 'apply "
       "--verify-base' compares with them, and --changes is checked",
       ValueHint::kNone,
       {}},
      {0,
       "verify",
       OptionKind::kFlag,
       "",
       "read all of both images, also what their file systems call holes or shared, and all that "
       "--changes leaves out",
       ValueHint::kNone,
       {}},
      {0,
       "granularity",
       OptionKind::kValue,
       "SIZE",
       "tell changes in units of SIZE (default: 4k)",
       ValueHint::kNone,
       {}},
      {'O',
       "output-format",
       OptionKind::kValue,
       "FMT",
       "snapdiff (the default), or Ceph's: rbd (version 1, what 'rbd import-diff' takes), rbd2",
       ValueHint::kChoices,
       {"snapdiff", "rbd", "rbd2"}},
      {0,
       "from-snap",
       OptionKind::kValue,
       "NAME",
       "with -O rbd: the snapshot that the diff starts from",
       ValueHint::kNone,
       {}},
      {0,
       "to-snap",
       OptionKind::kValue,
       "NAME",
       "with -O rbd: the snapshot that it leads to",
       ValueHint::kNone,
       {}},
      level_option(),
      {0, "force", OptionKind::kFlag, "", "replace FILE if it exists", ValueHint::kNone, {}}};
  command.shared = "ofFLIUjpOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
