// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/writing.h"
#include "libsnap/snap/snapshot.h"

namespace snaptool::cli {
namespace {

// What is passed down changes the origin, which then has to be open for writing.
struct Opened {
  std::shared_ptr<File> origin_file;
  std::shared_ptr<File> cow_file;
  std::unique_ptr<Image> origin;
  std::unique_ptr<Snapshot> snapshot;
};

Result<Opened> open_passing_down(const Invocation& invocation, const access::ImageSpec& spec,
                                 const SnapshotOptions& options) {
  if (spec.stores.size() > 1) {
    return Error(ErrorCode::kUnsupported,
                 "an origin that is a snapshot takes no discards that are passed down");
  }
  SNAP_ASSIGN(access::OpenPair pair,
              access::open_pair(invocation.access(), spec, Access::kReadWrite));
  Opened opened{std::move(pair.origin), std::move(pair.cow), nullptr, nullptr};
  opened.origin = std::make_unique<RawImage>(*opened.origin_file, opened.origin_file->size());
  SNAP_ASSIGN(opened.snapshot,
              Snapshot::open(*opened.origin, *opened.cow_file, options, invocation.cancel()));
  return opened;
}

Result<int> report_discard(const Invocation& invocation, uint64_t offset, uint64_t length) {
  SNAP_TRY(invocation.report(
      invocation.json()
          ? Json{{"format_version", 1}, {"offset", offset}, {"bytes", length}}.text()
          : fmt::format("discarded {} bytes at byte {} of the snapshot\n", length, offset)));
  return kExitDone;
}

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, origin_and_cow_operands(invocation));
  const DiscardOptions discard{invocation.has("discard-zeroes-cow"),
                               invocation.has("discard-passdown-origin")};
  if (!discard.zeroes_cow) {
    return discard.passdown_origin
               ? Error(ErrorCode::kInvalidArgument,
                       "--discard-passdown-origin needs --discard-zeroes-cow, as in the kernel")
               : Error(ErrorCode::kUnsupported,
                       "a snapshot takes discards only with --discard-zeroes-cow, as in the "
                       "kernel: nothing was changed");
  }
  SNAP_ASSIGN(const auto offset, invocation.size_value("offset"));
  SNAP_ASSIGN(const auto length, invocation.size_value("length"));
  SnapshotOptions options;
  options.discard_tail = invocation.has("force");
  const uint64_t start = offset.value_or(0);
  uint64_t size = 0;
  const auto discard_in = [&](Snapshot& snapshot) -> Result<void> {
    size = length.value_or(snapshot.size() - std::min<uint64_t>(start, snapshot.size()));
    SNAP_TRY(check_range(snapshot, start, size));
    SNAP_TRY(snapshot.discard(start, size, discard));
    return snapshot.flush();
  };
  if (!discard.passdown_origin) {
    access::Opener opener(invocation.access());
    SNAP_ASSIGN(const access::OpenTarget target,
                access::open_target(invocation.access(), opener, spec, options));
    SNAP_TRY(discard_in(*target.snapshot()));
    return report_discard(invocation, start, size);
  }
  SNAP_ASSIGN(const Opened opened, open_passing_down(invocation, spec, options));
  invocation.warn(
      "what is passed down changes the origin: its other snapshots lose these ranges of their "
      "views");
  SNAP_TRY(discard_in(*opened.snapshot));
  SNAP_TRY(opened.origin->flush());
  return report_discard(invocation, start, size);
}

}  // namespace

CommandSpec discard_command() {
  CommandSpec command;
  command.name = "discard";
  command.operands = "ORIGIN COW";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "discard a range of a snapshot, as the kernel would";
  command.description =
      "Does what the kernel does with a discard to a snapshot that has the features of the same "
      "names. With --discard-zeroes-cow, chunks of the range that are in COW are zeroed there "
      "(their exceptions stay); chunks that are not in COW stay as they are. With "
      "--discard-passdown-origin the range of ORIGIN is discarded, too, and no other snapshot "
      "gets a copy of it first. Without features a snapshot takes no discards (exit status 63).";
  command.options = {
      {0, "offset", OptionKind::kValue, "SIZE", "start there (default: 0)", ValueHint::kNone, {}},
      {0,
       "length",
       OptionKind::kValue,
       "SIZE",
       "discard so much (default: to the end)",
       ValueHint::kNone,
       {}},
      {0,
       "discard-zeroes-cow",
       OptionKind::kFlag,
       "",
       "zero what is in the COW",
       ValueHint::kNone,
       {}},
      {0,
       "discard-passdown-origin",
       OptionKind::kFlag,
       "",
       "discard the range of the origin, too",
       ValueHint::kNone,
       {}},
      {0,
       "force",
       OptionKind::kFlag,
       "",
       "drop what a torn write left behind the end of the list",
       ValueHint::kNone,
       {}}};
  command.shared = "fOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
