// SPDX-License-Identifier: Apache-2.0
#include "cli/opener.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "cli/format_file.h"
#include "cli/split_raw.h"
#include "cli/stdio.h"
#include "formats/known_format.h"
#include "formats/lvm2/physical_volume.h"
#include "formats/partition/partition_table.h"
#include "libsnap/snap/persistent_store.h"

namespace snaptool::cli {
namespace {

constexpr OpenOptions kLook{Access::kRead, true};

std::optional<FileId> id_of(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return std::nullopt;
  return S_ISBLK(st.st_mode) ? FileId{0, st.st_rdev} : FileId{st.st_dev, st.st_ino};
}

std::shared_ptr<File> slice(std::shared_ptr<File> file, const std::string& name, uint64_t offset,
                            uint64_t length) {
  return std::make_shared<PartFile>(
      name, std::vector<PartSegment>{{length, {{std::move(file), offset}}, 0}});
}

Result<std::shared_ptr<File>> open_partition(const std::shared_ptr<File>& disk, const Part& part,
                                             const std::string& name, bool write,
                                             std::vector<std::string>& warnings) {
  SNAP_ASSIGN(const auto table, read_partition_table(*disk));
  if (!table) {
    return Error(ErrorCode::kNotFound, fmt::format("'{}' has no partition table", disk->name()));
  }
  warnings = table->warnings;
  std::string numbers;
  for (const Partition& partition : table->partitions) {
    if (partition.number != part.number) {
      numbers += fmt::format("{}p{}", numbers.empty() ? "" : ", ", partition.number);
      continue;
    }
    if (write && partition.overlaps != 0) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("'{}' shares bytes with partition {}: it is not written to", name,
                               partition.overlaps));
    }
    if (partition.passes_end) {
      warnings.push_back(
          fmt::format("partition {} goes on behind the end of '{}': what is missing "
                      "cannot be read",
                      part.number, disk->name()));
    }
    return slice(disk, name, partition.offset, partition.length);
  }
  return Error(ErrorCode::kNotFound, fmt::format("'{}' has no partition {}, only: {}", disk->name(),
                                                 part.number, numbers.empty() ? "none" : numbers));
}

Result<std::shared_ptr<File>> open_slice(const std::shared_ptr<File>& file, const Part& part,
                                         const std::string& name) {
  const uint64_t size = file->size();
  const uint64_t length = part.length.value_or(size - std::min(size, part.offset));
  if (part.offset > size || length > size - part.offset) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("'#{}' passes the end of '{}' at byte {}",
                                                          part.text, file->name(), size));
  }
  return slice(file, name, part.offset, length);
}

// What a volume's part names.
Result<lvm2::VolumeName> resolve_part(const lvm2::VolumeGroup& group, const Part& part) {
  if (part.own_bytes) return lvm2::VolumeName{part.volume, {}};
  return lvm2::resolve_name(group, part.volume);
}

// The file that an image names as its parent. Errors: kUnsupported for what is no file, and for
// formats that are not read.
Result<FileSpec> parent_spec(const std::string& path, const ParentRef& parent) {
  constexpr std::string_view kFile = "file:";
  std::string name = parent.name;
  if (name.rfind(kFile, 0) == 0) name.erase(0, kFile.size());
  const size_t colon = name.find(':');
  if (colon != std::string::npos && colon < name.find('/')) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("the parent of '{}' is '{}': only files are followed", path, name));
  }
  const FormatDriver* const driver = parent.format ? find_format(*parent.format) : nullptr;
  if (parent.format && *parent.format != "raw" && (driver == nullptr || !driver->can_be_parent)) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("the parent of '{}', '{}', has the format '{}', which is not read",
                             path, name, *parent.format));
  }
  const size_t folder = path.rfind('/');
  if (!name.empty() && name[0] != '/' && folder != std::string::npos) {
    name.insert(0, path.substr(0, folder + 1));
  }
  FileSpec spec(name);
  spec.format = parent.format;
  return spec;
}

// A file of a format that is known and not read is no raw image.
Result<void> check_raw(const std::string& path, File& file) {
  SNAP_ASSIGN(const KnownFormat* const known, detect_known_format(file));
  if (known == nullptr) return {};
  return Error(ErrorCode::kUnsupported,
               fmt::format("'{}' is {}, which is not read: {} (-f raw takes its bytes as they are)",
                           path, known->label, remedy_for(*known, path)));
}

// Nor is one written to as if it were, which would destroy the image that it holds.
Result<void> check_writable(const std::string& path, File& file) {
  SNAP_ASSIGN(const KnownFormat* const known, detect_known_format(file));
  SNAP_ASSIGN(const FormatDriver* const driver, detect_format(file));
  if (known != nullptr ? known->is_disk : driver == nullptr) return {};
  return Error(ErrorCode::kUnsupported,
               fmt::format("'{}' has the magic of {}: only raw images are written to in place (-f "
                           "raw says that it is one, and the magic a guest's)",
                           path, known != nullptr ? known->label : driver->name));
}

FileSpec cow_of(const FileSpec& volume, const std::string& snapshot) {
  FileSpec cow = volume.with_own_volume(snapshot, snapshot + "-cow");
  cow.format = kStoreFormat;
  return cow;
}

}  // namespace

Result<std::optional<std::string>> vgcfg_backup(const Invocation& invocation) {
  const auto path = invocation.value("vgcfg");
  if (!path) return std::optional<std::string>();
  SNAP_ASSIGN(const auto file, PosixFile::open(*path, kLook));
  if (file->size() > lvm2::kMostMetadata) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is too large to be a backup of LVM's metadata", *path));
  }
  std::string text(file->size(), '\0');
  SNAP_TRY(file->read_at(0, std::as_writable_bytes(std::span(text))));
  return std::optional(std::move(text));
}

void Opener::expect_writes(const FileSpec& spec) {
  writes_ = true;
  for (const FileSpec::Source& source : spec.sources) {
    if (const auto id = id_of(source.path)) written_.push_back(*id);
  }
}

Result<std::shared_ptr<File>> Opener::open_path(const std::string& path,
                                                const OpenOptions& options) {
  const auto id = id_of(path);
  OpenOptions wanted = options;
  if (id) {
    for (const auto& [other, file] : open_) {
      if (other == *id) return file;
    }
    if (std::find(written_.begin(), written_.end(), *id) != written_.end()) {
      wanted = {Access::kReadWrite, false};
    }
  }
  SNAP_ASSIGN(auto opened, PosixFile::open(path, wanted));
  SNAP_TRY(check_not_printed_to(*opened->id(), path));
  if (opened->distrusts_map() && warned_of_map_.insert(path).second) {
    invocation_.warn(
        fmt::format("the file system's map of '{}' shows fewer data than the file has "
                    "blocks: it is not trusted, and all of the file is read",
                    path));
  }
  const std::shared_ptr<File> file = std::move(opened);
  invocation_.say(fmt::format("'{}' is opened {}", path,
                              wanted.access == Access::kRead ? "read-only" : "for writing"));
  if (id) open_.emplace_back(*id, file);
  return file;
}

std::vector<std::shared_ptr<File>> Opener::files() const {
  std::vector<std::shared_ptr<File>> files;
  for (const auto& [id, file] : open_) files.push_back(file);
  return files;
}

bool Opener::has_parent_option() const {
  return invocation_.command().shared.find('P') != std::string_view::npos &&
         invocation_.has("parent");
}

Result<std::shared_ptr<File>> Opener::open_source(const std::string& path, const FileSpec& spec,
                                                  const OpenOptions& options, Followed followed) {
  if (spec.format == "split") return open_split(path, options);
  const std::string second = second_part_of(path);
  if (!second.empty()) {
    invocation_.warn(fmt::format(
        "'{}' is there, too: '{}' may be only a part of an image, which -f split reads whole",
        second, path));
  }
  SNAP_ASSIGN(auto file, open_path(path, options));
  const FormatDriver* driver = spec.format ? find_format(*spec.format) : nullptr;
  if (!spec.format && options.access == Access::kReadWrite) {
    SNAP_TRY(check_writable(path, *file));
  } else if (!spec.format && spec.by_magic) {
    SNAP_ASSIGN(driver, detect_format(*file));
    if (driver == nullptr) SNAP_TRY(check_raw(path, *file));
  }
  const bool is_raw = driver == nullptr || driver->facts == nullptr;
  if (is_raw && spec.is_main && has_parent_option()) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("'{}' has no parent", path));
  }
  if (is_raw) return file;
  if (options.access == Access::kReadWrite) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is taken for {}, which can only be read", path, driver->name));
  }
  return open_format(path, std::move(file), *driver, spec.is_main, std::move(followed));
}

Result<std::shared_ptr<File>> Opener::open_format(const std::string& path,
                                                  std::shared_ptr<File> file,
                                                  const FormatDriver& driver, bool is_main,
                                                  Followed followed) {
  constexpr size_t kMostFollowed = 256;
  if (std::find(followed.begin(), followed.end(), file.get()) != followed.end() ||
      followed.size() >= kMostFollowed) {
    return Error(
        ErrorCode::kCorruption,
        fmt::format("the way from parent to parent comes back to '{}', or does not end", path));
  }
  SNAP_ASSIGN(const FormatFacts facts, driver.facts(*file, invocation_.cancel()));
  for (const std::string& warning : facts.warnings) invocation_.warn(warning);
  if (facts.corrupt && !invocation_.has("ignore-invalid")) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}' is marked as corrupt (--ignore-invalid reads it)", path));
  }
  if (is_main && !facts.parent && has_parent_option()) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("'{}' has no parent", path));
  }
  FormatOptions options{invocation_.cancel()};
  if (is_main) options.snapshot = invocation_.value("internal-snapshot");
  options.warn = [&invocation = invocation_](const std::string& text) { invocation.warn(text); };
  followed.push_back(file.get());
  if (facts.parent) {
    SNAP_ASSIGN(auto parent, open_parent(path, *facts.parent, is_main, followed));
    if (is_main && has_parent_option() && parent->size() < facts.size) {
      invocation_.warn(
          fmt::format("the parent '{}' has {} bytes, and '{}' {}: what is missing of it "
                      "is read as zeros",
                      parent->name(), parent->size(), path, facts.size));
    }
    options.parent = std::make_shared<FileImage>(std::move(parent));
  }
  SNAP_ASSIGN(auto image, driver.open(std::move(file), options));
  return std::make_shared<FormatFile>(std::move(image));
}

Result<std::shared_ptr<File>> Opener::open_parent(const std::string& path, const ParentRef& parent,
                                                  bool is_main, const Followed& followed) {
  const auto named = has_parent_option() ? invocation_.value("parent") : std::nullopt;
  if (named && is_main) {
    SNAP_ASSIGN(ImageSpec spec, parse_image_spec(*named));
    if (!spec.stores.empty()) {
      return Error(ErrorCode::kUnsupported, fmt::format("'{}': a view is no parent here", *named));
    }
    spec.base.by_magic = true;
    if (parent.format != "raw") return open(spec.base, kLook);
    spec.base.format = "raw";
    SNAP_ASSIGN(auto file, open(spec.base, kLook));
    if (!spec.base.is_whole_file()) return file;
    SNAP_ASSIGN(const FormatDriver* const driver, detect_format(*file));
    SNAP_ASSIGN(const KnownFormat* const known, detect_known_format(*file));
    if (driver == nullptr && (known == nullptr || known->is_disk)) return file;
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("'{}' says that its parent is raw, and '{}' has the magic of {}: it is "
                    "not that parent",
                    path, *named, driver != nullptr ? driver->name : known->label));
  }
  const auto base = invocation_.value("base");
  SNAP_ASSIGN(const FileSpec spec, parent_spec(path, parent));
  const bool is_base = base && id_of(*base) && id_of(*base) == id_of(spec.path());
  if (!invocation_.has("follow-parents") && !is_base) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is only what changed over its parent '{}', which is not opened "
                             "unasked (--follow-parents opens it)",
                             path, parent.name));
  }
  auto file = open_path(spec.path(), kLook);
  if (!file && file.error().code() == ErrorCode::kNotFound) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' needs its parent '{}', which is not there", path, spec.path()));
  }
  if (!file) return file;
  SNAP_ASSIGN(const FormatDriver* const looks_like, detect_format(**file));
  if (!spec.format && looks_like != nullptr) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' does not say which format its parent '{}' has, and what looks "
                             "like one may have been written by a guest (--parent names it)",
                             path, parent.name));
  }
  return open_source(spec.path(), spec, kLook, followed);
}

Result<std::shared_ptr<File>> Opener::open_split(const std::string& path,
                                                 const OpenOptions& options) {
  if (options.access == Access::kReadWrite) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is a split image: it can only be read", path));
  }
  SNAP_ASSIGN(const std::vector<std::string> names, split_raw_names(path));
  std::vector<std::shared_ptr<File>> parts;
  for (const std::string& name : names) {
    SNAP_ASSIGN(auto part, open_path(name, options));
    parts.push_back(std::move(part));
  }
  return join_split_raw(std::move(parts));
}

Result<std::vector<std::shared_ptr<File>>> Opener::open_sources(const FileSpec& spec,
                                                                const OpenOptions& options) {
  std::vector<std::shared_ptr<File>> files;
  for (const FileSpec::Source& source : spec.sources) {
    SNAP_ASSIGN(auto file, open_source(source.path, spec, options));
    SNAP_ASSIGN(file, open_parts(std::move(file), source.parts));
    files.push_back(std::move(file));
  }
  return files;
}

Result<lvm2::OpenVolumeGroup> Opener::group_over(std::vector<std::shared_ptr<File>> devices,
                                                 const Part& part) {
  const std::string first = devices.front()->name();
  SNAP_ASSIGN(const auto backup, vgcfg_backup(invocation_));
  SNAP_ASSIGN(auto group, lvm2::OpenVolumeGroup::open(std::move(devices), backup));
  for (const std::string& warning : group.warnings()) {
    invocation_.warn(warning);
  }
  if (group.group().name != part.group) {
    return Error(ErrorCode::kNotFound, fmt::format("'{}' holds volume group '{}', not '{}'", first,
                                                   group.group().name, part.group));
  }
  return group;
}

Result<std::shared_ptr<File>> Opener::open_volume(std::vector<std::shared_ptr<File>> devices,
                                                  const Part& part, const std::string& name) {
  SNAP_ASSIGN(const auto group, group_over(std::move(devices), part));
  const auto doubts = group.doubts();
  if (writes_ && !doubts.empty() && !invocation_.has("force")) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not written to, since LVM's metadata may be out of date: {}: "
                             "name all PVs of the group",
                             name, doubts.front()));
  }
  SNAP_ASSIGN(const lvm2::VolumeName volume, resolve_part(group.group(), part));
  if (volume.snapshot) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is the view of a snapshot within an image: name its halves, "
                             "'{}-real' and '{}-cow'",
                             name, volume.lv, volume.snapshot->name));
  }
  return group.open_volume(volume.lv, name);
}

Result<std::shared_ptr<File>> Opener::open_parts(std::shared_ptr<File> file,
                                                 const std::vector<Part>& parts) {
  for (const Part& part : parts) {
    const std::string name = file->name() + "#" + part.text;
    std::vector<std::string> warnings;
    switch (part.kind) {
      case Part::Kind::kPartition: {
        SNAP_ASSIGN(file, open_partition(file, part, name, writes_, warnings));
        break;
      }
      case Part::Kind::kSlice: {
        SNAP_ASSIGN(file, open_slice(file, part, name));
        break;
      }
      case Part::Kind::kVolume: {
        SNAP_ASSIGN(file, open_volume({file}, part, name));
        break;
      }
    }
    for (const std::string& warning : warnings) invocation_.warn(warning);
  }
  return file;
}

Result<std::vector<std::shared_ptr<File>>> Opener::open_all(const FileSpec& spec,
                                                            const OpenOptions& options) {
  if (spec.sources.size() > 1 && spec.parts.empty()) return open_sources(spec, options);
  SNAP_ASSIGN(auto file, open(spec, options));
  return std::vector{std::move(file)};
}

Result<std::shared_ptr<File>> Opener::open(const FileSpec& spec, const OpenOptions& options) {
  if (options.access == Access::kReadWrite) writes_ = true;
  SNAP_ASSIGN(auto files, open_sources(spec, options));
  if (files.size() == 1) return open_parts(files.front(), spec.parts);
  if (spec.parts.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}': several files are one image only as the PVs of a volume group "
                             "(#GROUP/VOLUME)",
                             spec.name()));
  }
  FileSpec volume = spec;
  volume.parts.erase(volume.parts.begin() + 1, volume.parts.end());
  SNAP_ASSIGN(auto file, open_volume(std::move(files), spec.parts.front(), volume.name()));
  return open_parts(std::move(file), {spec.parts.begin() + 1, spec.parts.end()});
}

Result<lvm2::OpenVolumeGroup> Opener::open_group(const FileSpec& spec, const OpenOptions& options) {
  SNAP_ASSIGN(auto files, open_sources(spec, options));
  if (files.size() == 1) {
    SNAP_ASSIGN(files.front(),
                open_parts(files.front(), {spec.parts.begin(), spec.parts.end() - 1}));
  } else if (spec.parts.size() > 1) {
    FileSpec inner = spec;
    inner.parts.pop_back();
    SNAP_ASSIGN(auto file, open(inner, options));
    files = {std::move(file)};
  }
  return group_over(std::move(files), spec.parts.back());
}

Result<ImageSpec> resolve(const Invocation& invocation, ImageSpec spec) {
  // Only looks: nobody is kept out, and nobody keeps it out.
  Opener look(invocation);
  std::optional<lvm2::VolumeGroup> base_group;
  std::string base_volume;
  const FileSpec base = spec.base;
  if (base.volume() != nullptr) {
    SNAP_ASSIGN(const auto open, look.open_group(base, kLook));
    base_group = open.group();
    SNAP_ASSIGN(const lvm2::VolumeName name, resolve_part(*base_group, *base.volume()));
    base_volume = name.lv;
    const bool names_snapshot = name.snapshot && name.snapshot->name == base.volume()->volume;
    if (name.snapshot && (names_snapshot || spec.stores.empty())) {
      const bool merging = base_group->merging_into(name.lv) != nullptr;
      spec.base = base.with_own_volume(name.lv, merging ? name.lv + "-real" : name.lv);
      spec.stores.insert(spec.stores.begin(), cow_of(base, name.snapshot->name));
      base_volume.clear();
    } else if (name.snapshot) {
      spec.base = base.with_own_volume(name.lv, name.lv + "-real");
    }
  }
  for (FileSpec& store : spec.stores) {
    if (store.volume() == nullptr) continue;
    SNAP_ASSIGN(const auto open, look.open_group(store, kLook));
    SNAP_ASSIGN(const lvm2::VolumeName name, resolve_part(open.group(), *store.volume()));
    const auto* const snapshot =
        open.group().find_snapshot(name.snapshot ? name.snapshot->name : name.lv);
    // A snapshot's name stands for its COW.
    if (snapshot != nullptr) store = cow_of(store, snapshot->name);
    if (snapshot != nullptr && base_group && base_group->uuid == open.group().uuid &&
        !base_volume.empty() && snapshot->origin != base_volume) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}/{}' is a snapshot of '{}', not of '{}'", open.group().name,
                               snapshot->name, snapshot->origin, base_volume));
    }
  }
  return spec;
}

Result<ImageSpec> image_named(const Invocation& invocation, const std::string& text,
                              std::string_view format_option) {
  SNAP_ASSIGN(ImageSpec spec, parse_image_spec(text));
  spec.base.format = invocation.value(format_option);
  // An origin is a guest's to write to, its first bytes too.
  spec.base.by_magic = spec.stores.empty();
  spec.base.is_main = format_option == "format";
  return resolve(invocation, std::move(spec));
}

Result<ImageSpec> image_operand(const Invocation& invocation, size_t index,
                                std::string_view format_option) {
  return image_named(invocation, invocation.operands()[index], format_option);
}

Result<ImageSpec> target_operand(const Invocation& invocation, size_t index) {
  SNAP_ASSIGN(ImageSpec spec, parse_image_spec(invocation.operands()[index]));
  spec.base.format = invocation.value("format");
  return resolve(invocation, std::move(spec));
}

Result<FileSpec> cow_operand(const Invocation& invocation, const std::string& text) {
  SNAP_ASSIGN(ImageSpec spec, parse_image_spec(text));
  if (spec.stores.empty() && spec.base.volume() != nullptr) {
    SNAP_ASSIGN(ImageSpec view, resolve(invocation, spec));
    spec.base = view.stores.empty() ? view.base : view.stores.front();
  }
  if (!spec.stores.empty() || !spec.view_parts.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' names a view where a COW is expected", text));
  }
  spec.base.format = kStoreFormat;
  return spec.base;
}

Result<ImageSpec> origin_and_cow_operands(const Invocation& invocation, size_t first) {
  const auto& operands = invocation.operands();
  SNAP_ASSIGN(
      ImageSpec spec,
      parse_origin_and_cow({operands.begin() + static_cast<ptrdiff_t>(first), operands.end()}));
  SNAP_ASSIGN(spec, resolve(invocation, std::move(spec)));
  if (spec.stores.empty()) return cow_is_missing();
  spec.base.format = invocation.value("format");
  return spec;
}

Result<std::vector<std::string>> lvm_siblings(const Invocation& invocation, const FileSpec& origin,
                                              const std::vector<FileSpec>& known) {
  std::vector<std::string> names;
  if (origin.volume() == nullptr) return names;
  Opener look(invocation);
  SNAP_ASSIGN(const auto open, look.open_group(origin, kLook));
  SNAP_ASSIGN(const lvm2::VolumeName volume, resolve_part(open.group(), *origin.volume()));
  std::set<std::string> named;
  for (const FileSpec& cow : known) {
    if (cow.volume() == nullptr) continue;
    SNAP_ASSIGN(const lvm2::VolumeName name, resolve_part(open.group(), *cow.volume()));
    named.insert(name.snapshot ? name.snapshot->name : name.lv);
  }
  for (const lvm2::SnapshotEntry* snapshot : open.group().snapshots_of(volume.lv)) {
    if (named.count(snapshot->name) > 0) continue;
    SNAP_ASSIGN(const auto cow, open.open_volume(snapshot->name, snapshot->name));
    const auto store = PersistentStore::open(*cow);
    // One that is invalid, or was never used, shows nothing that could be lost; of a damaged one,
    // nobody knows.
    if (store && store->state() != StoreState::kValid) continue;
    names.push_back(fmt::format("{}/{}", open.group().name, snapshot->name));
  }
  return names;
}

Result<void> check_lvm_siblings(const Invocation& invocation, const FileSpec& origin,
                                const std::vector<FileSpec>& known, std::string_view remedy) {
  SNAP_ASSIGN(const std::vector<std::string> siblings, lvm_siblings(invocation, origin, known));
  if (siblings.empty()) return {};
  const std::string text =
      fmt::format("LVM has other snapshots of '{}', which lose their views by this: {}",
                  origin.name(), fmt::join(siblings, ", "));
  if (!invocation.has("force")) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} ({}{}--force does it all the same)", text, remedy,
                             remedy.empty() ? "" : ", "));
  }
  invocation.warn(text);
  return {};
}

}  // namespace snaptool::cli
