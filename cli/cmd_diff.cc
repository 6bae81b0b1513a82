// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/command_table.h"
#include "cli/disk_tree.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/report.h"
#include "cli/stdio.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/snap/layout.h"

namespace snaptool::cli {
namespace {

constexpr uint64_t kMostGranularity = kGiB;
constexpr uint64_t kMostHex = 64 * kKiB;
constexpr uint64_t kDefaultHex = 64;

// What is to be found out of each range.
struct Wanted {
  bool hashes = false;
  uint64_t hex = 0;  // bytes
};

std::string hex_of(std::span<const std::byte> bytes) {
  std::string hex;
  for (const std::byte b : bytes) hex += fmt::format("{:02x}", static_cast<unsigned>(b));
  return hex;
}

// The rows of a hex dump of what is in hex already; '-' for before, '+' for after.
std::string hex_rows(char mark, uint64_t offset, const std::string& hex) {
  constexpr size_t kRow = 16;
  std::string text;
  for (size_t at = 0; at < hex.size(); at += 2 * kRow) {
    std::string bytes;
    std::string letters;
    for (size_t i = at; i < std::min(hex.size(), at + 2 * kRow); i += 2) {
      bytes += hex.substr(i, 2) + (i - at == kRow - 2 ? "  " : " ");
      const char c = static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
      letters += c >= ' ' && c <= '~' ? c : '.';
    }
    text += fmt::format("  {} {:08x}  {:<49} |{}|\n", mark, offset + at / 2, bytes, letters);
  }
  return text;
}

// Looks again at ranges that differ.
class Examiner {
 public:
  Examiner(Image& before, Image& after, const Wanted& wanted, const Job& job)
      : before_(before), after_(after), wanted_(wanted), job_(job) {}

  Result<ReportRange> examine(const Difference& difference) {
    ReportRange range;
    range.difference = difference;
    if (wanted_.hex > 0) SNAP_TRY(dump(range));
    if (!wanted_.hashes) return range;
    SNAP_TRY(examine_side(before_, range.difference, range.before));
    SNAP_TRY(examine_side(after_, range.difference, range.after));
    return range;
  }

 private:
  Result<void> examine_side(Image& image, const Difference& difference, ReportRange::Side& side) {
    if (difference.offset >= image.size()) return {};
    const uint64_t length = std::min(difference.length, image.size() - difference.offset);
    SNAP_ASSIGN(const RangeStatistics statistics,
                examine_range(image, difference.offset, length, {unseen_, job_.cancel, 1}));
    side.there = true;
    side.sha256 = statistics.sha256;
    side.entropy = statistics.entropy;
    side.zeros = statistics.zeros;
    SNAP_ASSIGN(const ImageExtent extent, image.extent_at(difference.offset, length));
    if (extent.length == length && extent.file != nullptr) {
      side.file_offset = extent.file_offset;
      side.filename = extent.file->name();
    }
    return {};
  }

  static Result<std::vector<std::byte>> bytes_of(Image& image, uint64_t offset, uint64_t length) {
    const uint64_t left = offset < image.size() ? image.size() - offset : 0;
    std::vector<std::byte> bytes(std::min(length, left));
    SNAP_TRY(image.read_at(offset, bytes));
    return bytes;
  }

  // From the first row of 16 bytes that differs.
  Result<void> dump(ReportRange& range) {
    constexpr uint64_t kRow = 16;
    const Difference& difference = range.difference;
    const uint64_t end = difference.offset + difference.length;
    for (uint64_t at = difference.offset; at < end; at += kIoPiece) {
      const uint64_t length = std::min(kIoPiece, end - at);
      SNAP_ASSIGN(auto before, bytes_of(before_, at, length));
      SNAP_ASSIGN(auto after, bytes_of(after_, at, length));
      const size_t common = std::min(before.size(), after.size());
      const auto [one, other] =
          std::mismatch(before.begin(), before.begin() + static_cast<ptrdiff_t>(common),
                        after.begin(), after.begin() + static_cast<ptrdiff_t>(common));
      const auto first = static_cast<uint64_t>(one - before.begin());
      if (first == common && before.size() == after.size()) continue;
      range.hex_offset = std::max(difference.offset, round_down(at + first, kRow));
      const uint64_t shown = std::min(wanted_.hex, end - range.hex_offset);
      SNAP_ASSIGN(before, bytes_of(before_, range.hex_offset, shown));
      SNAP_ASSIGN(after, bytes_of(after_, range.hex_offset, shown));
      range.before.hex = hex_of(before);
      range.after.hex = hex_of(after);
      return {};
    }
    return {};
  }

  Image& before_;
  Image& after_;
  Wanted wanted_;
  const Job& job_;
  Progress unseen_;
};

// The table for a person.
class HumanReport : public ReportWriter {
 public:
  HumanReport(TextOutput& out, bool hashes) : out_(out), hashes_(hashes) {}

  Result<void> begin(const ReportHead& head) override {
    head_ = head;
    return {};
  }

  Result<void> add(const ReportRange& range) override {
    const Difference& difference = range.difference;
    std::string text;
    if (!any_) text = fmt::format("{:<16} {:<16} {}\n", "Offset", "Length", "Changed bytes");
    any_ = true;
    text += fmt::format("{:<16} {:<16} {}\n", fmt::format("{:#x}", difference.offset),
                        fmt::format("{:#x}", difference.length),
                        difference.changed_bytes > 0 ? fmt::to_string(difference.changed_bytes)
                                                     : "0 (a hole in one of them)");
    if (hashes_) {
      text += hash_row('-', range.before) + hash_row('+', range.after);
    }
    text += hex_rows('-', range.hex_offset, range.before.hex) +
            hex_rows('+', range.hex_offset, range.after.hex);
    return out_.write(text);
  }

  Result<void> finish(const ReportTail& tail) override {
    const CompareSummary& summary = tail.summary;
    std::string text;
    if (summary.ranges > 0) {
      text = fmt::format("{} bytes differ, in {} range{} ({} bytes)\n", summary.changed_bytes,
                         summary.ranges, summary.ranges == 1 ? "" : "s", summary.range_bytes);
    }
    if (tail.chunk_size) {
      text += fmt::format("chunks of {} bytes were compared: {} bytes in them\n", *tail.chunk_size,
                          summary.compared_bytes);
    }
    if (summary.sizes_differ) {
      text +=
          fmt::format("the sizes differ: {} and {} bytes{}\n", head_.before.size, head_.after.size,
                      head_.strict ? "" : " (what one has more is compared with zeros)");
    }
    return out_.write(text + (tail.equal ? "the images are equal\n" : "the images differ\n"));
  }

 private:
  static std::string hash_row(char mark, const ReportRange::Side& side) {
    if (!side.there) return fmt::format("  {} behind the end\n", mark);
    return fmt::format("  {} sha256 {}  entropy {:.2f}\n", mark, side.sha256, side.entropy);
  }

  TextOutput& out_;
  bool hashes_;
  ReportHead head_;
  bool any_ = false;
};

Result<uint64_t> granularity_of(const Invocation& invocation) {
  SNAP_ASSIGN(const auto given, invocation.size_value("granularity"));
  const uint64_t granularity = given.value_or(kSectorSize);
  if (granularity < kSectorSize || granularity > kMostGranularity ||
      granularity % kSectorSize != 0) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("--granularity {}: a multiple of 512 is wanted, up to 1G", granularity));
  }
  return granularity;
}

Result<Wanted> wanted_of(const Invocation& invocation) {
  Wanted wanted;
  wanted.hashes = invocation.has("hash") || invocation.has("report");
  if (!invocation.has("hex")) return wanted;
  const std::string text = invocation.value("hex").value_or("");
  wanted.hex = kDefaultHex;
  if (!text.empty()) {
    SNAP_ASSIGN(wanted.hex, parse_size(text));
  }
  if (wanted.hex == 0 || wanted.hex > kMostHex) {
    return Error(ErrorCode::kInvalidArgument, "--hex takes a size from 1 to 64k");
  }
  return wanted;
}

// The chunk size of the topmost store of a view.
Result<std::optional<uint64_t>> chunk_size_of(const access::OpenImage& open) {
  if (open.files.size() < 2) return std::optional<uint64_t>();
  SNAP_ASSIGN(const auto store, PersistentStore::open(*open.files.back()));
  if (store.state() == StoreState::kNone) return std::optional<uint64_t>();
  return std::optional(store.chunk_bytes());
}

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

Result<std::vector<ReportRegion>> regions_of(const Invocation& invocation,
                                             const access::OpenImage& open) {
  Json unused;
  SNAP_ASSIGN(const DiskTree tree, describe_disk(invocation, {open.files.front()}, unused));
  std::vector<ReportRegion> regions;
  for (const Region& region : tree.regions) {
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

// The report file, by the ending of its name.
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

Result<ReportHead> head_of(const Invocation& invocation, access::OpenImage& before,
                           access::OpenImage& after, const CompareOptions& options) {
  ReportHead head;
  head.before = {invocation.operands()[0], before.image().size(), {}};
  head.after = {invocation.operands()[1], after.image().size(), {}};
  head.command_line = command_line_of(invocation);
  SNAP_ASSIGN(head.created, report_time(invocation.value("date")));
  head.granularity = options.granularity;
  head.strict = options.strict;
  if (!invocation.has("report")) return head;
  SNAP_ASSIGN(head.regions, regions_of(invocation, before));
  const access::Phase phase(invocation.access(), "hashing", head.before.size + head.after.size);
  const std::vector<HashAlgorithm> sha256{HashAlgorithm::kSha256};
  for (auto& [image, described] :
       {std::pair{&before.image(), &head.before}, std::pair{&after.image(), &head.after}}) {
    SNAP_ASSIGN(const auto sums, hash_range(*image, 0, image->size(), sha256, phase.job()));
    described->sha256 = sums.front();
  }
  return head;
}

Result<int> compare(Invocation& invocation) {
  SNAP_ASSIGN(const Wanted wanted, wanted_of(invocation));
  CompareOptions options;
  SNAP_ASSIGN(options.granularity, granularity_of(invocation));
  options.strict = invocation.has("strict");
  SNAP_ASSIGN(const access::ImageSpec first, image_operand(invocation, 0));
  SNAP_ASSIGN(const access::ImageSpec second, image_operand(invocation, 1, "second-format"));
  access::Door door(invocation.access(), access::operations::kOutput);
  SNAP_ASSIGN(access::OpenImage before, access::open_image(door.opener(), first));
  SNAP_ASSIGN(access::OpenImage after, access::open_image(door.opener(), second));
  SNAP_ASSIGN(auto out, TextOutput::open(door, "-"));
  std::vector<std::unique_ptr<ReportWriter>> writers;
  if (invocation.json()) {
    writers.push_back(make_json_report(out));
  } else if (!invocation.quiet()) {
    writers.push_back(std::make_unique<HumanReport>(out, invocation.has("hash")));
  }
  std::optional<TextOutput> report;
  if (const auto path = invocation.value("report")) {
    SNAP_TRY(report_writer(*path, out));  // its name, before anything is made
    SNAP_ASSIGN(auto file, TextOutput::open(door, *path));
    report.emplace(std::move(file));
    SNAP_ASSIGN(auto writer, report_writer(*path, *report));
    writers.push_back(std::move(writer));
  }
  SNAP_ASSIGN(const ReportHead head, head_of(invocation, before, after, options));
  for (const auto& writer : writers) SNAP_TRY(writer->begin(head));

  Progress progress;
  progress.set_size(std::max(head.before.size, head.after.size));
  const Job job = invocation.job(progress);
  Examiner examiner(before.image(), after.image(), wanted, job);
  ReportTail tail;
  {
    const ProgressReporter reporter("comparing", invocation.progress_style(), progress);
    SNAP_ASSIGN(tail.summary, compare_images(
                                  before.image(), after.image(), options,
                                  [&](const Difference& difference) -> Result<void> {
                                    if (writers.empty()) return {};
                                    SNAP_ASSIGN(const ReportRange range,
                                                examiner.examine(difference));
                                    for (const auto& writer : writers) SNAP_TRY(writer->add(range));
                                    return {};
                                  },
                                  job));
  }
  tail.equal = tail.summary.equal(options);
  SNAP_ASSIGN(tail.chunk_size, chunk_size_of(after));
  if (!tail.chunk_size) {
    SNAP_ASSIGN(tail.chunk_size, chunk_size_of(before));
  }
  for (const auto& writer : writers) SNAP_TRY(writer->finish(tail));
  if (report) SNAP_TRY(report->commit());
  SNAP_TRY(out.commit());
  return tail.equal ? kExitDone : kExitFailed;
}

// What would otherwise end with 1, which says that the images differ, ends with 2.
Result<int> run(Invocation& invocation) {
  auto status = compare(invocation);
  if (status || exit_status_of(status.error().code()) != kExitFailed ||
      status.error().sys_errno() == EPIPE) {
    return status;
  }
  print_error(fmt::format("snaptool diff: {}\n", printable(status.error().describe())));
  return kExitCorrupt;
}

}  // namespace

CommandSpec diff_command() {
  CommandSpec command;
  command.name = "diff";
  command.operands = "IMAGE1 IMAGE2";
  command.min_operands = command.max_operands = 2;
  command.summary = "tell where two images differ, and write a report of it";
  // clang-format off
  command.description =
      "Compares two images and lists the ranges that differ. What both have from the same place (equal files, an origin and its snapshot, reflinked extents) is not read, nor what is a hole in both: ORIGIN against ORIGIN@COW reads only the exceptions. Of images of different sizes, what one has more is compared with zeros. Exit status 0: equal; 1: they differ; 2 and above: it could not be found out.\n\n"
      "--report writes json, DFXML (.xml) or one HTML page with a picture of the disk, each with the SHA-256 of both images and of every range before and after.";
  command.options = {
    flag("strict", "holes and stored zeros differ, and so do images of different sizes"),
    value("date", "TIME", "the time in the report, as 2026-11-26T09:30:00Z or @SECONDS (default: SOURCE_DATE_EPOCH, or now)"),
    value("granularity", "SIZE", "ranges begin and end at multiples of SIZE (default: 512)"),
    flag("hash", "give SHA-256 and entropy of each range, before and after"),
    {0, "hex", OptionKind::kOptionalValue, "SIZE", "show so many bytes of each range, before and after, from the first that differs (default: 64)", ValueHint::kNone, {}},
    file("report", "FILE", "write a report to FILE: .json, .xml (DFXML) or .html"),
    flag("ignore-invalid", "compare what an invalid store still holds"),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kFormat,     Shared::kSecondFormat, Shared::kFollowParents,
                    Shared::kForceShare, Shared::kJobs,         Shared::kProgress,
                    Shared::kJson,       Shared::kGroupBackup};
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
