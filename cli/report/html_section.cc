// SPDX-License-Identifier: Apache-2.0
#include "cli/report/html_section.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/report/html_style.h"
#include "libsnap/base/counted.h"
#include "libsnap/base/printable.h"
#include "libsnap/base/units.h"

namespace snaptool::cli {
namespace {

std::string count_of_sectors(uint64_t bytes) {
  return fmt::format("{}, {}", counted(bytes, "byte"), counted(bytes / kSectorSize, "sector"));
}

std::string place_text(uint64_t offset, uint64_t length) {
  return fmt::format("From byte {} (sector {}) on: {}", offset, offset / kSectorSize,
                     count_of_sectors(length));
}

std::string file_system_sentence(const std::string& file_system) {
  return file_system.empty() ? "" : fmt::format(" File system: {}.", escape_markup(file_system));
}

std::string escape_lines(std::string_view text) {
  std::string escaped;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    escaped += escape_markup(text.substr(at, end - at)) + "\n";
    at = end + 1;
  }
  return escaped;
}

std::string_view sum_of(const ReportRange::Side& side) {
  return side.there ? std::string_view(side.sha256) : "past the end";
}

std::string entropy(const ReportRange::Side& side) {
  return side.there ? fmt::format("{:.2f}", side.entropy) : std::string("-");
}

std::string range_row(const ReportRange& range, RangeKind kind, std::optional<uint64_t> offset) {
  const Difference& difference = range.difference;
  std::string row = fmt::format(
      "<tr>{}{}<td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td class=\"hash\">{}<br>"
      "{}</td><td class=\"n\">{}<br>{}</td></tr>\n",
      place_cell(difference.offset), offset ? place_cell(*offset) : "", difference.length,
      difference.changed_bytes, difference.changed_bytes > 0 ? name_of(kind) : "hole",
      sum_of(range.before), sum_of(range.after), entropy(range.before), entropy(range.after));
  const std::string dump = hex_rows('-', range.hex_offset, range.before.hex) +
                           hex_rows('+', range.hex_offset, range.after.hex);
  if (dump.empty()) return row;
  return row + fmt::format("<tr><td class=\"wide\" colspan=\"{}\"><pre>{}</pre></td></tr>\n",
                           offset ? std::size(kPartRangeColumns) : std::size(kRangeColumns),
                           escape_lines(dump));
}

std::string change_row(const ops::FileChange& change) {
  const auto sum = [](const std::optional<ops::FileVersion>& version) {
    return version ? version->sha256 : std::string();
  };
  const std::string before = sum(change.before);
  const std::string after = sum(change.after);
  std::string line = change_text(change);
  line.pop_back();  // its end
  return fmt::format("<tr><td class=\"wide\">{}</td><td class=\"hash\">{}{}{}</td></tr>\n",
                     escape_markup(line), before, before.empty() && after.empty() ? "" : "<br>",
                     after);
}

std::string use_text(const ops::SpaceUse& space, std::string_view path) {
  if (path.empty()) return std::string(use_name(space.use));
  return fmt::format("{} of {}", use_name(space.use), escape_markup(printable_name(path)));
}

std::string piece_row(const ops::FilePiece& piece, const ops::VolumePair& pair) {
  return fmt::format(
      "<tr>{}{}<td class=\"n\">{}</td><td class=\"use\">{}</td><td class=\"use\">{}</td></tr>\n",
      place_cell(pair.before->offset + piece.piece.offset), place_cell(piece.piece.offset),
      piece.piece.length, use_text(piece.piece.before, piece.path_before),
      use_text(piece.piece.after, piece.path_after));
}

// What a person has to know of a volume before its files; empty: nothing.
std::string files_sentence(const ops::VolumePair& pair) {
  if (!pair.before || !pair.after) {
    return fmt::format("It is there in the {} image only.", pair.before ? "first" : "second");
  }
  if (!pair.compared()) {
    const std::string& problem =
        pair.before->problem.empty() ? pair.after->problem : pair.before->problem;
    return fmt::format("Its files are not compared: {}.", escape_markup(problem));
  }
  if (pair.before->type == pair.after->type) return {};
  return fmt::format("File system: {}, then {}.", escape_markup(pair.before->type),
                     escape_markup(pair.after->type));
}

Result<void> write_rows(TextOutput& out, const std::vector<std::string>& rows, uint64_t shown,
                        uint64_t count, std::string_view what) {
  for (const std::string& row : rows) SNAP_TRY(out.write(row));
  SNAP_TRY(out.write(kCloseTable));
  if (count <= shown) return {};
  return out.write(
      fmt::format("<p>The first {} of {}. A report in json or DFXML has all of them.</p>\n", shown,
                  counted(count, what)));
}

}  // namespace

HtmlSection::HtmlSection(const ReportHead& head)
    : title_("Outside of all partitions and volumes"),
      facts_("Or across the end of one of them."),
      is_part_(false) {
  if (head.regions.empty()) become_whole(head);
}

HtmlSection::HtmlSection(const ReportRegion& region, bool has_volumes)
    : name_(region.name), title_(escape_markup(region.name)) {
  uint64_t bytes = 0;
  for (const ReportRegion::Piece& piece : region.pieces) bytes += piece.range.length;
  facts_ = place_text(region.pieces.front().range.offset, bytes);
  if (region.pieces.size() > 1) {
    facts_ += fmt::format(", in {}", counted(region.pieces.size(), "piece"));
  }
  facts_ += "." + file_system_sentence(region.file_system);
  if (has_volumes) facts_ += " Ranges in its volumes are listed with them.";
}

HtmlSection::HtmlSection(const ops::VolumePair& volume)
    : name_(volume.name), title_(escape_markup(volume.name)) {
  const ops::VolumeFacts& facts = volume.after ? *volume.after : *volume.before;
  facts_ = place_text(facts.offset, facts.size) + "." + file_system_sentence(facts.type);
}

void HtmlSection::become_whole(const ReportHead& head) {
  title_ = "The whole image";
  facts_ = fmt::format("{}.{}{}", count_of_sectors(head.before.size),
                       file_system_sentence(head.file_system),
                       head.regions.empty() ? "" : " Ranges in a partition are listed there.");
}

void HtmlSection::add(const ReportRange& range, RangeKind kind, std::optional<uint64_t> offset,
                      bool shown) {
  ++ranges_;
  range_bytes_ += range.difference.length;
  changed_bytes_ += range.difference.changed_bytes;
  if (!shown) return;
  ++shown_;
  rows_.push_back(range_row(range, kind, offset));
}

void HtmlSection::begin_files(const ops::VolumePair& volume) { volume_ = volume; }

void HtmlSection::add_change(const ops::FileChange& change) {
  ++change_count_;
  if (changes_.size() < kMostRows) changes_.push_back(change_row(change));
}

void HtmlSection::add_piece(const ops::FilePiece& piece) {
  ++piece_count_;
  totals_.add(piece.piece);
  if (pieces_.size() < kMostRows) pieces_.push_back(piece_row(piece, *volume_));
}

Result<void> HtmlSection::write(TextOutput& out) const {
  SNAP_TRY(out.write(fmt::format("<section>\n<h2>{}</h2>\n<p>{}</p>\n", title_, facts_)));
  SNAP_TRY(write_ranges(out));
  if (volume_) SNAP_TRY(write_files(out));
  return out.write("</section>\n");
}

Result<void> HtmlSection::write_ranges(TextOutput& out) const {
  if (ranges_ == 0) return out.write("<p>No range that differs lies here.</p>\n");
  const std::string caption =
      fmt::format("{}: {}, {} changed", counted(ranges_, "range"), counted(range_bytes_, "byte"),
                  counted(changed_bytes_, "byte"));
  SNAP_TRY(out.write(is_part_ ? open_table("part-ranges", kPartRangeColumns, caption)
                              : open_table("ranges", kRangeColumns, caption)));
  return write_rows(out, rows_, shown_, ranges_, "range");
}

Result<void> HtmlSection::write_files(TextOutput& out) const {
  std::string text;
  const std::string sentence = files_sentence(*volume_);
  if (!sentence.empty()) text += fmt::format("<p>{}</p>\n", sentence);
  for (const std::string& problem : problems_) {
    text += fmt::format("<p>Not read: {}</p>\n", escape_markup(problem));
  }
  if (volume_->compared() && changes_.empty()) text += "<p>No file differs.</p>\n";
  SNAP_TRY(out.write(text));
  if (!changes_.empty()) {
    SNAP_TRY(out.write(open_table("changes", kChangeColumns,
                                  fmt::format("{} that differ{}", counted(change_count_, "file"),
                                              change_count_ == 1 ? "s" : ""))));
    SNAP_TRY(write_rows(out, changes_, changes_.size(), change_count_, "change"));
  }
  if (pieces_.empty()) return {};
  SNAP_TRY(out.write(
      open_table("uses", kUseColumns, "What the bytes that differ are used for: " + uses())));
  return write_rows(out, pieces_, pieces_.size(), piece_count_, "part");
}

// "content 1 byte, free 512 bytes".
std::string HtmlSection::uses() const {
  std::string text;
  totals_.visit([&](std::string_view name, uint64_t bytes) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, counted(bytes, "byte"));
  });
  return text;
}

}  // namespace snaptool::cli
