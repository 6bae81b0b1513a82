// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <span>

#include "cli/report/comparison.h"
#include "cli/report/file_changes.h"
#include "cli/report/file_facts.h"
#include "cli/support/version.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/printable.h"

namespace snaptool::cli {
namespace {

// Each image is a file object whose byte runs are the ranges that differ. DFXML 1.2: elements stand
// in the order of its schema, https://github.com/dfxml-working-group/dfxml_schema. What that has no
// place for has the namespace of this program, and readers may skip it.
class DfxmlReport : public ReportWriter {
 public:
  explicit DfxmlReport(TextOutput& out) : out_(out) {}

  Result<void> begin(const ReportHead& head) override {
    head_ = head;
    return out_.write(fmt::format(
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        "<dfxml version='1.2.0' "
        "xmlns='http://www.forensicswiki.org/wiki/Category:Digital_Forensics_"
        "XML' xmlns:dc='http://purl.org/dc/elements/1.1/' "
        "xmlns:delta='http://www.forensicswiki.org/wiki/Forensic_Disk_Differencing' "
        "xmlns:snaptool='urn:snaptool:diff:1'>\n"
        "  <metadata>\n    <dc:type>Disk image comparison</dc:type>\n{}  </metadata>\n"
        "  <creator>\n"
        "    <program>snaptool</program>\n"
        "    <version>{}</version>\n"
        "    <execution_environment>\n"
        "      <host>{}</host>\n"
        "      <command_line>{}</command_line>\n"
        "      <start_time>{}</start_time>\n"
        "    </execution_environment>\n"
        "    <snaptool:program_sha256>{}</snaptool:program_sha256>\n"
        "  </creator>\n"
        "  <source>\n{}{}{}{}  </source>\n"
        "  <snaptool:ranges granularity='{}' strict='{}'>\n",
        about_case(head.origin), kVersion, escape_markup(head.origin.host),
        escape_markup(head.command_line), escape_markup(head.created), head.origin.program_sum,
        image_filename(head.before), image_filename(head.after), about_image("before", head.before),
        about_image("after", head.after), head.granularity, head.strict));
  }

  Result<void> add(const ReportRange& range) override {
    return out_.write(
        fmt::format("    <snaptool:range changed_bytes='{}'>\n{}{}    </snaptool:range>\n",
                    range.difference.changed_bytes,
                    side("before", head_.before, range.difference, range.before, range.hex_offset),
                    side("after", head_.after, range.difference, range.after, range.hex_offset)));
  }

  Result<void> begin_volume(const ops::VolumePair& volume) override {
    volume_ = volume;
    const ops::VolumeFacts& facts = volume.after ? *volume.after : *volume.before;
    std::string text = fmt::format("{}  <volume offset='{}' snaptool:name='{}'", end_ranges(),
                                   facts.offset, escape_markup(volume.name));
    if (!volume.before || !volume.after) {
      text += fmt::format(" snaptool:only_in='{}'", volume.before ? "before" : "after");
    } else if (!volume.compared()) {
      const std::string& problem = volume.before->problem;
      text += fmt::format(" snaptool:not_compared='{}'",
                          escape_markup(problem.empty() ? volume.after->problem : problem));
    }
    text += ">\n";
    // The schema has no place for a number that is 0.
    if (facts.offset > 0) {
      text += fmt::format("    <partition_offset>{}</partition_offset>\n", facts.offset);
    }
    text += fmt::format("    <sector_size>{}</sector_size>\n", kSectorSize);
    if (facts.block_size > 0) {
      text += fmt::format("    <block_size>{}</block_size>\n", facts.block_size);
    }
    if (!facts.type.empty()) {
      text += fmt::format("    <ftype_str>{}</ftype_str>\n", escape_markup(facts.type));
    }
    return out_.write(text);
  }

  Result<void> add_change(const ops::FileChange& change) override {
    const std::string_view kind = delta_name(change.kind);
    if (!change.after) {
      return out_.write(fmt::format("    <fileobject delta:{}='1'>\n{}    </fileobject>\n", kind,
                                    file(*change.before, *volume_.before, "      ")));
    }
    std::string original;
    if (change.before) {
      original = "      <delta:original_fileobject>\n" +
                 file(*change.before, *volume_.before, "        ") +
                 "      </delta:original_fileobject>\n";
    }
    return out_.write(fmt::format("    <fileobject delta:{}='1'>\n{}{}    </fileobject>\n", kind,
                                  file(*change.after, *volume_.after, "      "), original));
  }

  Result<void> add_piece(const ops::FilePiece& piece) override {
    return out_.write(fmt::format(
        "    <snaptool:changed fs_offset='{}' img_offset='{}' len='{}' before='{}' "
        "before_file='{}' after='{}' after_file='{}'/>\n",
        piece.piece.offset, volume_.after->offset + piece.piece.offset, piece.piece.length,
        use_name(piece.piece.before.use), name_markup(piece.path_before),
        use_name(piece.piece.after.use), name_markup(piece.path_after)));
  }

  Result<void> end_volume(const ops::FileDiffSummary& summary) override {
    std::string text;
    for (const std::string& problem : summary.problems) {
      text += fmt::format("    <error>{}</error>\n", escape_markup(problem));
    }
    return out_.write(text + "  </volume>\n");
  }

  Result<void> add_outside(const ByteRange& range) override {
    return out_.write(fmt::format("{}  <snaptool:outside img_offset='{}' len='{}'/>\n",
                                  end_ranges(), range.offset, range.length));
  }

  Result<void> finish(const ReportTail& tail) override {
    const CompareSummary& summary = tail.summary;
    return out_.write(fmt::format(
        "{}  <snaptool:summary equal='{}' ranges='{}' range_bytes='{}' changed_bytes='{}' "
        "compared_bytes='{}' same_storage_bytes='{}' hole_bytes='{}'/>\n"
        "</dfxml>\n",
        end_ranges(), tail.equal, summary.ranges, summary.range_bytes, summary.changed_bytes,
        summary.compared_bytes, summary.same_storage_bytes, summary.hole_bytes));
  }

 private:
  static std::string name_markup(std::string_view name) {
    return escape_markup(printable_name(name));
  }

  // In Dublin Core's terms, for which DFXML has the place.
  static std::string about_case(const ReportOrigin& origin) {
    std::string text;
    const auto add = [&](std::string_view name, const std::string& value) {
      if (!value.empty()) {
        text += fmt::format("    <dc:{}>{}</dc:{}>\n", name, escape_markup(value), name);
      }
    };
    add("identifier", origin.case_number);
    add("creator", origin.examiner);
    for (const std::string& note : origin.notes) add("description", note);
    return text;
  }

  static std::string image_filename(const ReportImage& image) {
    return fmt::format("    <image_filename>{}</image_filename>\n", escape_markup(image.name));
  }

  // DFXML's source has names only.
  static std::string about_image(std::string_view when, const ReportImage& image) {
    std::string text = fmt::format("    <snaptool:image when='{}' size='{}'>\n", when, image.size);
    for (const auto& [algorithm, sum] : image.sums) {
      text += fmt::format("      <hashdigest type='{}'>{}</hashdigest>\n", algorithm, sum);
    }
    for (const ReportImage::NamedFile& file : image.files) {
      text += fmt::format("      <snaptool:file path='{}' size='{}' mtime='{}'/>\n",
                          escape_markup(file.path), file.size, file.modified);
    }
    return text + "    </snaptool:image>\n";
  }

  static std::string side(std::string_view when, const ReportImage& image,
                          const Difference& difference, const ReportRange::Side& side,
                          uint64_t hex_offset) {
    // After the end of the smaller image there is nothing.
    if (difference.offset >= image.size) return {};
    const std::string place =
        side.file_offset ? fmt::format(" img_offset='{}'", *side.file_offset) : std::string();
    return fmt::format(
        "      <fileobject snaptool:when='{}'>\n"
        "        <filename>{}</filename>\n"
        "        <byte_runs><byte_run file_offset='{}'{} len='{}' snaptool:entropy='{:.3f}'>"
        "<hashdigest type='sha256'>{}</hashdigest></byte_run></byte_runs>\n"
        "{}      </fileobject>\n",
        when, escape_markup(image.name), difference.offset, place,
        std::min(difference.length, image.size - difference.offset), side.entropy, side.sha256,
        side.hex.empty() ? ""
                         : fmt::format("        <snaptool:hex file_offset='{}'>{}</snaptool:hex>\n",
                                       hex_offset, side.hex));
  }

  // Once, after the last of them.
  std::string_view end_ranges() {
    if (std::exchange(ranges_ended_, true)) return "";
    return "  </snaptool:ranges>\n";
  }

  // As idifference2 names them.
  static std::string_view delta_name(ops::FileChangeKind kind) {
    switch (kind) {
      case ops::FileChangeKind::kCreated:
      case ops::FileChangeKind::kLinked:
        return "new_file";
      case ops::FileChangeKind::kDeleted:
      case ops::FileChangeKind::kUnlinked:
        return "deleted_file";
      case ops::FileChangeKind::kModified:
        return "modified_file";
      case ops::FileChangeKind::kChanged:
        return "changed_file";
      case ops::FileChangeKind::kRenamed:
        break;
    }
    return "renamed_file";
  }

  static std::string file(const ops::FileVersion& version, const ops::VolumeFacts& volume,
                          std::string_view indent) {
    const access::FileNode& node = version.node;
    std::string text;
    std::string beyond;  // what DFXML has no place for; it comes last
    const auto element = [&](std::string_view name, const auto& value) {
      text += fmt::format("{}<{}>{}</{}>\n", indent, name, value, name);
    };
    const auto time = [&](std::string_view name, const std::optional<access::FileTime>& value) {
      if (!value) return;
      const std::string shown = time_text(*value, volume.local_times);
      // A year beyond the calendar's is no time of XML.
      if (shown.starts_with('@')) {
        beyond += fmt::format("{}<snaptool:{}>{}</snaptool:{}>\n", indent, name, shown, name);
      } else {
        element(name, shown);
      }
    };
    element("filename", name_markup(version.path));
    element("name_type", dfxml_type(node.type));
    element("filesize", node.size);
    element("alloc", 1);
    element("inode", node.id);
    if (node.mode) element("mode", *node.mode);
    element("nlink", node.links);
    if (node.owner) element("uid", *node.owner);
    if (node.group) element("gid", *node.group);
    time("mtime", node.modified);
    time("ctime", node.changed);
    time("atime", node.accessed);
    time("crtime", node.created);
    if (!version.target.empty()) element("link_target", name_markup(version.target));
    if (!version.runs.empty()) {
      text += fmt::format("{}<byte_runs>\n", indent);
      for (const access::FileRun& run : version.runs) text += byte_run(run, volume, indent);
      text += fmt::format("{}</byte_runs>\n", indent);
    }
    if (!version.sha256.empty()) {
      text += fmt::format("{}<hashdigest type='sha256'>{}</hashdigest>\n", indent, version.sha256);
    }
    text += beyond;
    if (printable_name(version.path) != version.path) {
      element("snaptool:filename_hex", hex_of(std::as_bytes(std::span(version.path))));
    }
    return text;
  }

  static char dfxml_type(access::NodeType type) {
    const char letter = type_name(type).letter;
    return letter == '-' ? 'r' : letter == '?' ? '-' : letter;
  }

  static std::string byte_run(const access::FileRun& run, const ops::VolumeFacts& volume,
                              std::string_view indent) {
    std::string place;
    if (run.place) {
      place =
          fmt::format(" fs_offset='{}' img_offset='{}'", *run.place, volume.offset + *run.place);
    } else if (run.zeros) {
      place = " fill='0'";
    }
    return fmt::format("{}  <byte_run file_offset='{}'{} len='{}'/>\n", indent, run.offset, place,
                       run.length);
  }

  TextOutput& out_;
  ReportHead head_;
  bool ranges_ended_ = false;
  ops::VolumePair volume_;
};

}  // namespace

std::unique_ptr<ReportWriter> make_dfxml_report(TextOutput& out) {
  return std::make_unique<DfxmlReport>(out);
}

}  // namespace snaptool::cli
