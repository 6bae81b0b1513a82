// SPDX-License-Identifier: Apache-2.0
#include "cli/support/merge_child.h"

#include <fmt/format.h>

#include <filesystem>

#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/stdio.h"
#include "libsnap/ops/convert.h"
#include "libsnap/ops/merge_child.h"

namespace snaptool::cli {
namespace {

Result<void> check_options(const Invocation& invocation) {
  for (const char* option : {"expect", "flatten", "sibling", "rate-limit", "verify", "undo",
                             "scrub", "salvage", "no-punch", "accept-duplicates"}) {
    if (!invocation.has(option)) continue;
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--{} is about stores: '{}' is an image over another", option,
                             invocation.operands().back()));
  }
  if (invocation.has("out") && invocation.has("dry-run")) {
    return Error(ErrorCode::kInvalidArgument, "--dry-run goes with a merge in place, not with -o");
  }
  if (invocation.force_share() && !invocation.has("dry-run") && !invocation.has("out")) {
    return Error(
        ErrorCode::kInvalidArgument,
        "--force-share is for reading only: with --dry-run or -o, not with a merge in place");
  }
  return {};
}

// -o: what the child shows over its parent, as a raw image.
Result<int> convert_child(const Invocation& invocation, const ops::ChildMergeRequest& request) {
  access::Policy policy = invocation.access().policy;
  policy.parents = {request.parent.path()};
  const access::Context& given = invocation.access();
  const access::Context context{given.drivers, policy,     given.notices,
                                given.cancel,  given.jobs, given.files};
  ops::ConvertRequest convert;
  convert.image.base = access::FileSpec(request.child);
  convert.image.base.by_magic = convert.image.base.is_main = true;
  convert.path = *invocation.value("out");
  convert.driver = &context.drivers.raw();
  SNAP_ASSIGN(const ops::Converted converted, ops::convert(context, convert));
  if (converted.streamed) return kExitDone;
  const Json json = {{"format_version", 1},
                     {"parent", request.parent.name()},
                     {"child", request.child},
                     {"dry_run", false},
                     {"out", convert.path}};
  SNAP_TRY(invocation.report(
      invocation.json() ? json.text()
                        : text_line("wrote what '{}' shows to '{}'", request.child, convert.path)));
  return kExitDone;
}

Result<int> merge_in_place(const Invocation& invocation, const ops::ChildMergeRequest& request) {
  const auto merged = ops::merge_child(invocation.access(), request);
  const std::string parent = request.parent.name();
  if (!merged) {
    const ErrorCode code = merged.error().code();
    const bool was_begun =
        code == ErrorCode::kInterrupted || code == ErrorCode::kNoSpace || code == ErrorCode::kIo;
    if (!was_begun) return merged.error();
    return Error(merged.error())
        .with_note(fmt::format(
            "nothing is lost: '{}' shows what it did, and the same command continues; other images "
            "over '{}' show something else by now",
            request.child, parent));
  }
  if (invocation.json()) {
    const Json json = {{"format_version", 1},
                       {"parent", parent},
                       {"child", request.child},
                       {"dry_run", request.dry_run},
                       {"bytes", merged->bytes},
                       {"virtual_size", merged->size},
                       {"virtual_size_before", merged->grown_from}};
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  std::string text = text_line("{} of '{}' {} into '{}'", format_size(merged->bytes), request.child,
                               request.dry_run ? "would go" : "went", parent);
  if (!request.dry_run) {
    text += text_line(
        "'{}' now shows what '{}' does, which is not needed any more; other images over '{}' {}",
        parent, request.child, parent,
        merged->has_identity ? "are refused from now on: it is known by the UUID of the other"
                             : "show something else than before");
  }
  SNAP_TRY(invocation.report(text));
  return kExitDone;
}

}  // namespace

Result<std::optional<int>> merge_if_child(const Invocation& invocation) {
  const auto& operands = invocation.operands();
  std::error_code ignored;
  if (operands.size() != 2 || !std::filesystem::exists(operands[1], ignored)) return std::nullopt;
  SNAP_ASSIGN(const bool is_child, ops::is_child(invocation.access(), operands[1]));
  if (!is_child) return std::nullopt;
  SNAP_TRY(check_options(invocation));
  ops::ChildMergeRequest request;
  SNAP_ASSIGN(const access::ImageSpec parent, access::parse_image_spec(operands[0]));
  if (!parent.stores.empty() || !parent.base.is_whole_file()) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is not one file, as the parent of an image is", operands[0]));
  }
  request.parent = parent.base;
  request.parent.format = invocation.value("format");
  request.child = operands[1];
  request.dry_run = invocation.has("dry-run");
  SNAP_ASSIGN(const int status, invocation.has("out") ? convert_child(invocation, request)
                                                      : merge_in_place(invocation, request));
  return std::optional(status);
}

}  // namespace snaptool::cli
