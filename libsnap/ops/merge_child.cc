// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/merge_child.h"

#include <fmt/format.h>

#include <atomic>

#include "libsnap/access/door.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/io/zero_runs.h"
#include "libsnap/ops/convert_image.h"

namespace snaptool::ops {
namespace {

using access::Context;

// Into a raw image: the bytes of its file.
class RawUpdate : public access::ImageWriter {
 public:
  explicit RawUpdate(File& file) : file_(file), zeros_(zero_mode_of(file)) {}

  uint64_t unit_size() const override { return 4 * kKiB; }
  uint64_t piece_size() const override { return kIoPiece; }
  Result<void> place(access::WritePiece& /*piece*/) override { return {}; }
  Result<void> finish() override { return file_.flush(); }

  Result<void> write(access::WritePiece& piece) override {
    for (size_t i = 0; i < piece.units.size();) {
      size_t end = i + 1;
      while (end < piece.units.size() && piece.units[end] == piece.units[i]) ++end;
      const uint64_t from = i * unit_size();
      const uint64_t length = std::min(end * unit_size(), piece.length) - from;
      if (piece.units[i] != access::UnitKind::kAbsent) {
        SNAP_TRY(write_run(piece.units[i], piece.offset + from, piece.data.subspan(from, length)));
      }
      i = end;
    }
    return {};
  }

 private:
  Result<void> write_run(access::UnitKind kind, uint64_t offset, std::span<const std::byte> data) {
    if (kind == access::UnitKind::kZero) {
      return zero_outside_holes(file_, offset, data.size(), zeros_);
    }
    SNAP_TRY(file_.write_at(offset, data));
    file_.start_writeback(offset, data.size());
    return {};
  }

  File& file_;
  ZeroMode zeros_;
};

// Counts what the view has and the parent does not, on its way there.
class Counted : public access::ImageWriter {
 public:
  // `count_only`: nothing gets there.
  Counted(access::ImageWriter& parent, bool count_only)
      : parent_(parent), count_only_(count_only) {}

  Result<void> begin() override { return count_only_ ? Result<void>() : parent_.begin(); }
  uint64_t unit_size() const override { return parent_.unit_size(); }
  uint64_t piece_size() const override { return parent_.piece_size(); }
  Result<void> place(access::WritePiece& piece) override {
    return count_only_ ? Result<void>() : parent_.place(piece);
  }
  Result<void> finish() override { return count_only_ ? Result<void>() : parent_.finish(); }
  Result<void> write(access::WritePiece& piece) override {
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] == access::UnitKind::kAbsent) continue;
      bytes_ += std::min(unit_size(), piece.length - i * unit_size());
    }
    return count_only_ ? Result<void>() : parent_.write(piece);
  }

  uint64_t bytes() const { return bytes_; }

 private:
  access::ImageWriter& parent_;
  const bool count_only_;
  std::atomic<uint64_t> bytes_ = 0;
};

// What an image says of itself, and its format.
struct Known {
  const access::ImageDriver* driver = nullptr;
  access::ImageFacts facts;
};

// `format`: what it is taken for; else its magic tells. Without facts for what is no image of a
// format.
Result<Known> look_at(const Context& context, const std::string& path,
                      const std::optional<std::string>& format = {}) {
  access::Opener look(context);
  SNAP_ASSIGN(const auto file, look.open_path(path, access::kLook));
  Known known;
  if (format) known.driver = context.drivers.find_image(*format);
  if (known.driver == nullptr) {
    SNAP_ASSIGN(known.driver, context.drivers.detect_image(*file));
  }
  if (known.driver->kind != access::ImageKind::kImage) return known;
  SNAP_ASSIGN(known.facts, known.driver->facts(*file, context.cancel));
  return known;
}

// The child, and its parent, which can be written to in place.
struct Pair {
  Known child;
  Known parent;

  bool is_alike() const { return parent.driver == child.driver; }
  bool is_raw() const { return parent.driver->kind == access::ImageKind::kRaw; }
};

Result<void> check_parent_format(const Context& context, const ChildMergeRequest& request,
                                 const access::ParentRef& parent) {
  const std::string format = parent.format.value_or("that it does not name");
  const access::ImageDriver* const driver = context.drivers.find_image(format);
  const bool updated = driver != nullptr && driver->update != nullptr;
  if (format != "raw" && !updated) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("the parent of '{}' has the format {}, which is not written in place",
                             request.child, format))
        .with_remedy(Remedy::kNameOutput);
  }
  const auto& said = request.parent.format;
  if (!said || context.drivers.find_image(*said) == driver || (format == "raw" && *said == "raw")) {
    return {};
  }
  return Error(ErrorCode::kWrongBase, fmt::format("'{}' says that its parent is {}, not {}",
                                                  request.child, format, *said));
}

Result<Pair> check_pair(const Context& context, const ChildMergeRequest& request) {
  Pair pair;
  SNAP_ASSIGN(pair.child, look_at(context, request.child));
  if (!pair.child.facts.parent) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is over no other image: there is nothing to merge it into",
                             request.child));
  }
  const access::ParentRef& parent = *pair.child.facts.parent;
  SNAP_TRY(check_parent_format(context, request, parent));
  const auto named = access::id_of(request.parent.path());
  bool is_named = named && named == access::id_of(access::parent_path(request.child, parent));
  for (const std::string& other : parent.other_names) {
    access::ParentRef one;
    one.name = other;
    is_named =
        is_named || (named && named == access::id_of(access::parent_path(request.child, one)));
  }
  // What the child knows by its identity may lie anywhere.
  if (!is_named && parent.identities.empty() && !context.policy.force) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' is over '{}', not over '{}'", request.child, parent.name,
                             request.parent.path()))
        .with_remedy(Remedy::kForce);
  }
  SNAP_ASSIGN(pair.parent, look_at(context, request.parent.path(), parent.format));
  const uint64_t size = pair.parent.facts.size;
  if (!pair.is_raw() && size != pair.child.facts.size) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' has {} bytes, and '{}' {}: it is not resized in place",
                             request.parent.path(), size, request.child, pair.child.facts.size))
        .with_remedy(Remedy::kNameOutput);
  }
  return pair;
}

Result<void> grow(File& parent, uint64_t size) {
  if (parent.size() >= size) return {};
  auto grown = parent.resize(size);
  if (!grown && grown.error().code() == ErrorCode::kUnsupported) {
    return Error(ErrorCode::kNoSpace, fmt::format("'{}' has {} bytes, but {} are needed",
                                                  parent.name(), parent.size(), size));
  }
  SNAP_TRY(std::move(grown));
  return parent.flush();
}

}  // namespace

static Result<std::unique_ptr<access::ImageWriter>> update_of(const Pair& pair, File& parent,
                                                              File& child, const Cancel& cancel) {
  if (pair.is_raw()) return std::make_unique<RawUpdate>(parent);
  return pair.parent.driver->update(parent, {cancel, pair.is_alike() ? &child : nullptr});
}

Result<bool> is_child(const Context& context, const std::string& path) {
  const auto known = look_at(context, path);
  if (known) return known->driver->kind == access::ImageKind::kImage;
  // A magic alone makes no image: as a store it is refused, too.
  if (known.error().code() == ErrorCode::kCorruption) return false;
  return known.error();
}

Result<ChildMerged> merge_child(const Context& context, const ChildMergeRequest& request) {
  SNAP_ASSIGN(const Pair pair, check_pair(context, request));
  access::Policy policy = context.policy;
  policy.parents = {request.parent.path()};
  const Context with_parent{context.drivers, policy,       context.notices,
                            context.cancel,  context.jobs, context.files};
  access::Door door(with_parent, access::operations::kMergeChild,
                    request.dry_run ? Access::kRead : Access::kReadWrite);
  access::FileSpec bytes = request.parent;
  bytes.format = pair.is_raw() ? request.parent.format : "raw";
  SNAP_ASSIGN(const access::Disk disk, door.open_disk({bytes, {}, {}}, {}, {}));
  access::FileSpec child(request.child);
  child.by_magic = child.is_main = true;
  SNAP_ASSIGN(auto view, access::open_layers(door.opener(), {child, {}, {}}));
  access::FileSpec image = bytes;
  if (!pair.is_raw()) image.format = std::string(pair.parent.driver->name);
  SNAP_ASSIGN(const auto before, door.opener().open(image, access::kLook));
  ChildMerged merged;
  merged.grown_from = before->size();
  merged.size = view.image().size();
  merged.has_identity = !pair.is_raw() && pair.is_alike();
  RawImage below(*before, before->size());
  File& parent = request.dry_run ? disk.top.look() : disk.top.file();
  if (pair.is_raw() && !request.dry_run) SNAP_TRY(grow(parent, merged.size));
  SNAP_ASSIGN(const auto child_file, door.opener().open_path(request.child, access::kLook));
  SNAP_ASSIGN(const auto update, update_of(pair, parent, *child_file, context.cancel));
  Counted writer(*update, request.dry_run);
  ConvertOptions options;
  options.base = &below;
  const access::Phase phase(context, "merging", merged.size);
  SNAP_TRY(convert_image(view.image(), writer, options, phase.job()));
  merged.bytes = writer.bytes();
  return merged;
}

}  // namespace snaptool::ops
