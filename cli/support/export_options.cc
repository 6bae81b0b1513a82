// SPDX-License-Identifier: Apache-2.0
#include "cli/support/export_options.h"

#include <fmt/format.h>

#include "cli/support/operands.h"
#include "cli/support/output_options.h"
#include "cli/support/version.h"

namespace snaptool::cli {
namespace {

// --parent: an id, or a diff that leads to the base.
Result<void> read_parent(const Invocation& invocation, const access::ChangeDriver& driver,
                         ExportOptions& options) {
  const auto text = invocation.value("parent");
  if (!text) return {};
  if (auto id = parse_id(*text)) {
    options.parent_id = *id;
    return {};
  }
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const auto changes, access::ChangeFile::open(opener, *text));
  if (!changes->driver().has_sums || !driver.has_sums) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--parent takes a snapdiff or an id; '{}' has none", *text));
  }
  SNAP_ASSIGN(const ChangeEnd end, changes->driver().read_end(changes->file()));
  options.parent_id = end.child_id;
  SNAP_ASSIGN(options.expectations, changes->driver().expectations(changes->file()));
  return {};
}

Result<ExportOptions> options_of(const Invocation& invocation, const access::ChangeDriver& driver) {
  ExportOptions options;
  options.maker = kProgram;
  SNAP_TRY(read_parent(invocation, driver, options));
  SNAP_ASSIGN(const auto granularity, invocation.size_value("granularity"));
  options.granularity = granularity.value_or(options.granularity);
  if (options.granularity < kSectorSize || options.granularity > kWindowBytes ||
      (options.granularity & (options.granularity - 1)) != 0) {
    return Error(ErrorCode::kInvalidArgument, "--granularity takes a power of two from 512 to 1M");
  }
  const bool rbd = !driver.has_sums;
  options.from_name = invocation.value("from-snap").value_or("");
  options.to_name = invocation.value("to-snap").value_or("");
  options.old_sums = !rbd;
  if (rbd && (options.parent_id || invocation.has("verify-base") || invocation.has("level"))) {
    return Error(ErrorCode::kInvalidArgument,
                 "rbd diffs have no ids, checksums or compression: --parent, --verify-base and "
                 "--level are for snapdiffs");
  }
  if (!rbd && (invocation.has("from-snap") || invocation.has("to-snap"))) {
    return Error(ErrorCode::kInvalidArgument,
                 "--from-snap and --to-snap name Ceph's snapshots, for -O rbd");
  }
  if (rbd && !invocation.has("full") && options.from_name.empty()) {
    return Error(
        ErrorCode::kInvalidArgument,
        "rbd knows the base only by name: give it with --from-snap NAME (otherwise rbd would "
        "take the diff for a whole image)");
  }
  if (rbd && invocation.has("full") && !options.from_name.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 "--full has no base: it does not go with --from-snap");
  }
  return options;
}

}  // namespace

Result<ops::ExportRequest> export_request(const Invocation& invocation) {
  ops::ExportRequest request;
  request.driver = invocation.access().drivers.find_changes(
      invocation.value("output-format").value_or("snapdiff"));
  SNAP_ASSIGN(request.level, level_of(invocation));
  SNAP_ASSIGN(request.options, options_of(invocation, *request.driver));
  SNAP_ASSIGN(request.image, image_operand(invocation));
  request.full = invocation.has("full");
  request.reverse = invocation.has("reverse");
  request.whole_sums = invocation.has("verify-base");
  request.verify = invocation.has("verify");
  if (request.full && (invocation.has("base") || invocation.has("parent"))) {
    return Error(ErrorCode::kInvalidArgument,
                 "--full has no base: it does not go with --base or --parent");
  }
  if (const auto base = invocation.value("base")) {
    SNAP_ASSIGN(request.base, image_named(invocation, *base, "second-format"));
  }
  if (const auto changes = invocation.value("changes")) {
    if (!request.base) {
      return Error(ErrorCode::kInvalidArgument,
                   "--changes says where IMAGE and the one that --base names may differ");
    }
    SNAP_ASSIGN(request.changes, cow_operand(invocation, *changes));
  }
  return request;
}

}  // namespace snaptool::cli
