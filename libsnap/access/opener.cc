// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/opener.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "libsnap/access/medium.h"
#include "libsnap/access/split_raw.h"
#include "libsnap/io/content_file.h"

namespace snaptool::access {
namespace {

// A file of a format that is known and not read is no raw image.
Result<void> check_raw(const Drivers& drivers, const std::string& path, File& file) {
  SNAP_ASSIGN(const KnownFormat* const known, drivers.detect_known(file));
  if (known == nullptr) return {};
  const std::string instead = remedy_for(*known, path);
  return Error(ErrorCode::kUnsupported,
               fmt::format("'{}' is {}, which is not read{}{}", path, known->label,
                           instead.empty() ? "" : ": ", instead))
      .with_remedy(instead.empty() ? known->own : Remedy::kTakeAsRaw);
}

// Nor is one written to as if it were, which would destroy the image that it holds.
Result<void> check_writable(const Drivers& drivers, const std::string& path, File& file) {
  SNAP_ASSIGN(const KnownFormat* const known, drivers.detect_known(file));
  SNAP_ASSIGN(const ImageDriver* const driver, drivers.detect_image(file));
  if (known != nullptr ? known->is_disk : driver->kind != ImageKind::kImage) return {};
  return Error(ErrorCode::kUnsupported,
               fmt::format("'{}' has the magic of {}: only raw images are written to in place",
                           path, driver->kind == ImageKind::kImage ? driver->name : known->label))
      .with_remedy(Remedy::kTakeAsRaw);
}

}  // namespace

Result<void> check_not_printed_to(const Context& context, const File& file) {
  const auto& ids = context.policy.printed_to;
  if (!file.id() || std::find(ids.begin(), ids.end(), *file.id()) == ids.end()) return {};
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("'{}' is an input, and what is printed would go into it", file.name()));
}

std::optional<FileId> id_of(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return std::nullopt;
  return S_ISBLK(st.st_mode) ? FileId{0, st.st_rdev} : FileId{st.st_dev, st.st_ino};
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
  SNAP_ASSIGN(const std::shared_ptr<File> file, context_.files.open(path, wanted));
  SNAP_TRY(check_not_printed_to(context_, *file));
  if (file->distrusts_map() && warned_of_map_.insert(path).second) {
    context_.notices.warn(
        fmt::format("the file system's map of '{}' shows fewer data than the file has "
                    "blocks: it is not trusted, and all of the file is read",
                    path));
  }
  context_.notices.say(fmt::format("'{}' is opened {}", path,
                                   wanted.access == Access::kRead ? "read-only" : "for writing"));
  if (context_.policy.from_medium) SNAP_TRY(trust_only_medium(context_, *file));
  if (context_.policy.leave_cache) file->leave_cache();
  if (id) open_.emplace_back(*id, file);
  return file;
}

std::vector<std::shared_ptr<File>> Opener::files() const {
  std::vector<std::shared_ptr<File>> files;
  for (const auto& [id, file] : open_) files.push_back(file);
  return files;
}

Result<std::shared_ptr<File>> Opener::open_source(const std::string& path, const FileSpec& spec,
                                                  const OpenOptions& options, Followed followed) {
  if (spec.format == "split") return open_split(path, spec, options);
  warn_of_other_part(path, second_part_of(path));
  SNAP_ASSIGN(auto file, open_path(path, options));
  const Drivers& drivers = context_.drivers;
  const ImageDriver* driver = spec.format ? drivers.find_image(*spec.format) : &drivers.raw();
  if (driver == nullptr && *spec.format != kStoreFormat) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("there is no format '{}', which '{}' is to have", *spec.format, path));
  }
  if (driver == nullptr) driver = &drivers.raw();
  if (!spec.format && options.access == Access::kReadWrite) {
    SNAP_TRY(check_writable(drivers, path, *file));
  } else if (!spec.format && spec.by_magic) {
    SNAP_ASSIGN(driver, drivers.detect_image(*file));
    if (driver->kind == ImageKind::kRaw) SNAP_TRY(check_raw(drivers, path, *file));
    if (driver->open_parts != nullptr) warn_of_other_part(path, other_counted_part_of(path));
  }
  const bool is_raw = driver->kind != ImageKind::kImage;
  if (spec.is_main) SNAP_TRY(check_main(path, *driver));
  if (is_raw && named_parent(followed) != nullptr) return has_no_parent(path);
  if (is_raw) return file;
  if (options.access == Access::kReadWrite) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is read as {}, which cannot be written to", path, driver->name));
  }
  return open_image(path, std::move(file), *driver, spec.is_main, std::move(followed));
}

void Opener::warn_of_other_part(const std::string& path, const std::string& other) const {
  if (other.empty()) return;
  context_.notices.warn(
      fmt::format("'{}' exists, too: '{}' may be only a part of an image", other, path),
      Remedy::kJoinSplit);
}

Error Opener::has_no_parent(const std::string& path) const {
  return {ErrorCode::kInvalidArgument, fmt::format("'{}' has no parent", path)};
}

// That what the policy says of the main image can be done with one of that format. Errors:
// kInvalidArgument.
Result<void> Opener::check_main(const std::string& path, const ImageDriver& driver) const {
  if (driver.kind != ImageKind::kImage && !context_.policy.parents.empty()) {
    return has_no_parent(path);
  }
  if (!driver.has_snapshots && context_.policy.internal_snapshot) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' has the format {}, and so no snapshots within", path, driver.name));
  }
  return {};
}

Result<std::shared_ptr<File>> Opener::open_split(const std::string& path, const FileSpec& spec,
                                                 const OpenOptions& options) {
  if (options.access == Access::kReadWrite) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is a split image: it can only be read", path));
  }
  SNAP_ASSIGN(const auto first, open_path(path, options));
  SNAP_ASSIGN(const ImageDriver* const driver, context_.drivers.detect_image(*first));
  const bool counted = driver->open_parts != nullptr;
  SNAP_ASSIGN(const std::vector<SplitPart> found,
              counted ? find_counted_parts(path) : find_split_raw(path));
  std::vector<std::shared_ptr<File>> parts;
  for (const SplitPart& one : found) {
    SNAP_ASSIGN(auto part, open_path(one.name, options));
    if (part->id() != one.id || std::find(parts.begin(), parts.end(), part) != parts.end()) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is another part as well, or was replaced just now", one.name));
    }
    parts.push_back(std::move(part));
  }
  if (!counted) {
    SNAP_ASSIGN(auto joined, join_split_raw(std::move(parts)));
    return open_joined(path, spec, std::move(joined));
  }
  if (spec.is_main) SNAP_TRY(check_main(path, *driver));
  SNAP_ASSIGN(auto image, driver->open_parts(std::move(parts), ImageOptions{context_.cancel}));
  return std::make_shared<ContentFile>(std::move(image));
}

// Whatever is in pieces is what it is as a whole.
Result<std::shared_ptr<File>> Opener::open_joined(const std::string& path, const FileSpec& spec,
                                                  std::shared_ptr<File> file) {
  SNAP_ASSIGN(const ImageDriver* const driver, context_.drivers.detect_image(*file));
  if (spec.is_main) SNAP_TRY(check_main(path, *driver));
  if (driver->kind == ImageKind::kRaw) SNAP_TRY(check_raw(context_.drivers, path, *file));
  if (driver->kind != ImageKind::kImage) return file;
  return open_image(path, std::move(file), *driver, spec.is_main, {});
}

Result<std::vector<std::shared_ptr<File>>> Opener::open_sources(const FileSpec& spec,
                                                                const OpenOptions& options,
                                                                const Followed& followed) {
  std::vector<std::shared_ptr<File>> files;
  for (const FileSpec::Source& source : spec.sources) {
    if (!source.hides.empty()) {
      context_.notices.warn(
          fmt::format("there is a file named '{0}': it is used, and nothing of '{1}' "
                      "(file:{0} says that it is meant)",
                      source.path, source.hides));
    }
    SNAP_ASSIGN(auto file, open_source(source.path, spec, options, followed));
    SNAP_ASSIGN(file, open_parts(std::move(file), source.parts));
    files.push_back(std::move(file));
  }
  return files;
}

Result<std::vector<std::shared_ptr<File>>> Opener::open_all(const FileSpec& spec,
                                                            const OpenOptions& options) {
  if (spec.sources.size() > 1 && spec.parts.empty()) return open_sources(spec, options);
  SNAP_ASSIGN(auto file, open(spec, options));
  return std::vector{std::move(file)};
}

Result<std::shared_ptr<File>> Opener::open(const FileSpec& spec, const OpenOptions& options) {
  return open(spec, options, {});
}

Result<std::shared_ptr<File>> Opener::open(const FileSpec& spec, const OpenOptions& options,
                                           const Followed& followed) {
  if (options.access == Access::kReadWrite) writes_ = true;
  SNAP_ASSIGN(auto files, open_sources(spec, options, followed));
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

}  // namespace snaptool::access
