// SPDX-License-Identifier: Apache-2.0
#include "cli/support/merge_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cli/support/operands.h"

namespace snaptool::cli {
namespace {

Result<std::optional<std::string>> expected_sum(const Invocation& invocation) {
  auto text = invocation.value("expect");
  if (!text) return text;
  std::transform(text->begin(), text->end(), text->begin(), [](char c) {
    return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (text->size() != 64 || text->find_first_not_of("0123456789abcdef") != std::string::npos) {
    return Error(ErrorCode::kInvalidArgument, "--expect takes a SHA-256: 64 hex digits");
  }
  return text;
}

// "50M" (bytes a second) or "30%" (of the time).
Result<RateLimit> rate_limit(const Invocation& invocation) {
  RateLimit limit;
  const auto text = invocation.value("rate-limit");
  if (!text) return limit;
  if (text->ends_with('%')) {
    const char* const end = text->data() + text->size() - 1;
    const auto [parsed, ec] = std::from_chars(text->data(), end, limit.percent);
    if (ec == std::errc() && parsed == end && limit.percent >= 1 && limit.percent <= 100) {
      return limit;
    }
  } else if (auto bytes = parse_size(*text); bytes && *bytes > 0) {
    limit.bytes_per_second = *bytes;
    return limit;
  }
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("--rate-limit takes bytes a second (50M) or a part of the time, 1% to "
                           "100% (30%), not '{}'",
                           *text));
}

}  // namespace

Result<ops::MergeRequest> merge_request(const Invocation& invocation) {
  ops::MergeRequest request;
  SNAP_ASSIGN(request.image, origin_and_cow_operands(invocation));
  SNAP_ASSIGN(request.siblings, cow_operands(invocation, "sibling"));
  SNAP_ASSIGN(request.flatten, cow_operands(invocation, "flatten"));
  SNAP_ASSIGN(request.expected, expected_sum(invocation));
  request.undo_file = invocation.value("undo");
  request.dry_run = invocation.has("dry-run");
  request.options.accept_duplicates = invocation.has("accept-duplicates");
  request.options.verify = invocation.has("verify");
  request.options.salvage = invocation.has("salvage");
  request.options.punch = !invocation.has("no-punch");
  request.options.scrub = invocation.has("scrub");
  if (request.options.scrub && request.undo_file) {
    return Error(ErrorCode::kInvalidArgument,
                 "--scrub destroys what --undo would bring back: one or the other");
  }
  SNAP_ASSIGN(request.options.rate, rate_limit(invocation));
  return request;
}

}  // namespace snaptool::cli
