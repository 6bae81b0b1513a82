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

// What the view has and the parent does not, written to the parent, or counted only.
class ParentWriter : public access::ImageWriter {
 public:
  // `parent`: nullptr counts.
  explicit ParentWriter(File* parent) : parent_(parent) {
    if (parent != nullptr) zeros_ = zero_mode_of(*parent);
  }

  uint64_t unit_size() const override { return 4 * kKiB; }
  uint64_t piece_size() const override { return kIoPiece; }
  Result<void> place(access::WritePiece& /*piece*/) override { return {}; }
  Result<void> finish() override { return {}; }

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

  uint64_t bytes() const { return bytes_; }

 private:
  Result<void> write_run(access::UnitKind kind, uint64_t offset, std::span<const std::byte> data) {
    bytes_ += data.size();
    if (parent_ == nullptr) return {};
    if (kind == access::UnitKind::kZero) {
      return zero_outside_holes(*parent_, offset, data.size(), zeros_);
    }
    SNAP_TRY(parent_->write_at(offset, data));
    parent_->start_writeback(offset, data.size());
    return {};
  }

  File* parent_;
  ZeroMode zeros_ = ZeroMode::kKeep;
  std::atomic<uint64_t> bytes_ = 0;
};

// Nothing for what is no image of a format.
Result<std::optional<access::ImageFacts>> facts_of(const Context& context,
                                                   const std::string& path) {
  access::Opener look(context);
  SNAP_ASSIGN(const auto file, look.open_path(path, access::kLook));
  SNAP_ASSIGN(const access::ImageDriver* const driver, context.drivers.detect_image(*file));
  if (driver->kind != access::ImageKind::kImage) return std::nullopt;
  SNAP_ASSIGN(auto facts, driver->facts(*file, context.cancel));
  return std::optional(std::move(facts));
}

// That the child is over this parent, which can be written to in place.
Result<void> check_pair(const Context& context, const ChildMergeRequest& request) {
  SNAP_ASSIGN(const auto facts, facts_of(context, request.child));
  if (!facts || !facts->parent) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("'{}' has no parent", request.child));
  }
  const access::ParentRef& parent = *facts->parent;
  if (parent.format != "raw") {
    return Error(ErrorCode::kUnsupported,
                 fmt::format(
                     "the parent of '{}' has the format {}: only a raw parent is written in place, "
                     "since the tables of others cannot be changed so that every power cut leaves "
                     "them whole",
                     request.child, parent.format.value_or("that it does not name")))
        .with_remedy(Remedy::kNameOutput);
  }
  const auto named = access::id_of(request.parent.path());
  const auto meant = access::id_of(access::parent_path(request.child, parent));
  if (context.policy.force || (named && named == meant)) return {};
  return Error(ErrorCode::kWrongBase, fmt::format("'{}' is over '{}', not over '{}'", request.child,
                                                  parent.name, request.parent.path()))
      .with_remedy(Remedy::kForce);
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

Result<bool> is_child(const Context& context, const std::string& path) {
  const auto facts = facts_of(context, path);
  if (facts) return facts->has_value();
  // A magic alone makes no image: as a store it is refused, too.
  if (facts.error().code() == ErrorCode::kCorruption) return false;
  return facts.error();
}

Result<ChildMerged> merge_child(const Context& context, const ChildMergeRequest& request) {
  SNAP_TRY(check_pair(context, request));
  access::Policy policy = context.policy;
  policy.parent = request.parent.path();
  const Context with_parent{context.drivers, policy,       context.notices,
                            context.cancel,  context.jobs, context.files};
  access::Door door(with_parent, access::operations::kMergeChild,
                    request.dry_run ? Access::kRead : Access::kReadWrite);
  SNAP_ASSIGN(const access::Disk disk, door.open_disk({request.parent, {}, {}}, {}, {}));
  access::FileSpec child(request.child);
  child.by_magic = child.is_main = true;
  SNAP_ASSIGN(auto view, access::open_layers(door.opener(), {child, {}, {}}));
  File& parent = disk.top.look();
  ChildMerged merged;
  merged.grown_from = parent.size();
  merged.size = view.image().size();
  RawImage below(parent, parent.size());
  if (!request.dry_run) SNAP_TRY(grow(disk.top.file(), merged.size));
  ParentWriter writer(request.dry_run ? nullptr : &disk.top.file());
  ConvertOptions options;
  options.base = &below;
  {
    const access::Phase phase(context, "merging", merged.size);
    SNAP_TRY(convert_image(view.image(), writer, options, phase.job()));
  }
  if (!request.dry_run) SNAP_TRY(disk.top.file().flush());
  merged.bytes = writer.bytes();
  return merged;
}

}  // namespace snaptool::ops
