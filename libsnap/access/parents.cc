// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "libsnap/access/opener.h"
#include "libsnap/access/pending_apply.h"
#include "libsnap/base/printable.h"
#include "libsnap/io/content_file.h"
#include "libsnap/io/folder.h"

namespace snaptool::access {
namespace {

std::string without_scheme(std::string name) {
  constexpr std::string_view kFile = "file:";
  if (name.rfind(kFile, 0) == 0) name.erase(0, kFile.size());
  return name;
}

// A name that is relative to the folder of `path`.
std::string beside(const std::string& path, std::string name) {
  const size_t folder = path.rfind('/');
  if (!name.empty() && name[0] != '/' && folder != std::string::npos) {
    name.insert(0, path.substr(0, folder + 1));
  }
  return name;
}

// A file that an image names as its parent. Errors: kUnsupported for what is no file, and for
// formats that are not read.
Result<FileSpec> parent_spec(const Drivers& drivers, const std::string& path,
                             const ParentRef& parent, std::string name) {
  name = without_scheme(std::move(name));
  const size_t colon = name.find(':');
  if (colon != std::string::npos && colon < name.find('/')) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("the parent of '{}' is '{}': only files are followed", path,
                             excerpt(name, kMostOfName)));
  }
  const ImageDriver* const driver = parent.format ? drivers.find_image(*parent.format) : nullptr;
  if (parent.format && (driver == nullptr || !driver->can_be_parent)) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("the parent of '{}', '{}', has the format '{}', which is not read",
                             path, excerpt(name, kMostOfName), excerpt(*parent.format)));
  }
  FileSpec spec(beside(path, std::move(name)));
  spec.format = parent.format;
  return spec;
}

// What to call the parent of an image that may not name it.
std::string label_of(const ParentRef& parent) {
  if (!parent.name.empty()) return fmt::format("'{}'", excerpt(parent.name, kMostOfName));
  return parent.identities.empty() ? "that it does not name" : parent.identities.front();
}

bool lies_in(const std::filesystem::path& folder, const std::filesystem::path& file) {
  const auto [end, ignored] = std::mismatch(folder.begin(), folder.end(), file.begin(), file.end());
  return end == folder.end();
}

// That Parents::kInFolder allows what `image` names as its `role`: `other`. Which file it is;
// nothing where there is none. Errors: kUnsupported.
Result<std::optional<FileId>> check_in_folder(const std::string& folder, std::string_view role,
                                              const std::string& image, const std::string& other) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const fs::path file = fs::canonical(other, failed);
  if (failed) return std::optional<FileId>();  // opening it says why
  const fs::path top = fs::canonical(folder, failed);
  if (!failed && lies_in(top, file) && fs::is_regular_file(file, failed)) return id_of(file);
  return Error(ErrorCode::kUnsupported,
               fmt::format("the {} of '{}', '{}', is not a plain file in or below '{}', the folder "
                           "of the image",
                           role, image, excerpt(other, kMostOfName), folder))
      .with_remedy(Remedy::kFollowAnywhere);
}

}  // namespace

std::string parent_path(const std::string& path, const ParentRef& parent) {
  return beside(path, without_scheme(parent.name));
}

ImageOptions Opener::options_for(const std::string& path) {
  ImageOptions options{context_.cancel};
  options.what_is_left = context_.policy.ignore_invalid || context_.policy.salvage;
  options.open_part = [this, path](const std::string& name) { return open_extent(path, name); };
  options.warn = [&notices = context_.notices](const std::string& text) { notices.warn(text); };
  return options;
}

Result<ImageFacts> Opener::whole_facts(const std::string& path, const std::shared_ptr<File>& file,
                                       const ImageDriver& driver) {
  if (driver.whole_facts == nullptr) return driver.facts(*file, context_.cancel);
  return driver.whole_facts(file, options_for(path));
}

Result<std::shared_ptr<File>> Opener::open_image(const std::string& path,
                                                 std::shared_ptr<File> file,
                                                 const ImageDriver& driver, bool is_main,
                                                 Followed followed) {
  constexpr size_t kMostFollowed = 256;
  auto& files = followed.files;
  if (std::find(files.begin(), files.end(), file.get()) != files.end() ||
      files.size() >= kMostFollowed) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("the chain of parents comes back to '{}', or does not end", path));
  }
  const Policy& policy = context_.policy;
  ImageFacts facts;
  if (policy.ignore_invalid || policy.salvage) {
    SNAP_ASSIGN(facts, whole_facts(path, file, driver));
  } else {
    SNAP_ASSIGN(facts, driver.facts(*file, context_.cancel));
  }
  for (const std::string& warning : facts.warnings) context_.notices.warn(warning);
  if (facts.corrupt && !policy.ignore_invalid) {
    return Error(ErrorCode::kCorruption, fmt::format("'{}' is marked as corrupt", path))
        .with_remedy(Remedy::kIgnoreInvalid);
  }
  if (facts.is_delta && !facts.parent) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' has only the changes over another image, and does not say over "
                             "which",
                             path));
  }
  if (is_main) followed.next_named = 0;
  const std::string* const named = named_parent(followed);
  if (!facts.parent && named != nullptr) return has_no_parent(path);
  ImageOptions options = options_for(path);
  if (is_main) options.snapshot = policy.internal_snapshot;
  if (files.empty()) followed.folder = folder_of(path);
  files.push_back(file.get());
  if (facts.parent) {
    SNAP_ASSIGN(auto parent, open_parent(path, facts, followed));
    if (named != nullptr && parent->size() < facts.size) {
      context_.notices.warn(
          fmt::format("the parent '{}' has {} bytes, and '{}' {}: what is missing "
                      "is read as zeros",
                      parent->name(), parent->size(), path, facts.size));
    }
    options.parent = std::make_shared<RawImage>(std::move(parent));
  }
  SNAP_ASSIGN(auto image, driver.open(std::move(file), options));
  return std::make_shared<ContentFile>(std::move(image));
}

// What the user names as the parent of what was come to; nullptr: nothing.
const std::string* Opener::named_parent(const Followed& followed) const {
  const auto& parents = context_.policy.parents;
  const bool is_named = followed.next_named && *followed.next_named < parents.size();
  return is_named ? &parents[*followed.next_named] : nullptr;
}

Result<std::shared_ptr<File>> Opener::open_named_parent(const std::string& path,
                                                        const ParentRef& parent,
                                                        const Followed& followed) {
  const std::string& named = *named_parent(followed);
  SNAP_ASSIGN(ImageSpec spec, parse_image_spec(named));
  if (!spec.stores.empty()) {
    return Error(ErrorCode::kUnsupported, fmt::format("'{}': a view cannot be a parent", named));
  }
  spec.base.by_magic = true;
  const OpenOptions options{Access::kRead, context_.policy.force_share};
  Followed further = followed;
  ++*further.next_named;
  if (parent.format != "raw") {
    // What a guest wrote at the beginning of a fixed one must not make another format of it.
    if (parent.format && context_.drivers.find_image(*parent.format) != nullptr) {
      spec.base.format = parent.format;
    }
    return open(spec.base, options, further);
  }
  spec.base.format = "raw";
  SNAP_ASSIGN(auto file, open(spec.base, options, further));
  if (!spec.base.is_whole_file()) return file;
  SNAP_ASSIGN(const ImageDriver* const driver, context_.drivers.detect_image(*file));
  SNAP_ASSIGN(const KnownFormat* const known, context_.drivers.detect_known(*file));
  const bool is_raw = driver->kind == ImageKind::kRaw;
  if (is_raw && (known == nullptr || known->is_disk)) return file;
  return Error(
      ErrorCode::kUnsupported,
      fmt::format("'{}' says that its parent is raw, and '{}' has the magic of {}: it is not that "
                  "parent",
                  path, named, is_raw ? known->label : driver->name));
}

// A file that is a part of an image, as a descriptor of VMware's names it.
Result<std::shared_ptr<File>> Opener::open_extent(const std::string& path,
                                                  const std::string& name) {
  const std::string folder = folder_of(path);
  const std::string file_name = beside(path, name);
  std::optional<FileId> checked;
  const bool anywhere = context_.policy.follow_parents == Parents::kAnywhere;
  if (!anywhere) {
    SNAP_ASSIGN(checked, check_in_folder(folder, "extent", path, file_name));
  }
  auto file = open_path(file_name, {Access::kRead, context_.policy.force_share});
  if (!file && file.error().code() == ErrorCode::kNotFound) {
    return Error(ErrorCode::kNotFound, fmt::format("'{}' needs '{}', which is not there", path,
                                                   excerpt(name, kMostOfName)));
  }
  if (file && !anywhere && (*file)->id() != checked) {
    return Error(ErrorCode::kBusy, fmt::format("'{}' was replaced just now", file_name));
  }
  return file;
}

// Where the image is come to by a link, its parent may lie beside that, or beside the image itself;
// but not both.
Result<void> Opener::check_not_another(const std::string& path, const ParentRef& parent,
                                       const std::string& found) {
  std::error_code failed;
  const std::string itself = std::filesystem::canonical(path, failed);
  if (failed) return {};
  const auto other = id_of(parent_path(itself, parent));
  const auto here = id_of(found);
  if (!other || !here || *other == *here) return {};
  return Error(
             ErrorCode::kWrongBase,
             fmt::format("'{}' is a link to '{}', and there is another parent '{}' beside the one "
                         "than beside the other",
                         path, itself, excerpt(parent.name, kMostOfName)))
      .with_remedy(Remedy::kNameParent);
}

// Which of the names that an image has for its parent is meant: the first that is there, and may be
// opened; else its first.
Result<FileSpec> Opener::find_parent(const std::string& path, const ParentRef& parent,
                                     const std::string& folder) const {
  SNAP_ASSIGN(FileSpec first, parent_spec(context_.drivers, path, parent, parent.name));
  SNAP_TRY(check_not_another(path, parent, first.path()));
  if (parent.other_names.empty() || id_of(first.path())) return first;
  for (const std::string& name : parent.other_names) {
    auto spec = parent_spec(context_.drivers, path, parent, name);
    if (!spec || !id_of(spec->path())) continue;
    const bool anywhere = context_.policy.follow_parents == Parents::kAnywhere;
    if (anywhere || check_in_folder(folder, "parent", path, spec->path())) return spec;
  }
  return first;
}

// That the file is the one that the image was made over, and has not changed since but by a merge
// of the image: then it has the identity of that, `own`. Errors: kWrongBase, which
// Policy::ignore_invalid makes a warning.
Result<void> Opener::check_identity(const std::string& path, const ParentRef& parent,
                                    const std::string& own, const std::string& file_name) {
  const auto& wanted = parent.identities;
  if (wanted.empty()) return {};
  SNAP_ASSIGN(const ImageSpec named, parse_image_spec(file_name));
  const FileSpec& spec = named.base;
  std::string found = "a part of a file, which has none";
  if (spec.is_whole_file()) {
    SNAP_ASSIGN(const auto file,
                open_path(spec.path(), {Access::kRead, context_.policy.force_share}));
    const ImageDriver* driver =
        parent.format ? context_.drivers.find_image(*parent.format) : nullptr;
    if (driver == nullptr) {
      SNAP_ASSIGN(driver, context_.drivers.detect_image(*file));
    }
    ImageFacts facts;
    if (driver->facts != nullptr) {
      SNAP_ASSIGN(facts, driver->facts(*file, context_.cancel));
    }
    const std::string& one = facts.identity;
    if (!one.empty() && one == own) return {};
    if (std::find(wanted.begin(), wanted.end(), one) != wanted.end()) return {};
    found = facts.identity.empty() ? "an image that has none" : facts.identity;
  }
  Error error(ErrorCode::kWrongBase,
              fmt::format("'{}' was made over {}, and '{}' is {}: it is another image, or was "
                          "changed since",
                          path, wanted.front(), file_name, found));
  if (!context_.policy.ignore_invalid) return std::move(error).with_remedy(Remedy::kIgnoreInvalid);
  context_.notices.warn(error.message());
  return {};
}

Result<std::shared_ptr<File>> Opener::open_parent(const std::string& path, const ImageFacts& facts,
                                                  const Followed& followed) {
  const ParentRef& parent = *facts.parent;
  const Policy& policy = context_.policy;
  if (const std::string* const name = named_parent(followed)) {
    SNAP_TRY(check_identity(path, parent, facts.identity, *name));
    return open_named_parent(path, parent, followed);
  }
  if (parent.name.empty()) {
    return Error(
               ErrorCode::kWrongBase,
               fmt::format("'{}' has only the changes over its parent, {}, and does not say where "
                           "that is",
                           path, label_of(parent)))
        .with_remedy(Remedy::kNameParent);
  }
  SNAP_ASSIGN(const FileSpec spec, find_parent(path, parent, followed.folder));
  const auto known = policy.known_parent ? id_of(*policy.known_parent) : std::nullopt;
  const bool is_known = known && known == id_of(spec.path());
  if (policy.follow_parents == Parents::kNone && !is_known) {
    const bool in_folder =
        check_in_folder(followed.folder, "parent", path, spec.path()).has_value();
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' has only the changes over its parent '{}', which is not opened "
                             "unasked",
                             path, excerpt(parent.name, kMostOfName)))
        .with_remedy(in_folder ? Remedy::kFollowParents : Remedy::kFollowAnywhere);
  }
  std::optional<FileId> checked;
  if (policy.follow_parents != Parents::kAnywhere && !is_known) {
    SNAP_ASSIGN(checked, check_in_folder(followed.folder, "parent", path, spec.path()));
  }
  const OpenOptions options{Access::kRead, policy.force_share};
  auto file = open_path(spec.path(), options);
  if (!file && file.error().code() == ErrorCode::kNotFound) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' needs its parent '{}', which is not there", path,
                             excerpt(spec.path(), kMostOfName)));
  }
  if (!file) return file;
  if (policy.follow_parents != Parents::kAnywhere && !is_known && (*file)->id() != checked) {
    return Error(ErrorCode::kBusy, fmt::format("'{}' was replaced just now", spec.path()));
  }
  if (pending_apply_of(spec.path())) {
    context_.notices.warn(
        fmt::format("an apply to '{}' is half done, and it is between two states", spec.path()));
  }
  SNAP_ASSIGN(const ImageDriver* const looks_like, context_.drivers.detect_image(**file));
  if (!spec.format && looks_like->kind != ImageKind::kRaw) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' does not say which format its parent '{}' has, and what looks "
                             "like one may have been written by a guest",
                             path, excerpt(parent.name, kMostOfName)))
        .with_remedy(Remedy::kNameParent);
  }
  SNAP_TRY(check_identity(path, parent, facts.identity, spec.path()));
  Followed further = followed;
  further.next_named.reset();
  return open_source(spec.path(), spec, options, std::move(further));
}

}  // namespace snaptool::access
