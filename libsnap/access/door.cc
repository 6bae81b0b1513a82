// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/door.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "libsnap/access/medium.h"
#include "libsnap/access/pending_apply.h"
#include "libsnap/access/plain_disk.h"
#include "libsnap/access/resolve.h"
#include "libsnap/base/check.h"
#include "libsnap/io/storage.h"

namespace snaptool::access {

File& Target::file() const {
  SNAP_CHECK(writable_);
  return *file_;
}

bool Target::is_file() const {
  return spec_.is_whole_file() && file_->kind() == FileKind::kRegular;
}

std::vector<File*> Disk::files() const {
  std::vector<File*> all;
  for (const auto& file : below.files) all.push_back(file.get());
  all.push_back(&top.look());
  for (const Target& cow : cows) all.push_back(&cow.look());
  return all;
}

OpenOptions Door::options() const {
  return {access_, access_ == Access::kRead && context_.policy.force_share};
}

std::vector<const File*> Door::inputs() const {
  std::vector<const File*> all;
  for (const auto& file : opener_.files()) all.push_back(file.get());
  return all;
}

// Everything is looked at read-only first: two names of one file would lock each other out.
Result<void> Door::look_at(const ImageSpec& image, const std::vector<FileSpec>& cows) const {
  Opener look(context_);
  SNAP_ASSIGN(const auto base, look.open(image.base, kLook));
  std::vector<std::shared_ptr<File>> open{base};
  std::vector<FileSpec> stores = image.stores;
  stores.insert(stores.end(), cows.begin(), cows.end());
  for (const FileSpec& store : stores) {
    SNAP_ASSIGN(auto cow, look.open(store, kLook));
    for (const auto& other : open) SNAP_TRY(check_apart(*other, *cow));
    SNAP_TRY(check_origin_and_cow(context_, image.base, *base, *cow));
    if (!operation_.takes_any_cow) SNAP_TRY(check_no_plain_disk(context_, *cow));
    open.push_back(std::move(cow));
  }
  if (!image.stores.empty() || !operation_.takes_whole_disk || image.base.format) return {};
  SNAP_ASSIGN(const bool is_store, looks_like_store(*base));
  if (!is_store) return {};
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("'{0}' is a dm-snapshot store, only half of an image: name it as "
                           "ORIGIN@{0}",
                           image.base.name()))
      .with_remedy(Remedy::kTakeAsRaw);
}

Result<void> Door::check_no_apply(const FileSpec& spec) const {
  if (operation_.finishes_apply) return {};
  for (const FileSpec::Source& source : spec.sources) {
    const auto journal = pending_apply_of(source.path);
    if (!journal) continue;
    return Error(ErrorCode::kBusy,
                 fmt::format("an apply to '{}' is half done: finish it first, with its diffs, or "
                             "remove its journal '{}' to give it up",
                             source.path, *journal));
  }
  return {};
}

// What a change to it breaks.
Result<void> Door::check_alone(const FileSpec& spec, const std::vector<FileSpec>& known) const {
  SNAP_TRY(check_no_apply(spec));
  return check_siblings(context_, spec, known);
}

Result<Target> Door::open_target(const FileSpec& spec) {
  auto opened = opener_.open(spec, options());
  // What the user says of formats is about what is read.
  if (!opened && operation_.overwrites && opened.error().remedy() == Remedy::kTakeAsRaw) {
    return std::move(opened).error().with_remedy(Remedy::kForce);
  }
  SNAP_ASSIGN(auto file, std::move(opened));
  if (access_ == Access::kReadWrite) {
    SNAP_TRY(operation_.rewrites_data ? trust_metadata_on_medium(context_, *file)
                                      : trust_only_medium(context_, *file));
  }
  return Target(std::move(file), spec, access_ == Access::kReadWrite);
}

Result<Disk> Door::open_disk(const ImageSpec& image, const std::vector<FileSpec>& cows,
                             const SnapshotOptions& lower) {
  if (!image.view_parts.empty()) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is a part of a view: it can only be read", name_of(image)));
  }
  const bool is_view = !image.stores.empty();
  const FileSpec& top = is_view ? image.stores.back() : image.base;
  if (operation_.writes_disk && !is_view) SNAP_TRY(check_alone(top, cows));
  if (is_view) SNAP_TRY(check_no_apply(top));
  for (const FileSpec& cow : cows) SNAP_TRY(check_no_apply(cow));
  SNAP_TRY(look_at(image, cows));
  // Where several lie in one file, it is open once, for writing.
  if (access_ == Access::kReadWrite) {
    opener_.expect_writes(top);
    for (const FileSpec& cow : cows) opener_.expect_writes(cow);
  }
  Disk disk;
  if (is_view) {
    const ImageSpec below{image.base, {image.stores.begin(), image.stores.end() - 1}, {}};
    SNAP_ASSIGN(disk.below, open_layers(opener_, below));
    if (access_ == Access::kReadWrite && !operation_.rewrites_data) {
      for (const auto& file : disk.below.files) SNAP_TRY(trust_only_medium(context_, *file));
    }
  }
  SNAP_ASSIGN(disk.top, open_target(top));
  for (const FileSpec& cow : cows) {
    SNAP_ASSIGN(Target opened, open_target(cow));
    disk.cows.push_back(std::move(opened));
  }
  if (is_view) {
    SNAP_ASSIGN(auto view,
                Snapshot::open(disk.below.image(), disk.top.look(), lower, context_.cancel));
    disk.snapshot = view.get();
    disk.image = std::move(view);
    disk.view_file = std::make_unique<ContentFile>(*disk.image, Access::kReadWrite);
  } else {
    SNAP_TRY(warn_of_magic(context_, image.base, disk.top.look()));
    disk.image = std::make_unique<RawImage>(disk.top.look(), disk.top.look().size());
  }
  return disk;
}

// That no store is lost to a disk that is written over it.
static Result<void> check_no_store(File& file) {
  SNAP_ASSIGN(const bool is_store, looks_like_store(file));
  if (!is_store) return {};
  return Error(ErrorCode::kUnsupported,
               fmt::format("'{}' has the magic of a dm-snapshot store: only raw images are written "
                           "to in place",
                           file.name()))
      .with_remedy(Remedy::kForce);
}

Result<Target> Door::open_file(const FileSpec& spec, const FileSpec& base,
                               const std::vector<File*>& others) {
  SNAP_TRY(operation_.overwrites ? check_alone(spec, {}) : check_no_apply(spec));
  for (const FileSpec::Source& source : spec.sources) SNAP_TRY(check_not_read(source.path));
  {
    Opener look(context_);
    SNAP_ASSIGN(const auto file, look.open(spec, kLook));
    if (operation_.takes_whole_disk && !spec.format) SNAP_TRY(check_no_store(*file));
    for (File* const other : others) SNAP_TRY(check_apart(*other, *file));
    if (!others.empty()) {
      SNAP_TRY(check_origin_and_cow(context_, base, *others.front(), *file));
    }
    for (const File* const input : inputs()) {
      if (!operation_.overwrites || !others.empty() || !share_storage(*input, *file)) continue;
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is an input: it cannot be the output, too", spec.name()));
    }
  }
  if (access_ == Access::kReadWrite) opener_.expect_writes(spec);
  return open_target(spec);
}

Result<void> Door::check_not_read(const std::string& path) const {
  const auto& ids = context_.policy.read_beside;
  const auto id = id_of(path);
  if (!id || std::find(ids.begin(), ids.end(), *id) == ids.end()) return {};
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("'{}' is an input: it cannot be the output, too", path));
}

Result<void> Door::check_no_input(const std::string& path) const {
  const auto id = id_of(path);
  for (const File* const input : inputs()) {
    if (!id || input->id() != id) continue;
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is an input: it cannot be the output, too", path));
  }
  return {};
}

Result<std::unique_ptr<OutputFile>> Door::make_file(const std::string& path, uint64_t size) {
  return make_output(path, size, context_.policy.force);
}

Result<std::unique_ptr<OutputFile>> Door::make_new_file(const std::string& path) {
  return make_output(path, 0, false);
}

Result<std::unique_ptr<OutputFile>> Door::make_output(const std::string& path, uint64_t size,
                                                      bool replace) {
  SNAP_TRY(check_output_name(path));
  SNAP_TRY(check_not_read(path));
  SNAP_ASSIGN(auto output, OutputFile::create(path, size, inputs(), replace));
  if (context_.policy.leave_cache) output->file().leave_cache();
  return output;
}

Result<std::unique_ptr<OutputFile>> Door::resume_file(const std::string& path, uint64_t size) {
  SNAP_TRY(check_output_name(path));
  SNAP_TRY(check_not_read(path));
  SNAP_ASSIGN(auto output, OutputFile::resume(path, size, inputs(), context_.policy.force));
  if (context_.policy.leave_cache) output->file().leave_cache();
  return output;
}

Result<std::shared_ptr<File>> Door::find_notes(const std::string& path, std::string_view what) {
  SNAP_TRY(check_output_name(path));
  // Looked at read-only first, as everything.
  const auto there = context_.files.open(path, kLook);
  if (!there) {
    if (there.error().code() == ErrorCode::kNotFound) return std::shared_ptr<File>();
    return there.error();
  }
  for (const File* const input : inputs()) {
    if (!share_storage(**there, *input)) continue;
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is an input: it cannot be {}; name another", path, what));
  }
  SNAP_TRY(check_not_printed_to(context_, **there));
  if ((*there)->kind() == FileKind::kBlockDevice) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a block device: {} must be a file", path, what));
  }
  SNAP_ASSIGN(const auto file, context_.files.open(path, {access_, false}));
  if (access_ == Access::kReadWrite) SNAP_TRY(trust_only_medium(context_, *file));
  return file;
}

Result<std::shared_ptr<File>> Door::make_notes(const std::string& path) {
  SNAP_TRY(check_output_name(path));
  return context_.files.create(path);
}

}  // namespace snaptool::access
