// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/open_image.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <array>

#include "libsnap/access/resolve.h"
#include "libsnap/io/image_file.h"
#include "libsnap/io/part_file.h"
#include "libsnap/io/storage.h"
#include "libsnap/snap/layout.h"
#include "libsnap/snap/snapshot_image.h"

namespace snaptool::access {

Result<bool> looks_like_store(File& file) {
  std::array<std::byte, kDiskHeaderSize> bytes{};
  if (file.size() < bytes.size()) return false;
  SNAP_TRY(file.read_at(0, bytes));
  return decode_header(bytes).magic == kSnapMagic;
}

Result<void> warn_of_magic(const Context& context, const FileSpec& spec, File& file) {
  if (spec.format) return {};
  SNAP_ASSIGN(const ImageDriver* const driver, context.drivers.detect_image(file));
  SNAP_ASSIGN(const KnownFormat* const known, context.drivers.detect_known(file));
  const bool is_raw = driver->kind == ImageKind::kRaw;
  if (is_raw && (known == nullptr || known->is_disk)) return {};
  context.notices.warn(fmt::format("'{}' has the magic of {}; it is taken as a plain disk",
                                   file.name(),
                                   driver->kind == ImageKind::kStore ? "a dm-snapshot store"
                                   : !is_raw                         ? driver->name
                                                                     : known->label));
  return {};
}

Result<void> check_apart(File& a, File& b) {
  if (!share_storage(a, b)) return {};
  return Error(
      ErrorCode::kInvalidArgument,
      fmt::format("'{}' and '{}' {}: name the origin and, behind it, its COW", a.name(), b.name(),
                  a.id() == b.id() ? "are the same file" : "lie in the same file or device"));
}

static Result<void> check_cow(const Context& context, const FileSpec& base,
                              const std::vector<File*>& others, File& cow) {
  for (File* other : others) SNAP_TRY(check_apart(*other, cow));
  return check_origin_and_cow(context, base, *others.front(), cow);
}

Result<void> check_origin_and_cow(const Context& context, const FileSpec& spec, File& origin,
                                  File& cow) {
  SNAP_TRY(check_apart(origin, cow));
  SNAP_ASSIGN(const bool origin_is_store, looks_like_store(origin));
  if (!origin_is_store) return warn_of_magic(context, spec, origin);
  SNAP_ASSIGN(const bool cow_is_store, looks_like_store(cow));
  if (!cow_is_store) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format(
            "'{}' is a dm-snapshot store and '{}' is not: the operands are swapped; name the "
            "origin first",
            origin.name(), cow.name()));
  }
  return warn_of_magic(context, spec, origin);
}

// What lies behind the view in the origin's file.
static void add_tail(OpenImage& open) {
  const std::shared_ptr<File>& origin = open.files.front();
  Image& view = open.image();
  if (view.size() >= origin->size()) return;
  const uint64_t length = origin->size() - view.size();
  const auto view_file = std::make_shared<ImageFile>(view, true);
  open.parts.push_back(std::make_shared<PartFile>(
      view.name(), std::vector<PartSegment>{{view.size(), {{view_file, 0}}, 0},
                                            {length, {{origin, view.size()}}, 0}}));
  File& joined = *open.parts.back();
  open.layers.push_back(std::make_unique<RawImage>(joined, joined.size()));
}

Result<OpenImage> open_image(const Context& context, const ImageSpec& spec, Tail tail) {
  Opener opener(context);
  const auto& format = spec.base.format;
  if (spec.stores.empty() && (!format || *format == "dm-snapshot")) {
    SNAP_ASSIGN(const auto base,
                opener.open(spec.base, {Access::kRead, context.policy.force_share}));
    SNAP_ASSIGN(const bool is_store, looks_like_store(*base));
    if (format ? *format == "dm-snapshot" : is_store) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format(
                       "'{0}' is a dm-snapshot store, only half of an image: name it as ORIGIN@{0}",
                       spec.base.name()))
          .with_remedy(Remedy::kTakeAsRaw);
    }
  }
  SNAP_ASSIGN(OpenImage open, open_layers(context, opener, spec));
  if (tail == Tail::kKeep && !spec.stores.empty() && spec.view_parts.empty()) add_tail(open);
  return open;
}

Result<OpenImage> open_layers(const Context& context, const ImageSpec& spec) {
  Opener opener(context);
  return open_layers(context, opener, spec);
}

Result<OpenImage> open_layers(const Context& context, Opener& opener, const ImageSpec& spec) {
  OpenImage open;
  const OpenOptions options{Access::kRead, context.policy.force_share};
  SNAP_ASSIGN(auto base, opener.open(spec.base, options));
  open.files.push_back(std::move(base));
  File& origin = *open.files.front();
  open.layers.push_back(std::make_unique<RawImage>(origin, origin.size()));
  for (const FileSpec& store : spec.stores) {
    SNAP_ASSIGN(auto cow, opener.open(store, options));
    std::vector<File*> others;
    for (const auto& below : open.files) others.push_back(below.get());
    SNAP_TRY(check_cow(context, spec.base, others, *cow));
    open.files.push_back(std::move(cow));
    const auto damage = context.policy.ignore_invalid ? SnapshotImage::Damage::kShow
                                                      : SnapshotImage::Damage::kRefuse;
    SNAP_ASSIGN(auto view,
                SnapshotImage::open(open.image(), *open.files.back(), damage, context.cancel));
    if (view->state() == StoreState::kNone) {
      context.notices.warn(
          fmt::format("'{}' is all zeros, a new store: the view is the origin", store.name()));
    }
    for (const std::string& doubt : view->doubts()) context.notices.warn(doubt);
    open.layers.push_back(std::move(view));
  }
  if (!spec.view_parts.empty()) {
    open.parts.push_back(std::make_shared<ImageFile>(open.image(), true));
    SNAP_ASSIGN(auto part, opener.open_parts(open.parts.front(), spec.view_parts));
    open.parts.push_back(std::move(part));
    File& file = *open.parts.back();
    open.layers.push_back(std::make_unique<RawImage>(file, file.size()));
  }
  open.opened = opener.files();
  return open;
}

Result<OpenImage> open_changes(const Context& context, const ImageSpec& image,
                               const std::string& cow) {
  SNAP_ASSIGN(const FileSpec store, cow_named(context, cow));
  return open_layers(context, {image.base, {store}, {}});
}

std::vector<File*> OpenTarget::files() const {
  std::vector<File*> all;
  for (const auto& file_below : below.files) all.push_back(file_below.get());
  all.push_back(file.get());
  return all;
}

Result<std::shared_ptr<File>> open_cow(const Context& context, Opener& opener, const FileSpec& base,
                                       const FileSpec& spec, const std::vector<File*>& others,
                                       Access access) {
  // Looked at read-only first, as open_pair does.
  {
    Opener look(context);
    SNAP_ASSIGN(const auto cow, look.open(spec, {Access::kRead, true}));
    SNAP_TRY(check_cow(context, base, others, *cow));
  }
  return opener.open(spec, {access, access == Access::kRead && context.policy.force_share});
}

Result<OpenTarget> open_target(const Context& context, Opener& opener, const ImageSpec& spec,
                               const SnapshotOptions& options, Access access) {
  OpenTarget target;
  if (!spec.view_parts.empty()) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is a part of a view: it can only be read", name_of(spec)));
  }
  if (spec.stores.empty()) {
    const bool share = access == Access::kRead && context.policy.force_share;
    SNAP_ASSIGN(target.file, opener.open(spec.base, {access, share}));
    target.top = std::make_unique<RawImage>(*target.file, target.file->size());
    SNAP_TRY(warn_of_magic(context, spec.base, *target.file));
    return target;
  }
  const ImageSpec below{spec.base, {spec.stores.begin(), spec.stores.end() - 1}, {}};
  // Where both lie in one file, it is open once, for writing.
  if (access == Access::kReadWrite && !spec.stores.back().is_whole_file()) {
    opener.expect_writes(spec.stores.back());
  }
  SNAP_ASSIGN(target.below, open_layers(context, opener, below));
  std::vector<File*> others;
  for (const auto& file : target.below.files) others.push_back(file.get());
  SNAP_ASSIGN(target.file,
              open_cow(context, opener, spec.base, spec.stores.back(), others, access));
  SNAP_ASSIGN(target.top,
              Snapshot::open(target.below.image(), *target.file, options, context.cancel));
  return target;
}

Result<OpenPair> open_pair(const Context& context, const ImageSpec& spec, Access access) {
  Opener opener(context);
  return open_pair(context, opener, spec, access);
}

Result<OpenPair> open_pair(const Context& context, Opener& opener, const ImageSpec& spec,
                           Access access) {
  // Looked at read-only first: two names of one file would otherwise lock each other out.
  {
    Opener look(context);
    SNAP_ASSIGN(const auto origin, look.open(spec.base, {Access::kRead, true}));
    SNAP_ASSIGN(const auto cow, look.open(spec.stores.front(), {Access::kRead, true}));
    SNAP_TRY(check_origin_and_cow(context, spec.base, *origin, *cow));
  }
  const OpenOptions options{access, context.policy.force_share};
  OpenPair pair;
  SNAP_ASSIGN(pair.origin, opener.open(spec.base, options));
  SNAP_ASSIGN(pair.cow, opener.open(spec.stores.front(), options));
  return pair;
}

Result<std::unique_ptr<PosixFile>> find_undo_file(const std::string& path, const OpenPair& pair,
                                                  Access access) {
  // Looked at read-only first, as open_pair does.
  const auto there = PosixFile::open(path, {Access::kRead, true});
  if (!there) {
    if (there.error().code() == ErrorCode::kNotFound) return std::unique_ptr<PosixFile>();
    return there.error();
  }
  if (share_storage(**there, *pair.origin) || share_storage(**there, *pair.cow)) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is an input: it cannot be the undo file; name another", path));
  }
  if ((*there)->is_block_device()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a block device: the undo file must be a file", path));
  }
  return PosixFile::open(path, {access, false});
}

Result<std::optional<FileSpec>> existing_cow(const std::string& operand) {
  const bool literal = operand.rfind("file:", 0) == 0;
  const std::string path = literal ? operand.substr(5) : operand;
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0) return std::optional(FileSpec(path));
  if (literal || check_output_name(path)) return std::optional<FileSpec>();
  SNAP_ASSIGN(ImageSpec spec, parse_image_spec(operand));
  if (!spec.stores.empty() || !spec.view_parts.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' names a view where a COW is expected", operand));
  }
  return std::optional(std::move(spec.base));
}

Result<void> check_has_no_content(File& cow) {
  SNAP_ASSIGN(const bool is_store, looks_like_store(cow));
  if (is_store) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a dm-snapshot store already", cow.name()))
        .with_remedy(Remedy::kForce);
  }
  std::vector<std::byte> head(std::min(cow.size(), kMiB));
  SNAP_TRY(cow.read_at(0, head));
  if (std::any_of(head.begin(), head.end(), [](std::byte byte) { return byte != std::byte{0}; })) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' has content: is it the right file?", cow.name()))
        .with_remedy(Remedy::kForce);
  }
  return {};
}

}  // namespace snaptool::access
