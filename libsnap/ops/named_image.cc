// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/named_image.h"

#include <fmt/format.h>

#include "libsnap/access/resolve.h"

namespace snaptool::ops {

Result<StoreKind> parse_store_kind(const std::string& text) {
  if (text == "P") return StoreKind::kPersistent;
  if (text == "PO") return StoreKind::kPersistentOverflow;
  return Error(ErrorCode::kInvalidArgument, fmt::format("store takes P or PO, not '{}'", text));
}

NamedImage::NamedImage(const access::Drivers& drivers, const access::Notices& notices,
                       const Request& request)
    : policy_(request.settings.policy()),
      context_{drivers, policy_, notices, cancel_, 1},
      opener_(context_) {}

Result<void> NamedImage::check(const Request& request) {
  const access::Policy& policy = request.settings.policy();
  if (request.write && (policy.force_share || policy.ignore_invalid)) {
    return Error(ErrorCode::kInvalidArgument,
                 "force-share and ignore-invalid are for reading only");
  }
  if (request.write && (!policy.parents.empty() || policy.internal_snapshot)) {
    return Error(ErrorCode::kInvalidArgument,
                 "parent and internal-snapshot are for reading only: an origin is a plain disk");
  }
  if (!request.write && request.kind) {
    return Error(ErrorCode::kInvalidArgument, "store goes with write");
  }
  return {};
}

Result<std::unique_ptr<NamedImage>> NamedImage::open(const access::Drivers& drivers,
                                                     const access::Notices& notices,
                                                     const Request& request) {
  SNAP_TRY(check(request));
  std::unique_ptr<NamedImage> named(new NamedImage(drivers, notices, request));
  const access::Context& context = named->context_;
  const auto& format = request.settings.format();
  if (request.write) {
    SNAP_ASSIGN(const access::ImageSpec view,
                access::origin_and_cow_named(context, {request.name}, format));
    SNAP_ASSIGN(named->live_,
                LiveView::open(context, view, request.kind.value_or(StoreKind::kPersistentOverflow),
                               named->policy_.force));
    return named;
  }
  SNAP_ASSIGN(const access::ImageSpec spec,
              access::image_named(context, request.name, format, true));
  SNAP_ASSIGN(named->open_, access::open_image(named->opener_, spec));
  return named;
}

}  // namespace snaptool::ops
