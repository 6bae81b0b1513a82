// SPDX-License-Identifier: Apache-2.0
#include "cli/report/comparison.h"
#include "cli/report/file_changes.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"

#include <fmt/format.h>

#include <algorithm>

namespace snaptool::cli {

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
    text += text_line("  {} {:08x}  {:<49} |{}|", mark, offset + at / 2, bytes, letters);
  }
  return text;
}

namespace {

// The table for a person.
class TextReport : public ReportWriter {
 public:
  TextReport(TextOutput& out, const TextReportOptions& options) : out_(out), options_(options) {}

  Result<void> begin(const ReportHead& head) override {
    head_ = head;
    return {};
  }

  Result<void> add(const ReportRange& range) override {
    if (!options_.ranges) return {};
    const Difference& difference = range.difference;
    std::string text;
    if (!any_) text = text_line("{:<16} {:<16} {}", "Offset", "Length", "Changed bytes");
    any_ = true;
    text += text_line("{:<16} {:<16} {}", fmt::format("{:#x}", difference.offset),
                      fmt::format("{:#x}", difference.length),
                      difference.changed_bytes > 0 ? fmt::to_string(difference.changed_bytes)
                                                   : "0 (a hole in one of them)");
    if (options_.hashes) {
      text += hash_row('-', range.before) + hash_row('+', range.after);
    }
    text += hex_rows('-', range.hex_offset, range.before.hex) +
            hex_rows('+', range.hex_offset, range.after.hex);
    return out_.write(text);
  }

  Result<void> begin_volume(const ops::VolumePair& volume) override {
    volume_ = volume;
    totals_ = {};
    const std::string name = volume.name.empty() ? "" : volume.name + ": ";
    if (!volume.before || !volume.after) {
      return out_.write(
          text_line("{}only in the {} image", name, volume.before ? "first" : "second"));
    }
    if (volume.compared()) {
      const std::string_view was = volume.before->type;
      const std::string_view is = volume.after->type;
      return out_.write(was == is ? text_line("{}{}", name, was)
                                  : text_line("{}{}, then {}", name, was, is));
    }
    const std::string& problem =
        volume.before->problem.empty() ? volume.after->problem : volume.before->problem;
    return out_.write(text_line(
        "{}its files are not compared: {}{}", name, problem,
        volume.has_ranges ? fmt::format(" ({} differ{})", counted(volume.changed_bytes, "byte"),
                                        volume.changed_bytes == 1 ? "s" : "")
                          : std::string()));
  }

  Result<void> add_change(const ops::FileChange& change) override {
    return out_.write("  " + change_text(change));
  }

  Result<void> add_piece(const ops::FilePiece& piece) override {
    totals_.add(piece.piece);
    return {};
  }

  Result<void> end_volume(const ops::FileDiffSummary& summary) override {
    std::string text;
    for (const std::string& problem : summary.problems)
      text += text_line("  not read: {}", problem);
    std::string uses;
    totals_.visit([&](std::string_view name, uint64_t bytes) {
      uses += fmt::format("{}{} {}", uses.empty() ? "" : ", ", name, bytes);
    });
    if (!uses.empty()) text += text_line("  bytes that differ, by their use: {}", uses);
    return out_.write(text);
  }

  Result<void> add_outside(const ByteRange& range) override {
    return out_.write(text_line("outside of all volumes: {} differ{} from {:#x} on",
                                counted(range.length, "byte"), range.length == 1 ? "s" : "",
                                range.offset));
  }

  Result<void> finish(const ReportTail& tail) override {
    if (tail.files) {
      const uint64_t files = tail.files->files;
      return out_.write(
          files > 0 ? text_line("{} differ{}", counted(files, "file"), files == 1 ? "s" : "")
          : tail.equal && tail.files->problems == 0
              ? std::string("no file differs\n")
              : std::string("no file that was compared differs\n"));
    }
    const CompareSummary& summary = tail.summary;
    std::string text;
    if (summary.ranges > 0) {
      text = text_line("{} differ{}, in {} ({})", counted(summary.changed_bytes, "byte"),
                       summary.changed_bytes == 1 ? "s" : "", counted(summary.ranges, "range"),
                       counted(summary.range_bytes, "byte"));
    }
    if (tail.chunk_size) {
      text += text_line("compared: {}, all that the COWs have, in chunks of {}",
                        counted(summary.compared_bytes, "byte"), counted(*tail.chunk_size, "byte"));
    }
    if (summary.sizes_differ) {
      text += text_line("the sizes differ: {} and {}{}", counted(head_.before.size, "byte"),
                        counted(head_.after.size, "byte"),
                        head_.strict ? "" : " (the rest of the larger one is compared with zeros)");
    }
    return out_.write(text + (tail.equal ? "the images are equal\n" : "the images differ\n"));
  }

 private:
  static std::string hash_row(char mark, const ReportRange::Side& side) {
    if (!side.there) return text_line("  {} past the end", mark);
    return text_line("  {} sha256 {}  entropy {:.2f}", mark, side.sha256, side.entropy);
  }

  TextOutput& out_;
  const TextReportOptions options_;
  ReportHead head_;
  bool any_ = false;
  ops::VolumePair volume_;
  UseTotals totals_;
};

}  // namespace

std::unique_ptr<ReportWriter> make_text_report(TextOutput& out, const TextReportOptions& options) {
  return std::make_unique<TextReport>(out, options);
}

}  // namespace snaptool::cli
