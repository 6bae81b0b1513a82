// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "cli/report/comparison.h"
#include "cli/report/html_picture.h"
#include "cli/report/html_section.h"
#include "cli/report/html_style.h"
#include "cli/report/region_finder.h"
#include "cli/support/version.h"
#include "libsnap/base/counted.h"
#include "libsnap/base/units.h"

namespace snaptool::cli {
namespace {

bool lies_in(const ReportRegion& inner, const ReportRegion& outer) {
  const ByteRange& first = inner.pieces.front().range;
  return std::ranges::any_of(outer.pieces, [&](const ReportRegion::Piece& piece) {
    return piece.range.offset <= first.offset &&
           first.offset < piece.range.offset + piece.range.length;
  });
}

class HtmlReport : public ReportWriter {
 public:
  explicit HtmlReport(TextOutput& out) : out_(out) {}

  Result<void> begin(const ReportHead& head) override {
    head_ = head;
    picture_.emplace(head);
    finder_ = RegionFinder(head.regions);
    for (size_t i = 0; i < head.regions.size(); ++i) {
      const bool has_volumes =
          i + 1 < head.regions.size() && lies_in(head.regions[i + 1], head.regions[i]);
      sections_.emplace_back(head.regions[i], has_volumes);
    }
    rest_.emplace(head);
    return {};
  }

  Result<void> add(const ReportRange& range) override {
    picture_->add(range);
    const auto place = finder_.find({range.difference.offset, range.difference.length});
    HtmlSection& section = place ? sections_[place->region] : *rest_;
    section.add(range, picture_->kind_of(range),
                place ? std::optional(place->offset) : std::nullopt, ranges_++ < kMostRows);
    return {};
  }

  Result<void> begin_volume(const ops::VolumePair& volume) override {
    volume_ = &section_of(volume);
    volume_->begin_files(volume);
    return {};
  }
  Result<void> add_change(const ops::FileChange& change) override {
    volume_->add_change(change);
    return {};
  }
  Result<void> add_piece(const ops::FilePiece& piece) override {
    volume_->add_piece(piece);
    return {};
  }
  Result<void> end_volume(const ops::FileDiffSummary& summary) override {
    volume_->end_files(summary);
    return {};
  }
  // Its section has all ranges that lie outside of the volumes.
  Result<void> add_outside(const ByteRange& /*range*/) override { return {}; }

  Result<void> finish(const ReportTail& tail) override {
    SNAP_TRY(out_.write(fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
        "'unsafe-inline'\">\n<title>{} against {}</title>\n<style>{}</style>\n</head>\n<body>\n",
        escape_markup(head_.before.name), escape_markup(head_.after.name), page_style())));
    SNAP_TRY(out_.write(fmt::format("<h1>What changed</h1>\n<p>{}</p>\n", summary_sentence(tail))));
    SNAP_TRY(write_sources(tail));
    SNAP_TRY(
        out_.write(fmt::format("<h2>Where</h2>\n<p>From byte 0 to byte {}. The higher a bar, the "
                               "more of its place changed "
                               "(logarithmic). A click looks closer.</p>\n<p>{}</p>\n{}",
                               picture_->size(), ChangePicture::legend(), picture_->overview())));
    for (size_t i = 0; i < picture_->close_ups(); ++i) {
      SNAP_TRY(out_.write(picture_->close_up(i)));
    }
    for (const HtmlSection& section : sections_) SNAP_TRY(section.write(out_));
    if (rest_->has_content()) SNAP_TRY(rest_->write(out_));
    return out_.write("</body>\n</html>\n");
  }

 private:
  HtmlSection& section_of(const ops::VolumePair& volume) {
    if (volume.name.empty()) {
      rest_->become_whole(head_);
      return *rest_;
    }
    const auto found = std::ranges::find(sections_, volume.name, &HtmlSection::name);
    return found != sections_.end() ? *found : sections_.emplace_back(volume);
  }

  static std::string summary_sentence(const ReportTail& tail) {
    const CompareSummary& summary = tail.summary;
    if (summary.ranges == 0 && tail.equal) return "The two images are equal.";
    std::string text =
        fmt::format("{} differ{}, in {} ({}).", counted(summary.changed_bytes, "byte"),
                    summary.changed_bytes == 1 ? "s" : "", counted(summary.ranges, "range"),
                    counted(summary.range_bytes, "byte"));
    if (tail.files) {
      text += fmt::format(" {} differ{}.", counted(tail.files->files, "file"),
                          tail.files->files == 1 ? "s" : "");
    }
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
    row("Ranges", fmt::format("aligned to {}{}", counted(head_.granularity, "byte"),
                              head_.strict ? "; a hole and stored zeros count as different" : ""));
    row("Read",
        fmt::format("{} compared; {} not read, since both have them from the same place; {} in "
                    "holes of both",
                    counted(summary.compared_bytes, "byte"),
                    counted(summary.same_storage_bytes, "byte"),
                    counted(summary.hole_bytes, "byte")));
    if (tail.chunk_size) {
      row("Granularity",
          fmt::format("the store keeps chunks of {}: {} of them compared, {} truly changed",
                      counted(*tail.chunk_size, "byte"), counted(summary.compared_bytes, "byte"),
                      counted(summary.changed_bytes, "byte")));
    }
    return out_.write(
        "<table class=\"facts\">\n<caption>The images, and who compared them how</caption>\n<tbody>\n" +
        rows + std::string(kCloseTable));
  }

  static std::string label_of(std::string_view algorithm) {
    return algorithm == "sha256"   ? "SHA-256"
           : algorithm == "sha512" ? "SHA-512"
           : algorithm == "sha1"   ? "SHA-1"
                                   : "MD5";
  }

  TextOutput& out_;
  ReportHead head_;
  std::optional<ChangePicture> picture_;
  RegionFinder finder_;
  uint64_t ranges_ = 0;
  std::vector<HtmlSection> sections_;  // of the regions, then of the second image's own volumes
  std::optional<HtmlSection> rest_;
  HtmlSection* volume_ = nullptr;  // whose files are told of
};

}  // namespace

std::unique_ptr<ReportWriter> make_html_report(TextOutput& out) {
  return std::make_unique<HtmlReport>(out);
}

}  // namespace snaptool::cli
