// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "cli/report/comparison.h"
#include "cli/report/file_changes.h"
#include "cli/support/version.h"
#include "libsnap/base/counted.h"
#include "libsnap/base/printable.h"

namespace snaptool::cli {
namespace {

constexpr size_t kMostRows = 10000;  // of the table
constexpr size_t kSections = 16;     // that the disk can be looked at one by one
constexpr size_t kColumns = 500;     // of a section
constexpr size_t kBins = kSections * kColumns;
constexpr int kWidth = 1000;  // of a picture, in its own units
constexpr int kBarHeight = 60;
constexpr double kLeastWidth = 2;  // of a bar, to be seen
constexpr int kRowHeight = 18;

// What became of a range.
enum class Kind : size_t { kChanged, kZeroed, kOnlyInOne };
constexpr size_t kKinds = 3;
constexpr std::array<std::string_view, kKinds> kClasses = {"changed", "zeroed", "only"};
constexpr std::array<std::string_view, kKinds> kKindNames = {"changed", "now zeros",
                                                             "only in one image"};

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #eef1f4; --line: #c9d1d9;
  --hot: #c2410c; --zeroed: #0f766e; --only: #7e22ce; --mark: #1d4ed8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --soft: #161b22;
  --line: #30363d; --hot: #fb923c; --zeroed: #2dd4bf; --only: #c084fc; --mark: #79b8ff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code, .hash { font-family: ui-monospace, monospace; font-size: .85em; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; background: var(--soft); border: 1px solid var(--line); }
svg .c { pointer-events: none; } .changed { fill: var(--hot); color: var(--hot); }
.zeroed { fill: var(--zeroed); color: var(--zeroed); } .only { fill: var(--only); color: var(--only); }
svg .o { fill: var(--only); fill-opacity: .12; pointer-events: none; } .key { margin-right: 1.2em; }
svg .r { fill: none; stroke: var(--mark); }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; } svg a:hover rect.s { fill-opacity: .12; }
svg rect.s { fill: var(--mark); fill-opacity: 0; stroke: var(--line); }
.zoom { display: none; } .zoom:target { display: block; }
.scroll { overflow-x: auto; } .scroll .hash { white-space: nowrap; } .scroll svg { min-width: 40rem; }
@media print { .zoom { display: block; } }
)";

class HtmlReport : public ReportWriter {
 public:
  explicit HtmlReport(TextOutput& out) : out_(out), bins_(kBins) {}

  Result<void> begin(const ReportHead& head) override {
    head_ = head;
    size_ = std::max<uint64_t>({head.before.size, head.after.size, 1});
    common_ = std::min(head.before.size, head.after.size);
    for (const ReportRegion& region : head_.regions) depths_.insert(region.depth);
    return {};
  }

  Result<void> add(const ReportRange& range) override {
    if (ranges_.size() < kMostRows) ranges_.push_back(range);
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
    return {};
  }

  Result<void> begin_volume(const ops::VolumePair& volume) override {
    volumes_.emplace_back().pair = volume;
    return {};
  }
  Result<void> add_change(const ops::FileChange& change) override {
    Volume& volume = volumes_.back();
    ++volume.change_count;
    if (volume.changes.size() < kMostRows) volume.changes.push_back(change_row(change));
    return {};
  }
  Result<void> add_piece(const ops::FilePiece& piece) override {
    Volume& volume = volumes_.back();
    ++volume.piece_count;
    volume.totals.add(piece.piece);
    if (volume.pieces.size() < kMostRows) volume.pieces.push_back(piece_row(piece, volume.pair));
    return {};
  }
  Result<void> end_volume(const ops::FileDiffSummary& summary) override {
    volumes_.back().problems = summary.problems;
    return {};
  }
  Result<void> add_outside(const ByteRange& range) override {
    if (outside_.size() < kMostRows) outside_.push_back(range);
    return {};
  }

  Result<void> finish(const ReportTail& tail) override {
    SNAP_TRY(out_.write(fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
        "'unsafe-inline'\">\n<title>{} against {}</title>\n<style>{}</style>\n</head>\n<body>\n",
        escape_markup(head_.before.name), escape_markup(head_.after.name), kStyle)));
    SNAP_TRY(out_.write(fmt::format("<h1>What changed</h1>\n<p>{}</p>\n", summary_sentence(tail))));
    SNAP_TRY(write_sources(tail));
    SNAP_TRY(
        out_.write(fmt::format("<h2>Where</h2>\n<p>From byte 0 to byte {}. The higher a bar, the "
                               "more of its place changed "
                               "(logarithmic). A click looks closer.</p>\n<p>{}</p>\n{}",
                               size_, legend(), picture(0, kBins, kBins / 1000, true))));
    for (size_t section = 0; section < kSections; ++section) {
      const size_t from = section * kColumns;
      SNAP_TRY(out_.write(fmt::format(
          "<div class=\"zoom\" id=\"zoom-{}\"><h2>Bytes {:.0f} to {:.0f}</h2>\n{}</div>\n", section,
          start_of(from), start_of(from + kColumns), picture(from, from + kColumns, 1, false))));
    }
    for (const Volume& volume : volumes_) SNAP_TRY(write_volume(volume));
    SNAP_TRY(write_outside());
    SNAP_TRY(write_table(tail));
    return out_.write("</body>\n</html>\n");
  }

 private:
  Kind kind_of(const ReportRange& range) const {
    if (range.difference.offset >= common_) return Kind::kOnlyInOne;
    return range.after.zeros ? Kind::kZeroed : Kind::kChanged;
  }

  static std::string legend() {
    std::string text;
    for (size_t kind = 0; kind < kKinds; ++kind) {
      text += fmt::format("<span class=\"key\"><b class=\"{}\">\u25a0</b> {}</span>",
                          kClasses[kind], kKindNames[kind]);
    }
    return text;
  }

  size_t bin_of(uint64_t offset) const {
    const double bin = static_cast<double>(offset) / static_cast<double>(size_) * kBins;
    return std::min(static_cast<size_t>(bin), kBins - 1);
  }
  double start_of(size_t bin) const {
    return static_cast<double>(size_) * static_cast<double>(bin) / kBins;
  }

  static std::string summary_sentence(const ReportTail& tail) {
    const CompareSummary& summary = tail.summary;
    if (summary.ranges == 0 && tail.equal) return "The two images are equal.";
    std::string text =
        fmt::format("{} in {} ({}) differ.", counted(summary.changed_bytes, "byte"),
                    counted(summary.ranges, "range"), counted(summary.range_bytes, "byte"));
    if (tail.files)
      text += fmt::format(" {} {}.", counted(tail.files->files, "file"),
                          tail.files->files == 1 ? "differs" : "differ");
    return text;
  }

  Result<void> write_sources(const ReportTail& tail) {
    const CompareSummary& summary = tail.summary;
    std::string rows;
    const auto row = [&](std::string_view key, std::string_view value, bool code = false) {
      rows += fmt::format("<tr><th scope=\"row\">{}</th><td{}>{}</td></tr>\n", key,
                          code ? " class=\"hash\"" : "", escape_markup(value));
    };
    for (const auto& [when, image] :
         {std::pair{"Before", &head_.before}, {"After", &head_.after}}) {
      row(when, image->name, true);
      row("size", fmt::format("{} ({})", counted(image->size, "byte"), format_size(image->size)));
      for (const ReportImage::NamedFile& file : image->files) {
        row("file",
            fmt::format("{} ({}, modified {})", file.path, counted(file.size, "byte"),
                        file.modified),
            true);
      }
      for (const auto& [algorithm, sum] : image->sums) row(label_of(algorithm), sum, true);
    }
    const ReportOrigin& origin = head_.origin;
    if (!origin.case_number.empty()) row("Case", origin.case_number);
    if (!origin.examiner.empty()) row("Examiner", origin.examiner);
    for (const std::string& note : origin.notes) row("Note", note);
    row("Command", head_.command_line, true);
    row("Program", fmt::format("{}, on {}, {}", kProgram, origin.host, head_.created));
    row("its SHA-256", origin.program_sum, true);
    row("Ranges", fmt::format("aligned to {} bytes{}", head_.granularity,
                              head_.strict ? "; a hole and stored zeros count as different" : ""));
    row("Read",
        fmt::format("{} bytes compared; {} not read, since both have them from the same "
                    "place; {} holes in both",
                    summary.compared_bytes, summary.same_storage_bytes, summary.hole_bytes));
    if (tail.chunk_size) {
      row("Granularity",
          fmt::format("the store keeps chunks of {} bytes: {} bytes of them were compared, {} "
                      "truly changed",
                      *tail.chunk_size, summary.compared_bytes, summary.changed_bytes));
    }
    return out_.write("<table>\n" + rows + "</table>\n");
  }

  static std::string label_of(std::string_view algorithm) {
    return algorithm == "sha256"   ? "SHA-256"
           : algorithm == "sha512" ? "SHA-512"
           : algorithm == "sha1"   ? "SHA-1"
                                   : "MD5";
  }

  // The bins [from, to), `merge` of them in a column.
  std::string picture(size_t from, size_t to, size_t merge, bool links) const {
    const size_t columns = (to - from) / merge;
    const double column_width = static_cast<double>(kWidth) / static_cast<double>(columns);
    const double column_bytes = static_cast<double>(size_) * static_cast<double>(merge) / kBins;
    std::string body;
    if (links) {
      for (size_t section = 0; section < kSections; ++section) {
        const double width = static_cast<double>(kWidth) / kSections;
        body += fmt::format(
            "<a href=\"#zoom-{}\"><rect class=\"s\" x=\"{:.2f}\" y=\"0\" width=\"{:.2f}\" "
            "height=\"{}\"><title>look closer</title></rect></a>\n",
            section, width * static_cast<double>(section), width, kBarHeight);
      }
    }
    for (size_t column = 0; column < columns; ++column) {
      std::array<double, kKinds> changed{};
      for (size_t i = 0; i < merge; ++i) {
        for (size_t kind = 0; kind < kKinds; ++kind) {
          changed[kind] += bins_[from + column * merge + i][kind];
        }
      }
      body += bar(changed, column_bytes, column_width * static_cast<double>(column),
                  std::max(column_width, kLeastWidth));
    }
    int rows = 0;
    body += tail(start_of(from), start_of(to)) + regions(start_of(from), start_of(to), rows);
    return fmt::format(
        "<div class=\"scroll\"><svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"where the "
        "images "
        "differ\">\n{}</svg></div>\n",
        kWidth, kBarHeight + kRowHeight * rows + 2, body);
  }

  // A column of which so many bytes changed in each way: as high as all of them are, in parts.
  static std::string bar(const std::array<double, kKinds>& changed, double column_bytes, double x,
                         double width) {
    double all = 0;
    for (const double bytes : changed) all += bytes;
    if (all <= 0) return {};
    // A single sector of a terabyte can still be seen.
    const double share = std::clamp(all / column_bytes, 1e-9, 1.0);
    const double height = kBarHeight * (0.12 + 0.88 * (1 + std::log10(share) / 9));
    std::string body;
    double y = kBarHeight;
    for (size_t kind = 0; kind < kKinds; ++kind) {
      if (changed[kind] <= 0) continue;
      const double part = height * changed[kind] / all;
      y -= part;
      body += fmt::format(
          "<rect class=\"c {}\" x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\"/>\n",
          kClasses[kind], x, y, width, part);
    }
    return body;
  }

  // What only one of the images has between two bytes.
  std::string tail(double from, double to) const {
    const double start = std::max(from, static_cast<double>(common_));
    const double end = std::min(to, static_cast<double>(size_));
    if (start >= end || head_.before.size == head_.after.size) return {};
    return fmt::format("<rect class=\"o\" x=\"{:.2f}\" y=\"0\" width=\"{:.2f}\" height=\"{}\"/>\n",
                       (start - from) / (to - from) * kWidth, (end - start) / (to - from) * kWidth,
                       kBarHeight);
  }

  // Partitions and volumes between two bytes, a row for each depth that there is.
  std::string regions(double from, double to, int& rows) const {
    std::string body;
    for (const ReportRegion& region : head_.regions) {
      const auto row = static_cast<int>(std::distance(depths_.begin(), depths_.find(region.depth)));
      for (const ByteRange& range : region.ranges) {
        const double start = std::max(from, static_cast<double>(range.offset));
        const double end = std::min(to, static_cast<double>(range.offset + range.length));
        if (start >= end) continue;
        rows = std::max(rows, row + 1);
        const double x = (start - from) / (to - from) * kWidth;
        const double width = std::max((end - start) / (to - from) * kWidth, 0.5);
        const int y = kBarHeight + 2 + row * kRowHeight;
        const std::string name = escape_markup(region.name);
        body += fmt::format(
            "<rect class=\"r\" x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"{}\">"
            "<title>{}: bytes {} to {}</title></rect>\n",
            x, y, width, kRowHeight - 3, name, range.offset, range.offset + range.length);
        // The box above it says what it is in.
        const std::string label = region.name.substr(region.name.rfind('#') + 1);
        if (width > 6.0 * static_cast<double>(label.size()) + 6) {
          body += fmt::format("<text x=\"{:.2f}\" y=\"{}\">{}</text>\n", x + 3, y + 12,
                              escape_markup(label));
        }
      }
    }
    return body;
  }

  Result<void> write_table(const ReportTail& tail) {
    if (ranges_.empty()) return {};
    SNAP_TRY(out_.write(
        "<h2>Ranges</h2>\n<div class=\"scroll\"><table>\n<tr><th class=\"n\">Offset</th><th "
        "class=\"n\">Length</th><th class=\"n\">Changed</th><th>What</th><th>SHA-256 before, "
        "after</th><th "
        "class=\"n\">Entropy before</th><th class=\"n\">after</th></tr>\n"));
    for (const ReportRange& range : ranges_) {
      SNAP_TRY(out_.write(fmt::format(
          "<tr><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td "
          "class=\"hash\">{}<br>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
          range.difference.offset, range.difference.length, range.difference.changed_bytes,
          range.difference.changed_bytes > 0 ? kKindNames[static_cast<size_t>(kind_of(range))]
                                             : std::string_view("hole"),
          range.before.sha256, range.after.sha256, entropy(range.before), entropy(range.after))));
      const std::string dump = hex_rows('-', range.hex_offset, range.before.hex) +
                               hex_rows('+', range.hex_offset, range.after.hex);
      if (dump.empty()) continue;
      SNAP_TRY(out_.write(
          fmt::format("<tr><td colspan=\"7\"><pre>{}</pre></td></tr>\n", escape_lines(dump))));
    }
    SNAP_TRY(out_.write("</table></div>\n"));
    if (tail.summary.ranges <= ranges_.size()) return {};
    return out_.write(fmt::format(
        "<p>The first {} of {} ranges. A report in json or DFXML has all of them.</p>\n",
        ranges_.size(), tail.summary.ranges));
  }

  // What was found in a volume, as far as it is shown.
  struct Volume {
    ops::VolumePair pair;
    std::vector<std::string> changes;  // rows
    uint64_t change_count = 0;
    std::vector<std::string> pieces;  // rows
    uint64_t piece_count = 0;
    UseTotals totals;
    std::vector<std::string> problems;
  };

  static std::string change_row(const ops::FileChange& change) {
    const auto sum = [](const std::optional<ops::FileVersion>& version) {
      return version ? version->sha256 : std::string();
    };
    return fmt::format("<tr><td>{}</td><td class=\"hash\">{}<br>{}</td></tr>\n",
                       escape_markup(trim(change_text(change))), sum(change.before),
                       sum(change.after));
  }

  static std::string trim(std::string line) {
    line.pop_back();
    return line;
  }

  static std::string piece_row(const ops::FilePiece& piece, const ops::VolumePair& pair) {
    const auto use = [](const ops::SpaceUse& space, std::string_view path) {
      return path.empty() ? std::string(use_name(space.use))
                          : fmt::format("{} of {}", use_name(space.use),
                                        escape_markup(printable_name(path)));
    };
    return fmt::format(
        "<tr><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td "
        "class=\"n\">{}</td><td>{}</td><td>{}</td></tr>\n",
        pair.before->offset + piece.piece.offset, piece.piece.offset,
        piece.piece.offset / kSectorSize, piece.piece.length,
        use(piece.piece.before, piece.path_before), use(piece.piece.after, piece.path_after));
  }

  static std::string volume_title(const ops::VolumePair& pair) {
    const std::string name = pair.name.empty() ? "Files" : "Files in " + pair.name;
    if (!pair.before || !pair.after) {
      return fmt::format("{}: there in the {} image only", name, pair.before ? "first" : "second");
    }
    if (!pair.compared()) {
      const std::string& problem =
          pair.before->problem.empty() ? pair.after->problem : pair.before->problem;
      return fmt::format("{}: not compared ({})", name, problem);
    }
    return fmt::format("{} ({})", name, pair.after->type);
  }

  Result<void> write_volume(const Volume& volume) {
    std::string text = fmt::format("<h2>{}</h2>\n", escape_markup(volume_title(volume.pair)));
    for (const std::string& problem : volume.problems) {
      text += fmt::format("<p>Not read: {}</p>\n", escape_markup(problem));
    }
    SNAP_TRY(out_.write(text));
    SNAP_TRY(write_rows("<th>Change</th><th>SHA-256 before, after</th>", volume.changes,
                        volume.change_count, "changes"));
    std::string uses;
    volume.totals.visit([&](std::string_view name, uint64_t bytes) {
      uses += fmt::format("{}{} {}", uses.empty() ? "" : ", ", name, bytes);
    });
    if (!uses.empty()) {
      SNAP_TRY(out_.write(fmt::format("<p>Bytes that differ, by their use: {}.</p>\n", uses)));
    }
    return write_rows(
        "<th class=\"n\">Offset</th><th class=\"n\">in the volume</th><th class=\"n\">Sector in "
        "it</th><th class=\"n\">Length</th><th>Before</th><th>After</th>",
        volume.pieces, volume.piece_count, "parts of ranges");
  }

  Result<void> write_rows(std::string_view head, const std::vector<std::string>& rows,
                          uint64_t count, std::string_view what) {
    if (rows.empty()) return {};
    SNAP_TRY(out_.write(fmt::format("<div class=\"scroll\"><table>\n<tr>{}</tr>\n", head)));
    for (const std::string& row : rows) SNAP_TRY(out_.write(row));
    SNAP_TRY(out_.write("</table></div>\n"));
    if (count <= rows.size()) return {};
    return out_.write(
        fmt::format("<p>The first {} of {} {}. A report in json or DFXML has all of them.</p>\n",
                    rows.size(), count, what));
  }

  Result<void> write_outside() {
    std::vector<std::string> rows;
    for (const ByteRange& range : outside_) {
      rows.push_back(fmt::format("<tr><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
                                 range.offset, range.length));
    }
    if (!rows.empty()) SNAP_TRY(out_.write("<h2>Outside of all volumes</h2>\n"));
    return write_rows("<th class=\"n\">Offset</th><th class=\"n\">Length</th>", rows, rows.size(),
                      "ranges");
  }

  static std::string escape_lines(std::string_view text) {
    std::string escaped;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      escaped += escape_markup(text.substr(at, end - at)) + "\n";
      at = end + 1;
    }
    return escaped;
  }

  static std::string entropy(const ReportRange::Side& side) {
    return side.there ? fmt::format("{:.2f}", side.entropy) : std::string("-");
  }

  TextOutput& out_;
  ReportHead head_;
  uint64_t size_ = 1;
  uint64_t common_ = 0;                           // bytes that both have
  std::set<int> depths_;                          // of the regions
  std::vector<std::array<double, kKinds>> bins_;  // changed bytes
  std::vector<ReportRange> ranges_;
  std::vector<Volume> volumes_;
  std::vector<ByteRange> outside_;
};

}  // namespace

std::unique_ptr<ReportWriter> make_html_report(TextOutput& out) {
  return std::make_unique<HtmlReport>(out);
}

}  // namespace snaptool::cli
