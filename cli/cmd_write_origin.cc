// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/writing.h"
#include "libsnap/snap/origin.h"

namespace snaptool::cli {
namespace {

// A pipe is read in pieces of this size: each is kept for by the snapshots before it is written.
constexpr uint64_t kPipePiece = 8 * kMiB;

Result<void> check_room(const Origin& origin, uint64_t offset, uint64_t length, uint64_t done) {
  const Snapshot* full = origin.first_without_room(offset, length);
  if (full == nullptr) return {};
  const uint64_t needed = full->exceptions_needed(offset, length);
  const auto size = full->cow_size_for(needed);
  return Error(
      ErrorCode::kNoSpace,
      fmt::format("snapshot '{}' has room for {} more chunks, and must keep {}: {}{} "
                  "(--allow-invalidate goes on without it)",
                  full->cow().name(), full->room(), needed,
                  done == 0 ? std::string("nothing was changed")
                            : fmt::format("nothing was changed behind byte {}", offset),
                  size ? fmt::format("; a COW of {} bytes would do", *size) : std::string()));
}

struct Opened {
  access::OpenTarget target;
  std::vector<std::shared_ptr<File>> cows;
  std::vector<std::unique_ptr<Snapshot>> snapshots;
};

Result<Opened> open_all(const Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, target_operand(invocation));
  SnapshotOptions options;
  options.discard_tail = invocation.has("force");
  SNAP_ASSIGN(options.in_flight, in_flight_of(invocation));
  Opened opened;
  SnapshotOptions lower = options;
  lower.kind = StoreKind::kPersistentOverflow;
  access::Opener opener(invocation.access());
  std::vector<access::FileSpec> cows;
  for (const std::string& text : invocation.values("snapshot")) {
    SNAP_ASSIGN(access::FileSpec cow, cow_operand(invocation, text));
    opener.expect_writes(cow);
    cows.push_back(std::move(cow));
  }
  if (spec.stores.empty()) {
    SNAP_TRY(access::check_siblings(invocation.access(), spec.base, cows));
  }
  SNAP_ASSIGN(opened.target, access::open_target(invocation.access(), opener, spec, lower));
  std::vector<File*> others = opened.target.files();
  for (const access::FileSpec& cow_spec : cows) {
    SNAP_ASSIGN(auto cow,
                access::open_cow(invocation.access(), opener, spec.base, cow_spec, others));
    others.push_back(cow.get());
    SNAP_ASSIGN(auto snapshot,
                Snapshot::open(*opened.target.top, *cow, options, invocation.cancel()));
    opened.cows.push_back(std::move(cow));
    opened.snapshots.push_back(std::move(snapshot));
  }
  if (opened.target.snapshot() == nullptr && spec.stores.empty()) {
    SNAP_ASSIGN(const bool is_store, access::looks_like_store(*opened.target.file));
    if (is_store) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is a dm-snapshot store: to write to the snapshot use "
                               "'snaptool write ORIGIN {}'",
                               spec.base.name(), spec.base.name()));
    }
  }
  return opened;
}

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(Opened opened, open_all(invocation));
  SNAP_ASSIGN(const uint64_t in_flight, in_flight_of(invocation));
  Image& image = *opened.target.top;
  std::vector<const File*> files = {opened.target.file.get()};
  for (const auto& cow : opened.cows) files.push_back(cow.get());
  SNAP_ASSIGN(WriteRequest request, write_request(invocation, image, files));
  Origin origin(image, in_flight);
  for (const auto& snapshot : opened.snapshots) origin.add(*snapshot);
  const bool may_invalidate = invocation.has("allow-invalidate");
  if (Snapshot* const lower = opened.target.snapshot()) {
    const uint64_t needed = lower->exceptions_needed(request.offset, request.most(image));
    if (request.length && needed > lower->room()) {
      return no_room(*lower, needed, "the write");
    }
  }
  if (!may_invalidate && request.length) {
    SNAP_TRY(check_room(origin, request.offset, *request.length, 0));
  }
  if (request.length != 0) {
    invocation.warn(opened.snapshots.empty()
                        ? "no --snapshot is named: every snapshot of this origin is broken by this"
                        : "snapshots of this origin that are not named are broken by this");
  }
  Progress progress;
  const Job job = invocation.job(progress);
  progress.set_size(request.length.value_or(0));
  // Where it is known how much comes, the snapshots keep what a whole window needs at once.
  uint64_t kept_to = request.offset;
  const uint64_t end = request.offset + request.length.value_or(0);
  Result<uint64_t> written = [&] {
    const ProgressReporter reporter("writing", invocation.progress_style(), progress);
    return pump(request, image, request.length ? kIoPiece : std::min(in_flight, kPipePiece), job,
                [&](uint64_t offset, std::span<const std::byte> data) -> Result<void> {
                  if (!request.length && !may_invalidate) {
                    SNAP_TRY(check_room(origin, offset, data.size(), offset - request.offset));
                  }
                  if (request.length && offset + data.size() > kept_to) {
                    const ByteRange window{kept_to, std::min(in_flight, end - kept_to)};
                    SNAP_TRY(origin.copy_out({&window, 1}));
                    kept_to += window.length;
                  }
                  return origin.write_at(offset, data);
                });
  }();
  if (!written) return std::move(written).error();
  SNAP_TRY(origin.flush());
  std::vector<std::string> invalid;
  for (const auto& snapshot : opened.snapshots) {
    SNAP_TRY(snapshot->flush());
    if (!snapshot->valid()) invalid.push_back(snapshot->cow().name());
  }
  for (const std::string& name : invalid) {
    invocation.warn(fmt::format("snapshot '{}' was full: it is invalid now", name));
  }
  if (invocation.json()) {
    const Json json = {{"format_version", 1},
                       {"offset", request.offset},
                       {"bytes", *written},
                       {"invalidated", invalid}};
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  SNAP_TRY(invocation.report(
      fmt::format("wrote {} bytes at byte {} of '{}'\n", *written, request.offset, image.name())));
  return kExitDone;
}

}  // namespace

CommandSpec write_origin_command() {
  CommandSpec command;
  command.name = "write-origin";
  command.operands = "ORIGIN";
  command.min_operands = command.max_operands = 1;
  command.summary = "write to an origin; its snapshots keep what they show";
  command.description =
      "Writes data to ORIGIN. Before a chunk changes, each COW that is named with --snapshot gets "
      "the old data if it does not have them yet, durably, so that its view stays what it was. "
      "Snapshots that are not named lose theirs. ORIGIN may itself be a view, A@C.\n\n"
      "If a COW is too small for what it must keep, nothing is changed (exit status 73), unless "
      "--allow-invalidate is given: then it is marked invalid, as the kernel would.";
  command.options = data_options();
  OptionSpec snapshot{0,
                      "snapshot",
                      OptionKind::kValue,
                      "COW",
                      "a snapshot of ORIGIN that keeps its view; may be given several times",
                      ValueHint::kFile,
                      {}};
  snapshot.repeatable = true;
  command.options.push_back(snapshot);
  command.options.push_back({0,
                             "allow-invalidate",
                             OptionKind::kFlag,
                             "",
                             "a snapshot that is too small is invalidated",
                             ValueHint::kNone,
                             {}});
  command.options.push_back(in_flight_option());
  command.options.push_back({0,
                             "force",
                             OptionKind::kFlag,
                             "",
                             "drop what a torn write left behind the end of a COW's list",
                             ValueHint::kNone,
                             {}});
  command.shared = "fpOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
