// SPDX-License-Identifier: Apache-2.0
#include "cli/report/html_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace snaptool::cli {
namespace {

constexpr size_t kSections = 16;  // that the disk can be looked at one by one
constexpr size_t kColumns = 500;  // of a section
constexpr size_t kBins = kSections * kColumns;
constexpr size_t kOverviewColumns = 1000;
constexpr int kWidth = 1000;  // of a picture, in its own units
constexpr int kBarHeight = 60;
constexpr double kLeastWidth = 2;  // of a bar, to be seen
constexpr int kRowHeight = 18;

constexpr std::array<std::string_view, kRangeKinds> kClasses = {"changed", "zeroed", "only"};
constexpr std::array<std::string_view, kRangeKinds> kNames = {"changed", "now zeros",
                                                              "only in one image"};

// A column of which so many bytes changed in each way: as high as all of them are, in parts.
std::string bar(const std::array<double, kRangeKinds>& changed, double column_bytes, double x,
                double width) {
  double all = 0;
  for (const double bytes : changed) all += bytes;
  if (all <= 0) return {};
  // A single sector of a terabyte can still be seen.
  const double share = std::clamp(all / column_bytes, 1e-9, 1.0);
  const double height = kBarHeight * (0.12 + 0.88 * (1 + std::log10(share) / 9));
  std::string body;
  double y = kBarHeight;
  for (size_t kind = 0; kind < kRangeKinds; ++kind) {
    if (changed[kind] <= 0) continue;
    const double part = height * changed[kind] / all;
    y -= part;
    body += fmt::format(
        "<rect class=\"c {}\" x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\"/>\n",
        kClasses[kind], x, y, width, part);
  }
  return body;
}

// A box for a piece of a region, with its name if there is room.
std::string region_box(const ReportRegion& region, const ByteRange& range, double x, double width,
                       int y) {
  std::string box = fmt::format(
      "<rect class=\"r\" x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"{}\">"
      "<title>{}: bytes {} to {}</title></rect>\n",
      x, y, width, kRowHeight - 3, escape_markup(region.name), range.offset,
      range.offset + range.length);
  // The box above it says what it is in.
  const std::string label = region.name.substr(region.name.rfind('#') + 1);
  if (width > 6.0 * static_cast<double>(label.size()) + 6) {
    box +=
        fmt::format("<text x=\"{:.2f}\" y=\"{}\">{}</text>\n", x + 3, y + 12, escape_markup(label));
  }
  return box;
}

}  // namespace

std::string_view name_of(RangeKind kind) { return kNames.at(static_cast<size_t>(kind)); }

ChangePicture::ChangePicture(const ReportHead& head)
    : regions_(head.regions),
      size_(std::max<uint64_t>({head.before.size, head.after.size, 1})),
      common_(std::min(head.before.size, head.after.size)),
      same_size_(head.before.size == head.after.size),
      bins_(kBins) {
  for (const ReportRegion& region : regions_) depths_.insert(region.depth);
}

RangeKind ChangePicture::kind_of(const ReportRange& range) const {
  if (range.difference.offset >= common_) return RangeKind::kOnlyInOne;
  return range.after.zeros ? RangeKind::kZeroed : RangeKind::kChanged;
}

void ChangePicture::add(const ReportRange& range) {
  // Its bytes are spread evenly over the bins that it touches.
  const Difference& difference = range.difference;
  const auto kind = static_cast<size_t>(kind_of(range));
  const auto first = bin_of(difference.offset);
  const auto last = bin_of(difference.offset + difference.length - 1);
  for (size_t bin = first; bin <= last; ++bin) {
    const double from = std::max(static_cast<double>(difference.offset), start_of(bin));
    const double to =
        std::min(static_cast<double>(difference.offset + difference.length), start_of(bin + 1));
    bins_[bin][kind] += std::max(0.0, to - from);
  }
}

std::string ChangePicture::legend() {
  std::string text;
  for (size_t kind = 0; kind < kRangeKinds; ++kind) {
    text += fmt::format("<span class=\"key\"><b class=\"{}\">\u25a0</b> {}</span>", kClasses[kind],
                        kNames[kind]);
  }
  return text;
}

std::string ChangePicture::overview() const {
  return draw(0, kBins, kBins / kOverviewColumns, links());
}

size_t ChangePicture::close_ups() const { return kSections; }

std::string ChangePicture::close_up(size_t section) const {
  const size_t from = section * kColumns;
  return fmt::format(
      "<section class=\"zoom\" id=\"zoom-{}\"><h3>Bytes {:.0f} to {:.0f}</h3>\n{}"
      "</section>\n",
      section, start_of(from), start_of(from + kColumns), draw(from, from + kColumns, 1, ""));
}

size_t ChangePicture::bin_of(uint64_t offset) const {
  const double bin = static_cast<double>(offset) / static_cast<double>(size_) * kBins;
  return std::min(static_cast<size_t>(bin), kBins - 1);
}

double ChangePicture::start_of(size_t bin) const {
  return static_cast<double>(size_) * static_cast<double>(bin) / kBins;
}

// The bins [from, to), `merge` of them in a column.
std::string ChangePicture::draw(size_t from, size_t to, size_t merge,
                                std::string_view links) const {
  const size_t columns = (to - from) / merge;
  const double column_width = static_cast<double>(kWidth) / static_cast<double>(columns);
  const double column_bytes = static_cast<double>(size_) * static_cast<double>(merge) / kBins;
  std::string body(links);
  for (size_t column = 0; column < columns; ++column) {
    Bin changed{};
    for (size_t i = 0; i < merge; ++i) {
      for (size_t kind = 0; kind < kRangeKinds; ++kind) {
        changed[kind] += bins_[from + column * merge + i][kind];
      }
    }
    body += bar(changed, column_bytes, column_width * static_cast<double>(column),
                std::max(column_width, kLeastWidth));
  }
  int rows = 0;
  body += tail(start_of(from), start_of(to)) + regions(start_of(from), start_of(to), rows);
  // What has links in it is a group: of an image, a reader of the screen tells only the label.
  return fmt::format(
      "<div class=\"scroll\"><svg viewBox=\"0 0 {} {}\" role=\"{}\" aria-label=\"where the images "
      "differ\">\n{}</svg></div>\n",
      kWidth, kBarHeight + kRowHeight * rows + 2, links.empty() ? "img" : "group", body);
}

std::string ChangePicture::links() const {
  std::string text;
  const double width = static_cast<double>(kWidth) / kSections;
  for (size_t section = 0; section < kSections; ++section) {
    text += fmt::format(
        "<a href=\"#zoom-{}\"><rect class=\"s\" x=\"{:.2f}\" y=\"0\" width=\"{:.2f}\" "
        "height=\"{}\"><title>bytes {:.0f} to {:.0f}: look closer</title></rect></a>\n",
        section, width * static_cast<double>(section), width, kBarHeight,
        start_of(section * kColumns), start_of((section + 1) * kColumns));
  }
  return text;
}

// What only one of the images has between two bytes.
std::string ChangePicture::tail(double from, double to) const {
  const double start = std::max(from, static_cast<double>(common_));
  const double end = std::min(to, static_cast<double>(size_));
  if (start >= end || same_size_) return {};
  return fmt::format("<rect class=\"o\" x=\"{:.2f}\" y=\"0\" width=\"{:.2f}\" height=\"{}\"/>\n",
                     (start - from) / (to - from) * kWidth, (end - start) / (to - from) * kWidth,
                     kBarHeight);
}

// Partitions and volumes between two bytes, a row for each depth that there is.
std::string ChangePicture::regions(double from, double to, int& rows) const {
  std::string body;
  for (const ReportRegion& region : regions_) {
    const auto row = static_cast<int>(std::distance(depths_.begin(), depths_.find(region.depth)));
    for (const ReportRegion::Piece& piece : region.pieces) {
      const ByteRange& range = piece.range;
      const double start = std::max(from, static_cast<double>(range.offset));
      const double end = std::min(to, static_cast<double>(range.offset + range.length));
      if (start >= end) continue;
      rows = std::max(rows, row + 1);
      const double x = (start - from) / (to - from) * kWidth;
      const double width = std::max((end - start) / (to - from) * kWidth, 0.5);
      body += region_box(region, range, x, width, kBarHeight + 2 + row * kRowHeight);
    }
  }
  return body;
}

}  // namespace snaptool::cli
