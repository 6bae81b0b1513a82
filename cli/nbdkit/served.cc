// SPDX-License-Identifier: Apache-2.0
#include "cli/nbdkit/served.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <cstdio>

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
    request_.name = value;
  } else if (key == "write") {
    SNAP_ASSIGN(request_.write, access::parse_flag(key, value));
  } else if (key == "sandbox") {
    SNAP_ASSIGN(sandbox_, access::parse_flag(key, value));
  } else if (key == "store") {
    SNAP_ASSIGN(request_.kind, ops::parse_store_kind(value));
  } else {
    return request_.settings.set(key, value);
  }
  return {};
}

Result<void> Parameters::check() const {
  if (request_.name.empty()) return Error(ErrorCode::kInvalidArgument, "image= is missing");
  return ops::NamedImage::check(request_);
}

}  // namespace snaptool::nbdkit
