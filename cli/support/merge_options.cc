// SPDX-License-Identifier: Apache-2.0
#include "cli/support/merge_options.h"

#include <fmt/format.h>

#include "cli/support/operands.h"

namespace snaptool::cli {
namespace {

Result<std::optional<std::string>> expected_sum(const Invocation& invocation) {
  const auto text = invocation.value("expect");
  if (!text) return text;
  auto sum = ops::parse_expected(*text);
  if (!sum) return std::move(sum).error().with_context("--expect");
  return std::optional(*std::move(sum));
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
  if (const auto rate = invocation.value("rate-limit")) {
    auto limit = ops::parse_rate_limit(*rate);
    if (!limit) return std::move(limit).error().with_context("--rate-limit");
    request.options.rate = *limit;
  }
  return request;
}

}  // namespace snaptool::cli
