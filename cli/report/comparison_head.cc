// SPDX-License-Identifier: Apache-2.0
#include "cli/report/comparison_head.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/report/disk_tree.h"
#include "cli/support/json.h"
#include "cli/support/stdio.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool::cli {
namespace {

// Where the pieces of a partition lie in the image whose pieces these are.
std::vector<ByteRange> ranges_within(const std::vector<Storage>& image,
                                     const std::vector<Storage>& region) {
  std::vector<ByteRange> ranges;
  for (const Storage& piece : region) {
    uint64_t at = 0;
    for (const Storage& own : image) {
      const uint64_t from = std::max(piece.offset, own.offset);
      const uint64_t to = std::min(piece.offset + piece.size, own.offset + own.size);
      if (piece.id == own.id && from < to) {
        ranges.push_back({at + (from - own.offset), to - from});
      }
      at += own.size;
    }
  }
  return ranges;
}

Result<std::vector<ReportRegion>> report_regions(const Invocation& invocation,
                                                 const access::OpenImage& open) {
  SNAP_ASSIGN(const auto facts, access::disk_facts(invocation.access(), {open.files.front()}));
  std::vector<ReportRegion> regions;
  for (const Region& region : cli::regions_of(facts)) {
    auto ranges = ranges_within(open.files.front()->storages(), region.storages);
    if (!ranges.empty()) regions.push_back({region.name, region.depth, std::move(ranges)});
  }
  return regions;
}

std::string command_line_of(const Invocation& invocation) {
  std::string line = "snaptool diff";
  for (const char* option : {"granularity", "hex", "format", "second-format", "vgcfg", "report"}) {
    if (!invocation.has(option)) continue;
    const std::string value = invocation.value(option).value_or("");
    line += fmt::format(" --{}", option) + (value.empty() ? "" : "=" + shell_quoted(value));
  }
  for (const char* option : {"strict", "hash", "ignore-invalid", "force-share"}) {
    if (invocation.has(option)) line += fmt::format(" --{}", option);
  }
  for (const std::string& operand : invocation.operands()) line += " " + shell_quoted(operand);
  return line;
}

}  // namespace

Result<std::unique_ptr<ReportWriter>> report_writer(const std::string& path, TextOutput& out) {
  const auto ends_with = [&](std::string_view ending) {
    return path.size() >= ending.size() &&
           path.compare(path.size() - ending.size(), ending.size(), ending) == 0;
  };
  if (ends_with(".json")) return make_json_report(out);
  if (ends_with(".xml") || ends_with(".dfxml")) return make_dfxml_report(out);
  if (ends_with(".html") || ends_with(".htm")) return make_html_report(out);
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("--report {}: the name must end in .json, .xml (DFXML) or .html", path));
}

Result<std::optional<uint64_t>> chunk_size_of(const access::OpenImage& before,
                                              const access::OpenImage& after) {
  for (const access::OpenImage* const open : {&after, &before}) {
    if (open->files.size() < 2) continue;
    SNAP_ASSIGN(const auto store, PersistentStore::open(*open->files.back()));
    if (store.state() != StoreState::kNone) return std::optional(store.chunk_bytes());
  }
  return std::optional<uint64_t>();
}

Result<ReportHead> comparison_head(const Invocation& invocation, access::OpenImage& before,
                                   access::OpenImage& after, const CompareOptions& options) {
  ReportHead head;
  head.before = {invocation.operands()[0], before.image().size(), {}};
  head.after = {invocation.operands()[1], after.image().size(), {}};
  head.command_line = command_line_of(invocation);
  SNAP_ASSIGN(head.created, report_time(invocation.value("date")));
  head.granularity = options.granularity;
  head.strict = options.strict;
  if (!invocation.has("report")) return head;
  SNAP_ASSIGN(head.regions, report_regions(invocation, before));
  const access::Phase phase(invocation.access(), "hashing", head.before.size + head.after.size);
  const std::vector<HashAlgorithm> sha256{HashAlgorithm::kSha256};
  for (auto& [image, described] :
       {std::pair{&before.image(), &head.before}, std::pair{&after.image(), &head.after}}) {
    SNAP_ASSIGN(const auto sums, hash_range(*image, 0, image->size(), sha256, phase.job()));
    described->sha256 = sums.front();
    invocation.log_sum(described->name, "sha256", sums.front());
  }
  return head;
}

}  // namespace snaptool::cli
