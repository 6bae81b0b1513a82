// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/resolve.h"

#include <fmt/format.h>

#include <set>

#include "libsnap/access/opener.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool::access {
namespace {

FileSpec cow_of(const FileSpec& volume, const std::string& snapshot) {
  FileSpec cow = volume.with_own_volume(snapshot, snapshot + "-cow");
  cow.format = kStoreFormat;
  return cow;
}

}  // namespace

Result<ImageSpec> resolve(const Context& context, ImageSpec spec) {
  // Only looks: nobody is kept out, and nobody keeps it out.
  Opener look(context);
  std::optional<VolumeGroupFacts> base_group;
  std::string base_volume;
  const FileSpec base = spec.base;
  if (base.volume() != nullptr) {
    SNAP_ASSIGN(const auto open, look.open_group(base, kLook));
    base_group = open->facts();
    SNAP_ASSIGN(const VolumeName name, resolve_part(*open, *base.volume()));
    base_volume = name.volume;
    const bool names_snapshot = name.snapshot && name.snapshot->name == base.volume()->volume;
    if (name.snapshot && (names_snapshot || spec.stores.empty())) {
      const bool merging = base_group->merging_into(name.volume) != nullptr;
      spec.base = base.with_own_volume(name.volume, merging ? name.volume + "-real" : name.volume);
      spec.stores.insert(spec.stores.begin(), cow_of(base, name.snapshot->name));
      base_volume.clear();
    } else if (name.snapshot) {
      spec.base = base.with_own_volume(name.volume, name.volume + "-real");
    }
  }
  for (FileSpec& store : spec.stores) {
    if (store.volume() == nullptr) continue;
    SNAP_ASSIGN(const auto open, look.open_group(store, kLook));
    SNAP_ASSIGN(const VolumeName name, resolve_part(*open, *store.volume()));
    const auto* const snapshot =
        open->facts().find_snapshot(name.snapshot ? name.snapshot->name : name.volume);
    // A snapshot's name stands for its COW.
    if (snapshot != nullptr) store = cow_of(store, snapshot->name);
    if (snapshot != nullptr && base_group && base_group->uuid == open->facts().uuid &&
        !base_volume.empty() && snapshot->origin != base_volume) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}/{}' is a snapshot of '{}', not of '{}'", open->facts().name,
                               snapshot->name, snapshot->origin, base_volume));
    }
  }
  return spec;
}

Result<ImageSpec> image_named(const Context& context, const std::string& text,
                              const std::optional<std::string>& format, bool is_main) {
  SNAP_ASSIGN(ImageSpec spec, parse_image_spec(text));
  spec.base.format = format;
  // An origin is a guest's to write to, its first bytes too.
  spec.base.by_magic = spec.stores.empty();
  spec.base.is_main = is_main;
  return resolve(context, std::move(spec));
}

Result<ImageSpec> target_named(const Context& context, const std::string& text,
                               const std::optional<std::string>& format) {
  SNAP_ASSIGN(ImageSpec spec, parse_image_spec(text));
  spec.base.format = format;
  return resolve(context, std::move(spec));
}

Result<FileSpec> cow_named(const Context& context, const std::string& text) {
  SNAP_ASSIGN(ImageSpec spec, parse_image_spec(text));
  if (spec.stores.empty() && spec.base.volume() != nullptr) {
    SNAP_ASSIGN(ImageSpec view, resolve(context, spec));
    spec.base = view.stores.empty() ? view.base : view.stores.front();
  }
  if (!spec.stores.empty() || !spec.view_parts.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' names a view where a COW is expected", text));
  }
  spec.base.format = kStoreFormat;
  return spec.base;
}

// What was named is only half of a pair.
static Error other_is_missing(const Context& context, const FileSpec& named) {
  Opener look(context);
  const auto file = look.open(named, kLook);
  if (!file || !looks_like_store(**file).value_or(false)) {
    return {ErrorCode::kInvalidArgument, "the COW is missing: name it as ORIGIN COW or ORIGIN@COW"};
  }
  return {
      ErrorCode::kInvalidArgument,
      fmt::format("the origin is missing: '{0}' is a COW, so name it as ORIGIN '{0}' ('snaptool "
                  "info' tells what can be told without the origin)",
                  named.name())};
}

Result<ImageSpec> origin_and_cow_named(const Context& context,
                                       const std::vector<std::string>& names,
                                       const std::optional<std::string>& format) {
  SNAP_ASSIGN(ImageSpec spec, parse_origin_and_cow(names));
  SNAP_ASSIGN(spec, resolve(context, std::move(spec)));
  if (spec.stores.empty()) return other_is_missing(context, spec.base);
  spec.base.format = format;
  return spec;
}

Result<std::vector<std::string>> siblings_of(const Context& context, const FileSpec& origin,
                                             const std::vector<FileSpec>& known) {
  std::vector<std::string> names;
  if (origin.volume() == nullptr) return names;
  Opener look(context);
  SNAP_ASSIGN(const auto open, look.open_group(origin, kLook));
  SNAP_ASSIGN(const VolumeName volume, resolve_part(*open, *origin.volume()));
  std::set<std::string> named;
  for (const FileSpec& cow : known) {
    if (cow.volume() == nullptr) continue;
    SNAP_ASSIGN(const VolumeName name, resolve_part(*open, *cow.volume()));
    named.insert(name.snapshot ? name.snapshot->name : name.volume);
  }
  for (const VolumeSnapshot* snapshot : open->facts().snapshots_of(volume.volume)) {
    if (named.count(snapshot->name) > 0) continue;
    SNAP_ASSIGN(const auto cow, open->open(snapshot->name, snapshot->name));
    const auto store = PersistentStore::open(*cow);
    // One that is invalid, or was never used, shows nothing that could be lost; of a damaged one,
    // nobody knows.
    if (store && store->state() != StoreState::kValid) continue;
    names.push_back(fmt::format("{}/{}", open->facts().name, snapshot->name));
  }
  return names;
}

Result<void> check_siblings(const Context& context, const FileSpec& origin,
                            const std::vector<FileSpec>& known) {
  SNAP_ASSIGN(const std::vector<std::string> siblings, siblings_of(context, origin, known));
  if (siblings.empty()) return {};
  const std::string text =
      fmt::format("LVM has other snapshots of '{}', which lose their views by this: {}",
                  origin.name(), fmt::join(siblings, ", "));
  if (!context.policy.force) {
    return Error(ErrorCode::kInvalidArgument, text).with_remedy(Remedy::kNameSiblings);
  }
  context.notices.warn(text);
  return {};
}

}  // namespace snaptool::access
