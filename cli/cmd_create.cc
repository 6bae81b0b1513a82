// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/writing.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/io/output_file.h"
#include "libsnap/snap/create.h"

namespace snaptool::cli {
namespace {

// --size: bytes, or a percentage of the origin. Nothing when it was not given.
Result<std::optional<uint64_t>> wanted_size(const Invocation& invocation, uint64_t origin_size) {
  const auto text = invocation.value("size");
  constexpr std::string_view kPercent = "%ORIGIN";
  if (!text || text->size() <= kPercent.size() ||
      text->compare(text->size() - kPercent.size(), kPercent.size(), kPercent) != 0) {
    return invocation.size_value("size");
  }
  const std::string number = text->substr(0, text->size() - kPercent.size());
  uint64_t percent = 0;
  const auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), percent);
  if (ec != std::errc() || end != number.data() + number.size() || percent == 0 || percent > 1000) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--size takes 1%ORIGIN to 1000%ORIGIN, not '{}'", *text));
  }
  return std::optional<uint64_t>(origin_size / 100 * percent + origin_size % 100 * percent / 100);
}

struct Plan {
  Layout layout;
  uint64_t origin_chunks;
  uint64_t enough;  // bytes: room for the whole origin
  std::optional<uint64_t> size;
};

Error too_small(const Plan& plan, const std::string& path, uint64_t size) {
  return Error(ErrorCode::kNoSpace,
               fmt::format("'{}' with {} bytes holds no store with chunks of {}: it needs {} at "
                           "least, and {} for all of the origin",
                           path, size, format_size(plan.layout.chunk_bytes()),
                           3 * plan.layout.chunk_bytes(), plan.enough));
}

// How many exceptions a store of that size takes.
uint64_t capacity_of(const Plan& plan, uint64_t size) {
  const uint64_t stride = plan.layout.exceptions_per_area() + 1;
  const uint64_t chunks = usable_store_size(plan.layout, size) / plan.layout.chunk_bytes();
  return chunks - kNumSnapshotHdrChunks - div_round_up(chunks - kNumSnapshotHdrChunks, stride);
}

// Makes a store of a file that is there. Returns its size.
Result<uint64_t> make_in_place(const Invocation& invocation, access::Opener& opener,
                               const access::FileSpec& origin, const access::FileSpec& spec,
                               const std::vector<File*>& others, const Plan& plan) {
  const std::string path = spec.name();
  SNAP_ASSIGN(const auto cow, access::open_cow(invocation.access(), opener, origin, spec, others));
  if (!invocation.has("force")) SNAP_TRY(access::check_has_no_content(*cow));
  uint64_t size = cow->size();
  const auto* const posix = dynamic_cast<const PosixFile*>(cow.get());
  if (posix == nullptr || posix->is_block_device()) {
    if (plan.size && *plan.size != size) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is a {} of {} bytes, all of which the kernel uses: "
                               "--size cannot be another",
                               path, posix != nullptr ? "block device" : "part", size));
    }
  } else if (plan.size || size == 0) {
    size = plan.size ? usable_store_size(plan.layout, *plan.size) : plan.enough;
  }
  if (size < 3 * plan.layout.chunk_bytes()) return too_small(plan, path, size);
  if (usable_store_size(plan.layout, size) + plan.layout.chunk_bytes() <= size) {
    invocation.warn(
        fmt::format("the last chunk of '{}' would fill an area that none can follow: the kernel "
                    "invalidates the snapshot when it gets there, although it fitted",
                    path));
  }
  if (size != cow->size()) SNAP_TRY(cow->resize(size));
  SNAP_TRY(create_store(*cow, plan.layout));
  if (spec.is_whole_file()) SNAP_TRY(flush_folder_of(path));
  return size;
}

Result<uint64_t> make_new(const std::string& path, const std::vector<const File*>& inputs,
                          const Plan& plan) {
  const uint64_t size = plan.size ? usable_store_size(plan.layout, *plan.size) : plan.enough;
  if (size < 3 * plan.layout.chunk_bytes()) return too_small(plan, path, plan.size.value_or(size));
  SNAP_ASSIGN(const auto output, OutputFile::create(path, size, inputs, false));
  SNAP_TRY(create_store(output->file(), plan.layout));
  SNAP_TRY(output->commit());
  return size;
}

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const uint64_t chunk,
              parse_chunk_size(invocation.value("chunk-size").value_or("4k")));
  const bool measure = invocation.has("measure");
  if (!measure && invocation.operands().size() < 2) {
    return Error(ErrorCode::kInvalidArgument, "the COW is missing: name it as ORIGIN COW");
  }
  SNAP_ASSIGN(const access::ImageSpec spec, target_operand(invocation));
  access::Opener opener(invocation.access());
  std::optional<access::FileSpec> there;
  if (!measure) {
    SNAP_ASSIGN(there, access::existing_cow(invocation.operands()[1]));
    // Where origin and COW lie in one file, it is open once, for writing.
    if (there && !there->is_whole_file()) opener.expect_writes(*there);
  }
  SNAP_ASSIGN(access::OpenImage origin, access::open_layers(invocation.access(), opener, spec));
  Plan plan{Layout(chunk / kSectorSize), div_round_up(origin.image().size(), chunk), 0, {}};
  SNAP_ASSIGN(plan.enough, store_size_for(plan.layout, plan.origin_chunks));
  SNAP_ASSIGN(plan.size, wanted_size(invocation, origin.image().size()));
  if (measure) {
    SNAP_TRY(invocation.report(
        invocation.json()
            ? Json{{"format_version", 1}, {"chunk_size", chunk}, {"size", plan.enough}}.text()
            : fmt::format("{}\n", plan.enough)));
    return kExitDone;
  }
  std::string path = invocation.operands()[1];
  if (path.rfind("file:", 0) == 0) path.erase(0, 5);
  uint64_t size = 0;
  if (there) {
    std::vector<File*> others;
    for (const auto& file : origin.files) others.push_back(file.get());
    SNAP_ASSIGN(size, make_in_place(invocation, opener, spec.base, *there, others, plan));
  } else {
    std::vector<const File*> inputs;
    for (const auto& file : origin.files) inputs.push_back(file.get());
    SNAP_ASSIGN(size, make_new(path, inputs, plan));
  }
  const uint64_t capacity = std::min(capacity_of(plan, size), plan.origin_chunks);
  if (invocation.json()) {
    const Json json = {{"format_version", 1},     {"cow", path},
                       {"chunk_size", chunk},     {"size", size},
                       {"room_chunks", capacity}, {"origin_chunks", plan.origin_chunks}};
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  SNAP_TRY(invocation.report(fmt::format(
      "made '{}': chunks of {}, room for {} of the origin's {} chunks\n", path, format_size(chunk),
      capacity == plan.origin_chunks ? "all" : fmt::format("{}", capacity), plan.origin_chunks)));
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
  command.description =
      "Makes COW a new, empty snapshot of ORIGIN: a sparse file, or, if it is there already, that "
      "file, block device or part of a disk. What a snapshot shows at first is its origin; the "
      "origin is only "
      "looked at for its size.\n\n"
      "A file that is there must be empty or begin with zeros; its size is kept unless --size is "
      "given.";
  command.options = {{0,
                      "chunk-size",
                      OptionKind::kValue,
                      "SIZE",
                      "a power of two from 512 to 1G (default: 4k)",
                      ValueHint::kNone,
                      {}},
                     {0,
                      "size",
                      OptionKind::kValue,
                      "SIZE",
                      "of the COW, or N%ORIGIN (default: enough for every chunk of the origin)",
                      ValueHint::kNone,
                      {}},
                     {0,
                      "measure",
                      OptionKind::kFlag,
                      "",
                      "only print what would be enough",
                      ValueHint::kNone,
                      {}},
                     {0,
                      "force",
                      OptionKind::kFlag,
                      "",
                      "empty a store, or overwrite the start of a file, that is there already",
                      ValueHint::kNone,
                      {}}};
  command.shared = "UO";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
