// SPDX-License-Identifier: Apache-2.0
#include "cli/nbdkit/served.h"

#define NBDKIT_API_VERSION 2
#include <fmt/format.h>
#include <nbdkit-plugin.h>

#include <cstdio>

#include "formats/format.h"
#include "libsnap/access/resolve.h"
#include "libsnap/base/printable.h"

namespace snaptool::nbdkit {
void Log::warn(std::string_view text, Remedy /*remedy*/) const {
  std::fprintf(stderr, "nbdkit: snaptool: warning: %s\n", printable(text).c_str());
}

void Log::say(std::string_view text) const { nbdkit_debug("%s", printable(text).c_str()); }

std::shared_ptr<void> Log::show(std::string_view /*what*/, const Progress& /*progress*/) const {
  return nullptr;
}

Result<void> Parameters::set(std::string_view key, const std::string& value) {
  if (key == "image") {
    image = value;
  } else if (key == "write") {
    SNAP_ASSIGN(write, access::parse_flag(key, value));
  } else if (key == "sandbox") {
    SNAP_ASSIGN(sandbox, access::parse_flag(key, value));
  } else if (key == "store" && (value == "P" || value == "PO")) {
    kind = value == "P" ? StoreKind::kPersistent : StoreKind::kPersistentOverflow;
  } else if (key == "store") {
    return Error(ErrorCode::kInvalidArgument, fmt::format("store takes P or PO, not '{}'", value));
  } else {
    return settings.set(key, value);
  }
  return {};
}

Result<void> Parameters::check() const {
  if (image.empty()) return Error(ErrorCode::kInvalidArgument, "image= is missing");
  const access::Policy& policy = settings.policy();
  if (write && (policy.force_share || policy.ignore_invalid)) {
    return Error(ErrorCode::kInvalidArgument,
                 "force-share and ignore-invalid are for reading only");
  }
  return {};
}

Served::Served(const Parameters& parameters)
    : policy_(parameters.settings.policy()),
      context_{all_drivers(), policy_, log_, cancel_, 1},
      opener_(context_) {}

Result<std::unique_ptr<Served>> Served::open(const Parameters& parameters) {
  std::unique_ptr<Served> served(new Served(parameters));
  const access::Context& context = served->context_;
  const auto& format = parameters.settings.format();
  if (parameters.write) {
    SNAP_ASSIGN(const access::ImageSpec view,
                access::origin_and_cow_named(context, {parameters.image}, format));
    SNAP_ASSIGN(served->live_,
                ops::LiveView::open(context, view, parameters.kind, served->policy_.force));
    return served;
  }
  SNAP_ASSIGN(const access::ImageSpec spec,
              access::image_named(context, parameters.image, format, true));
  SNAP_ASSIGN(served->open_, access::open_image(served->opener_, spec));
  return served;
}

}  // namespace snaptool::nbdkit
