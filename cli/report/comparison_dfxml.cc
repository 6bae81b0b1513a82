// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/report/comparison.h"
#include "cli/support/version.h"

namespace snaptool::cli {
namespace {

// Each image is a file object whose byte runs are the ranges that differ. DFXML 1.2; what it has no
// element for has the namespace of this program.
class DfxmlReport : public ReportWriter {
 public:
  explicit DfxmlReport(TextOutput& out) : out_(out) {}

  Result<void> begin(const ReportHead& head) override {
    head_ = head;
    return out_.write(fmt::format(
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        "<dfxml version='1.2.0' "
        "xmlns='http://www.forensicswiki.org/wiki/Category:Digital_Forensics_"
        "XML' xmlns:dc='http://purl.org/dc/elements/1.1/' xmlns:snaptool='urn:snaptool:diff:1'>\n"
        "  <metadata><dc:type>Disk image comparison</dc:type></metadata>\n"
        "  <creator>\n"
        "    <program>snaptool</program>\n"
        "    <version>{}</version>\n"
        "    <execution_environment>\n"
        "      <command_line>{}</command_line>\n"
        "      <start_time>{}</start_time>\n"
        "    </execution_environment>\n"
        "  </creator>\n"
        "  <source>\n{}{}  </source>\n"
        "  <snaptool:ranges granularity='{}' strict='{}'>\n",
        kVersion, escape_markup(head.command_line), escape_markup(head.created),
        source(head.before), source(head.after), head.granularity, head.strict));
  }

  Result<void> add(const ReportRange& range) override {
    return out_.write(
        fmt::format("    <snaptool:range changed_bytes='{}'>\n{}{}    </snaptool:range>\n",
                    range.difference.changed_bytes,
                    side("before", head_.before, range.difference, range.before),
                    side("after", head_.after, range.difference, range.after)));
  }

  Result<void> finish(const ReportTail& tail) override {
    const CompareSummary& summary = tail.summary;
    return out_.write(fmt::format(
        "  </snaptool:ranges>\n"
        "  <snaptool:summary equal='{}' ranges='{}' range_bytes='{}' changed_bytes='{}' "
        "compared_bytes='{}' same_storage_bytes='{}' hole_bytes='{}'/>\n"
        "</dfxml>\n",
        tail.equal, summary.ranges, summary.range_bytes, summary.changed_bytes,
        summary.compared_bytes, summary.same_storage_bytes, summary.hole_bytes));
  }

 private:
  static std::string source(const ReportImage& image) {
    return fmt::format(
        "    <image_filename>{}</image_filename>\n    <image_size>{}</image_size>\n"
        "    <hashdigest type='sha256'>{}</hashdigest>\n",
        escape_markup(image.name), image.size, image.sha256);
  }

  static std::string side(std::string_view when, const ReportImage& image,
                          const Difference& difference, const ReportRange::Side& side) {
    // Behind the end of the smaller image there is nothing.
    if (difference.offset >= image.size) return {};
    const std::string place =
        side.file_offset ? fmt::format(" img_offset='{}'", *side.file_offset) : std::string();
    return fmt::format(
        "      <fileobject snaptool:when='{}'>\n"
        "        <filename>{}</filename>\n"
        "        <byte_runs><byte_run file_offset='{}'{} len='{}' snaptool:entropy='{:.3f}'>"
        "<hashdigest type='sha256'>{}</hashdigest></byte_run></byte_runs>\n"
        "      </fileobject>\n",
        when, escape_markup(image.name), difference.offset, place,
        std::min(difference.length, image.size - difference.offset), side.entropy, side.sha256);
  }

  TextOutput& out_;
  ReportHead head_;
};

}  // namespace

std::unique_ptr<ReportWriter> make_dfxml_report(TextOutput& out) {
  return std::make_unique<DfxmlReport>(out);
}

}  // namespace snaptool::cli
