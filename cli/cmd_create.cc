// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <charconv>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/stdio.h"
#include "cli/support/writing.h"
#include "libsnap/base/counted.h"
#include "libsnap/ops/store.h"

namespace snaptool::cli {
namespace {

// --size: bytes, or a percentage of the origin. Nothing when it was not given.
Result<std::optional<ops::StoreSize>> wanted_size(const Invocation& invocation) {
  const auto text = invocation.value("size");
  constexpr std::string_view kPercent = "%ORIGIN";
  if (!text) return std::optional<ops::StoreSize>();
  if (text->ends_with('%')) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--size {0}: did you mean {0}ORIGIN?", *text));
  }
  if (!text->ends_with(kPercent) || text->size() == kPercent.size()) {
    SNAP_ASSIGN(const auto bytes, invocation.size_value("size"));
    return std::optional(ops::StoreSize{*bytes, 0});
  }
  const std::string number = text->substr(0, text->size() - kPercent.size());
  uint64_t percent = 0;
  const auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), percent);
  if (ec != std::errc() || end != number.data() + number.size() || percent == 0 || percent > 1000) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--size takes 1%ORIGIN to 1000%ORIGIN, not '{}'", *text));
  }
  return std::optional(ops::StoreSize{0, percent});
}

Result<int> print_measure(const Invocation& invocation, const access::ImageSpec& origin,
                          uint64_t chunk) {
  SNAP_ASSIGN(const uint64_t enough, ops::measure(invocation.access(), origin, chunk));
  SNAP_TRY(invocation.report(invocation.json() ? Json{{"format_version", 1},
                                                      {"chunk_size_sectors", chunk / kSectorSize},
                                                      {"cow_size", enough}}
                                                     .text()
                                               : text_line("{}", enough)));
  return kExitDone;
}

Result<int> run_create(Invocation& invocation) {
  SNAP_ASSIGN(const uint64_t chunk,
              ops::parse_chunk_size(invocation.value("chunk-size").value_or("4k")));
  const bool measure = invocation.has("measure");
  if (!measure && invocation.operands().size() < 2) {
    return Error(ErrorCode::kInvalidArgument,
                 "the origin is missing, or the COW: name both as ORIGIN COW");
  }
  SNAP_ASSIGN(const access::ImageSpec origin, target_operand(invocation));
  SNAP_ASSIGN(const auto size, wanted_size(invocation));
  if (measure) return print_measure(invocation, origin, chunk);
  const std::string& cow = invocation.operands()[1];
  SNAP_ASSIGN(const ops::Created created,
              ops::create(invocation.access(), {origin, cow, chunk, size}));
  const std::string path = ops::path_of_new(cow);
  if (invocation.json()) {
    const Json json = {{"format_version", 1},
                       {"cow", path},
                       {"chunk_size_sectors", chunk / kSectorSize},
                       {"cow_size", created.size},
                       {"room_chunks", created.room_chunks},
                       {"origin_chunks", created.origin_chunks}};
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  const bool all = created.room_chunks == created.origin_chunks;
  SNAP_TRY(invocation.report(text_line("made '{}': chunks of {}, room for {} of the origin's {}",
                                       path, format_size(chunk),
                                       all ? "all" : fmt::format("{}", created.room_chunks),
                                       counted(created.origin_chunks, "chunk"))));
  return kExitDone;
}

}  // namespace

CommandSpec create_command() {
  CommandSpec command;
  command.name = "create";
  command.operands = "ORIGIN COW";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "make an empty store for a snapshot of an origin";
  // clang-format off
  command.description =
      "Makes COW a new, empty snapshot of ORIGIN: a sparse file, or an existing file, block device or part of a disk. At first, a snapshot shows its origin. Only the size of ORIGIN is looked at.\n\n"
      "An existing file must be empty or begin with zeros; it keeps its size unless --size is given.";
  command.options = {
    value("chunk-size", "SIZE", "a power of two from 512 to 1G (default: 4k)"),
    value("size", "SIZE", "of the COW, or N%ORIGIN (default: enough for every chunk of the origin)"),
    flag("measure", "only print how large the COW must be"),
    flag("force", "empty an existing store, or overwrite the start of an existing file"),
  };
  // clang-format on
  command.shared = {Shared::kForceShare, Shared::kJson};
  command.writes = Writes::kLast;
  command.done = "made";
  command.extra_option = "--size";
  command.run = run_create;
  return command;
}

}  // namespace snaptool::cli
