// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/open_image.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <array>

#include "libsnap/access/pending_apply.h"
#include "libsnap/access/plain_disk.h"
#include "libsnap/access/resolve.h"
#include "libsnap/io/content_file.h"
#include "libsnap/io/part_file.h"
#include "libsnap/io/storage.h"
#include "libsnap/snap/store/layout.h"
#include "libsnap/snap/view/snapshot_image.h"

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
      fmt::format("'{}' and '{}' {}: name the origin first, then its COW", a.name(), b.name(),
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

namespace {

// A view, and what lies behind it in the origin's file, under all stores.
class TailedImage : public RawImage {
 public:
  TailedImage(std::shared_ptr<File> joined, uint64_t view_size, int stores)
      : RawImage(std::move(joined)), view_size_(view_size), stores_(stores) {}
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    SNAP_ASSIGN(Extent extent, RawImage::extent_at(offset, limit));
    if (offset >= view_size_) extent.depth += stores_;
    return extent;
  }

 private:
  uint64_t view_size_;
  int stores_;
};

}  // namespace

std::unique_ptr<Image> with_tail(const std::shared_ptr<File>& origin, Image& view, int stores) {
  if (view.size() >= origin->size()) return nullptr;
  const uint64_t length = origin->size() - view.size();
  std::vector<PartSegment> segments{
      {view.size(), {{std::make_shared<ContentFile>(view, Access::kRead), 0}}, 0},
      {length, {{origin, view.size()}}, 0}};
  return std::make_unique<TailedImage>(std::make_shared<PartFile>(view.name(), std::move(segments)),
                                       view.size(), stores);
}

Result<OpenImage> open_image(Opener& opener, const ImageSpec& spec, Tail tail) {
  const Context& context = opener.context();
  const auto& format = spec.base.format;
  if (spec.stores.empty() && (!format || *format == "dm-snapshot")) {
    SNAP_ASSIGN(const auto base,
                opener.open(spec.base, {Access::kRead, context.policy.force_share}));
    // A beginning that cannot be read is an error where it is wanted, and may be gone past.
    const bool is_store = looks_like_store(*base).value_or(false);
    if (format ? *format == "dm-snapshot" : is_store) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format(
                       "'{0}' is a dm-snapshot store, only half of an image: name it as ORIGIN@{0}",
                       spec.base.name()))
          .with_remedy(Remedy::kTakeAsRaw);
    }
  }
  SNAP_ASSIGN(OpenImage open, open_layers(opener, spec));
  if (tail == Tail::kKeep && !spec.stores.empty() && spec.view_parts.empty()) {
    auto joined = with_tail(open.files.front(), open.image(), static_cast<int>(spec.stores.size()));
    if (joined != nullptr) open.layers.push_back(std::move(joined));
  }
  return open;
}

static void warn_of_apply(const Context& context, const FileSpec& spec) {
  for (const FileSpec::Source& source : spec.sources) {
    if (!pending_apply_of(source.path)) continue;
    context.notices.warn(
        fmt::format("an apply to '{}' is half done, and it is between two states", source.path));
  }
}

Result<OpenImage> open_layers(Opener& opener, const ImageSpec& spec) {
  const Context& context = opener.context();
  OpenImage open;
  const OpenOptions options{Access::kRead, context.policy.force_share};
  SNAP_ASSIGN(auto base, opener.open(spec.base, options));
  warn_of_apply(context, spec.base);
  for (const FileSpec& store : spec.stores) warn_of_apply(context, store);
  open.files.push_back(std::move(base));
  File& origin = *open.files.front();
  open.layers.push_back(std::make_unique<RawImage>(origin, origin.size()));
  for (const FileSpec& store : spec.stores) {
    SNAP_ASSIGN(auto cow, opener.open(store, options));
    std::vector<File*> others;
    for (const auto& below : open.files) others.push_back(below.get());
    SNAP_TRY(check_cow(context, spec.base, others, *cow));
    SNAP_TRY(check_no_plain_disk(context, *cow));
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
    open.parts.push_back(std::make_shared<ContentFile>(open.image(), Access::kRead));
    SNAP_ASSIGN(auto part, opener.open_parts(open.parts.front(), spec.view_parts));
    open.parts.push_back(std::move(part));
    File& file = *open.parts.back();
    open.layers.push_back(std::make_unique<RawImage>(file, file.size()));
  }
  return open;
}

Result<OpenImage> open_changes(Opener& opener, const ImageSpec& image, const std::string& cow) {
  SNAP_ASSIGN(const FileSpec store, cow_named(opener.context(), cow));
  return open_layers(opener, {image.base, {store}, {}});
}

Result<OpenPair> open_pair(Opener& opener, const ImageSpec& spec) {
  const OpenOptions options{Access::kRead, opener.context().policy.force_share};
  OpenPair pair;
  SNAP_TRY(check_is_view(spec));
  SNAP_ASSIGN(pair.origin, opener.open(spec.base, options));
  SNAP_ASSIGN(pair.cow, opener.open(spec.stores.front(), options));
  SNAP_TRY(check_origin_and_cow(opener.context(), spec.base, *pair.origin, *pair.cow));
  return pair;
}

}  // namespace snaptool::access
