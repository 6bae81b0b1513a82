// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/stdio.h"
#include "libsnap/access/plain_disk.h"
#include "libsnap/snap/store/verify.h"

namespace snaptool::cli {
namespace {

Json status_json(const access::ImageSpec& spec, const File& origin, const File& cow,
                 const PersistentStore& store, const VerifyReport& report) {
  const bool valid = store.state() == StoreState::kValid;
  Json json = {{"format_version", 1},
               {"origin", spec.base.name()},
               {"cow", spec.stores.front().name()},
               {"origin_sectors", origin.size() / kSectorSize},
               {"valid", valid},
               {"chunk_size_sectors", store.header().chunk_size},
               {"total_sectors", cow.size() / kSectorSize}};
  if (valid) {
    const Usage usage = store.usage();
    json["allocated_sectors"] = usage.allocated_sectors;
    json["metadata_sectors"] = usage.metadata_sectors;
    json["exceptions"] = store.exceptions();
    json["runs"] = report.runs;
  }
  return json;
}

Result<int> run_status(Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, origin_and_cow_operands(invocation));
  if (spec.stores.size() != 1) {
    return Error(ErrorCode::kUnsupported,
                 "the status of a stack of stores: name one ORIGIN and one COW");
  }
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const access::OpenPair pair, access::open_pair(opener, spec));
  const auto& [origin, cow] = pair;
  SNAP_TRY(access::check_no_plain_disk(invocation.access(), *cow));
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(*cow));
  if (store.state() == StoreState::kNone) {
    return Error(
        ErrorCode::kNotFound,
        fmt::format(
            "'{}' is not a store yet: it is all zeros, and the kernel would make it a new one",
            cow->name()));
  }
  const uint64_t origin_sectors = origin->size() / kSectorSize;
  const bool valid = store.state() == StoreState::kValid;
  VerifyReport report;
  if (valid) {
    SNAP_ASSIGN(report, verify_store(*cow, origin->size(), invocation.cancel()));
    if (const auto refusal = refusal_of(report, *cow, "has no status", false)) {
      if (!invocation.has("ignore-invalid")) return *refusal;
      invocation.warn(refusal->describe(), refusal->remedy());
    }
    SNAP_TRY(store.read_metadata(invocation.cancel()));
  }

  if (invocation.json()) {
    const Json json = status_json(spec, *origin, *cow, store, report);
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  if (invocation.has("table")) {
    SNAP_TRY(invocation.report(
        text_line("0 {} snapshot {} {} P {}", origin_sectors,
                  invocation.value("origin-dev").value_or(spec.base.name()),
                  invocation.value("cow-dev").value_or(spec.stores.front().name()),
                  store.header().chunk_size)));
    return kExitDone;
  }
  if (!valid) {
    SNAP_TRY(invocation.report(text_line("0 {} snapshot Invalid", origin_sectors)));
    return kExitDone;
  }
  const Usage usage = store.usage();
  SNAP_TRY(
      invocation.report(text_line("0 {} snapshot {}/{} {}", origin_sectors, usage.allocated_sectors,
                                  usage.total_sectors, usage.metadata_sectors)));
  return kExitDone;
}

}  // namespace

CommandSpec status_command() {
  CommandSpec command;
  command.name = "status";
  command.operands = "ORIGIN COW";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "print what dmsetup status would print for a snapshot";
  // clang-format off
  command.description =
      "Prints the status line that 'dmsetup status' would print if the kernel had the snapshot active: \"0 LENGTH snapshot ALLOCATED/TOTAL METADATA\", in sectors of 512 bytes, or \"0 LENGTH snapshot Invalid\". As in dmsetup, an invalid store is not an error.";
  command.options = {
    flag("ignore-invalid", "also print it for a store that verify calls corrupt"),
    flag("table", "print the table line that would activate the snapshot instead"),
    file("origin-dev", "DEV", "with --table: the origin's device (default: ORIGIN)"),
    file("cow-dev", "DEV", "with --table: the COW's device (default: COW)"),
  };
  // clang-format on
  command.shared = {Shared::kForceShare, Shared::kJson, Shared::kGroupBackup};
  command.run = run_status;
  return command;
}

}  // namespace snaptool::cli
