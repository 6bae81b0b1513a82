// SPDX-License-Identifier: Apache-2.0
#include "cli/report/comparison_head.h"

#include <fmt/format.h>

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "cli/report/disk_tree.h"
#include "cli/report/file_facts.h"
#include "cli/support/algorithms.h"
#include "cli/support/stdio.h"
#include "libsnap/access/opener.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/io/content_file.h"
#include "libsnap/io/folder.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool::cli {
namespace {

// Where the pieces of a partition lie in the image whose pieces these are.
std::vector<ReportRegion::Piece> pieces_within(const std::vector<Storage>& image,
                                               const std::vector<Storage>& region) {
  std::vector<ReportRegion::Piece> pieces;
  const auto add = [&](const ByteRange& range, uint64_t offset) {
    if (!pieces.empty()) {
      ReportRegion::Piece& last = pieces.back();
      if (last.range.offset + last.range.length == range.offset &&
          last.offset + last.range.length == offset) {
        last.range.length += range.length;
        return;
      }
    }
    pieces.push_back({range, offset});
  };
  uint64_t within = 0;
  for (const Storage& piece : region) {
    uint64_t at = 0;
    for (const Storage& own : image) {
      const uint64_t from = std::max(piece.offset, own.offset);
      const uint64_t to = std::min(piece.offset + piece.size, own.offset + own.size);
      if (piece.id == own.id && from < to) {
        add({at + (from - own.offset), to - from}, within + (from - piece.offset));
      }
      at += own.size;
    }
    within += piece.size;
  }
  return pieces;
}

// What an image shows, whatever its format. Where a part of it lies is told in its own bytes.
class DiskContent : public ContentFile {
 public:
  explicit DiskContent(Image& image) : ContentFile(image, Access::kRead) {}
  std::vector<Storage> storages() const override { return {{{}, 0, size()}}; }
};

Result<void> add_regions(const Invocation& invocation, Image& image, ReportHead& head) {
  const auto disk = std::make_shared<DiskContent>(image);
  SNAP_ASSIGN(const auto facts,
              access::disk_facts(invocation.access(), {disk}, access::LookFor::kFileSystems));
  if (facts.file_system) head.file_system = file_system_text(*facts.file_system);
  for (const Region& region : regions_of(facts)) {
    auto pieces = pieces_within(disk->storages(), region.storages);
    if (pieces.empty()) continue;
    head.regions.push_back({region.name, region.depth, std::move(pieces),
                            region.file_system ? file_system_text(*region.file_system) : ""});
  }
  return {};
}

std::vector<ReportImage::NamedFile> files_named(const access::ImageSpec& spec) {
  std::vector<ReportImage::NamedFile> files;
  const auto add = [&](const access::FileSpec& file) {
    for (const access::FileSpec::Source& source : file.sources) {
      std::error_code failed;
      struct stat facts {};
      if (::stat(source.path.c_str(), &facts) != 0) continue;
      const access::FileTime modified{facts.st_mtim.tv_sec,
                                      static_cast<uint32_t>(facts.st_mtim.tv_nsec)};
      files.push_back({std::filesystem::absolute(source.path, failed).lexically_normal(),
                       static_cast<uint64_t>(facts.st_size), time_text(modified, false)});
    }
  };
  add(spec.base);
  for (const access::FileSpec& store : spec.stores) add(store);
  return files;
}

ReportOrigin origin_of(const Invocation& invocation) {
  return {invocation.value("case").value_or(""), invocation.value("examiner").value_or(""),
          invocation.values("note"), invocation.program().host, invocation.program().sum};
}

// That each has its own file, whatever links lead to it.
Result<void> check_apart(const std::vector<std::string>& paths) {
  std::set<std::string> names;
  std::vector<FileId> there;
  for (const std::string& path : paths) {
    std::error_code failed;
    bool is_new = names.insert(behind_links(std::filesystem::absolute(path, failed))).second;
    if (const auto id = access::id_of(path)) {
      is_new = is_new && std::find(there.begin(), there.end(), *id) == there.end();
      there.push_back(*id);
    }
    if (!is_new) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("--report {}: that file is given twice", path));
    }
  }
  return {};
}

using MakeReport = std::unique_ptr<ReportWriter> (*)(TextOutput&);

Result<MakeReport> report_format(const std::string& path) {
  const std::string ending = std::filesystem::path(path).extension();
  if (ending == ".json") return MakeReport(make_json_report);
  if (ending == ".xml" || ending == ".dfxml") return MakeReport(make_dfxml_report);
  if (ending == ".html" || ending == ".htm") return MakeReport(make_html_report);
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("--report {}: the name must end in .json, .xml (DFXML) or .html", path));
}

}  // namespace

Result<void> ReportFiles::open(const Invocation& invocation, access::Door& door,
                               std::vector<std::unique_ptr<ReportWriter>>& writers) {
  const auto paths = invocation.values("report");
  for (const std::string& path : paths) SNAP_TRY(report_format(path));
  SNAP_TRY(check_apart(paths));
  for (const std::string& path : paths) {
    SNAP_ASSIGN(const MakeReport make, report_format(path));
    SNAP_ASSIGN(auto out, TextOutput::open(door, path));
    outputs_.push_back(std::make_unique<TextOutput>(std::move(out)));
    writers.push_back(make(*outputs_.back()));
  }
  return {};
}

Result<void> ReportFiles::commit() {
  for (const auto& output : outputs_) SNAP_TRY(output->commit());
  return {};
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

Result<ReportHead> comparison_head(const Invocation& invocation, const ComparedImage& before,
                                   const ComparedImage& after, const CompareOptions& options) {
  ReportHead head;
  head.before = {invocation.operands()[0], before.open.image().size(), {}, {}};
  head.after = {invocation.operands()[1], after.open.image().size(), {}, {}};
  SNAP_ASSIGN(head.created, report_time(invocation.value("date")));
  head.granularity = options.granularity;
  head.strict = options.strict;
  head.command_line = invocation.command_line();
  if (!invocation.has("report")) return head;
  head.origin = origin_of(invocation);
  SNAP_ASSIGN(const auto algorithms, algorithms_of(invocation));
  SNAP_TRY(add_regions(invocation, before.open.image(), head));
  const access::Phase phase(invocation.access(), "hashing", head.before.size + head.after.size);
  for (const auto& [image, described] :
       {std::pair{&before, &head.before}, std::pair{&after, &head.after}}) {
    described->files = files_named(image->spec);
    SNAP_ASSIGN(const auto sums,
                hash_range(image->open.image(), 0, described->size, algorithms, phase.job()));
    for (size_t i = 0; i < sums.size(); ++i) {
      described->sums.emplace_back(hash_name(algorithms[i]), sums[i]);
      invocation.log_sum(described->name, hash_name(algorithms[i]), sums[i]);
    }
  }
  return head;
}

}  // namespace snaptool::cli
