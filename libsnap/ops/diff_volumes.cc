// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/diff_volumes.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "libsnap/io/content_file.h"
#include "libsnap/io/part_file.h"
#include "libsnap/ops/files.h"

namespace snaptool::ops {
namespace {

using access::FileSystem;
using access::Partition;

// A volume, open.
struct OpenVolume {
  VolumeFacts facts;
  uint64_t held = 0;             // bytes of it that the image has
  std::unique_ptr<Image> image;  // nullptr: all of the disk
  std::unique_ptr<FileSystem> files;
};

// By the number of their partition; 0: all of the image.
using Volumes = std::map<unsigned, OpenVolume>;

// Opens what the volumes of an image are.
class VolumeFinder {
 public:
  VolumeFinder(const access::Context& context, Image& image) : context_(context), image_(image) {}

  Result<Volumes> find() {
    Volumes volumes;
    OpenVolume whole;
    whole.facts.size = whole.held = image_.size();
    SNAP_TRY(open(whole, image_));
    if (!whole.files) {
      disk_ = std::make_shared<ContentFile>(image_, Access::kRead);
      const auto table = context_.drivers.volumes.read_partitions(*disk_);
      if (table && *table) return partitions(**table);
    }
    volumes.emplace(0, std::move(whole));
    return volumes;
  }

 private:
  Result<Volumes> partitions(const access::PartitionTable& table) {
    Volumes volumes;
    for (const Partition& partition : table.partitions) {
      if (context_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      const std::string name = fmt::format("#p{}", partition.number);
      SNAP_ASSIGN(OpenVolume volume, open_partition(partition, image_.name() + name));
      volumes.emplace(partition.number, std::move(volume));
    }
    return volumes;
  }

  Result<OpenVolume> open_partition(const Partition& partition, const std::string& name) {
    OpenVolume volume;
    volume.facts.offset = partition.offset;
    volume.facts.size = partition.length;
    const uint64_t left = image_.size() > partition.offset ? image_.size() - partition.offset : 0;
    volume.held = std::min(left, partition.length);
    if (partition.shares_bytes()) {
      volume.facts.problem = fmt::format("it shares bytes with {}", access::shared_with(partition));
    } else if (left == 0) {
      volume.facts.problem = "the image ends before it";
    } else {
      auto part = std::make_shared<PartFile>(
          name, std::vector<PartSegment>{{volume.held, {{disk_, partition.offset}}, 0}});
      volume.image = std::make_unique<RawImage>(std::move(part));
      SNAP_TRY(open(volume, *volume.image));
    }
    return volume;
  }

  // What is not read is a finding.
  Result<void> open(OpenVolume& volume, Image& image) {
    auto files = open_file_system(context_, image);
    if (files) {
      volume.files = *std::move(files);
      volume.facts.type = volume.files->type();
      volume.facts.label = volume.files->label();
      volume.facts.uuid = volume.files->uuid();
      volume.facts.block_size = volume.files->block_size();
      volume.facts.local_times = volume.files->has_local_times();
      return {};
    }
    const ErrorCode code = files.error().code();
    if (code != ErrorCode::kUnsupported && code != ErrorCode::kCorruption) return files.error();
    volume.facts.problem = files.error().message();
    return {};
  }

  const access::Context& context_;
  Image& image_;
  std::shared_ptr<File> disk_;
};

// The ranges that lie in a volume, from its start on.
ChangedRanges ranges_in(const ChangedRanges& changed, uint64_t offset, uint64_t size) {
  ChangedRanges own;
  for (const ByteRange& range : changed.ranges()) {
    const uint64_t from = std::max(range.offset, offset);
    const uint64_t to = std::min(range.offset + range.length, offset + size);
    if (from < to) own.add(from - offset, to - from);
  }
  return own;
}

// Whether a byte lies in one of these, and up to where that is so at least.
std::pair<bool, uint64_t> look_up(const std::vector<ByteRange>& ranges, uint64_t at) {
  uint64_t until = std::numeric_limits<uint64_t>::max();
  for (const ByteRange& range : ranges) {
    if (range.offset > at) {
      until = std::min(until, range.offset);
    } else if (at - range.offset < range.length) {
      return {true, range.offset + range.length};
    }
  }
  return {false, until};
}

uint64_t bytes_of(const ChangedRanges& changed) {
  uint64_t bytes = 0;
  for (const ByteRange& range : changed.ranges()) bytes += range.length;
  return bytes;
}

class VolumeComparison {
 public:
  VolumeComparison(const access::Context& context, const ChangedRanges& changed,
                   const VolumeDiffOptions& wanted, const VolumeDiffVisitor& visitor,
                   const Job& job)
      : context_(context), changed_(changed), wanted_(wanted), visitor_(visitor), job_(job) {}

  Result<VolumeDiffSummary> run(Image& before, Image& after) {
    VolumeFinder first(context_, before);
    VolumeFinder second(context_, after);
    SNAP_ASSIGN(Volumes was, first.find());
    SNAP_ASSIGN(Volumes is, second.find());
    std::map<unsigned, std::pair<OpenVolume*, OpenVolume*>> pairs;
    for (auto& [number, volume] : was) pairs[number].first = &volume;
    for (auto& [number, volume] : is) pairs[number].second = &volume;
    cover_end(before, covered_before_);
    cover_end(after, covered_after_);
    for (const auto& [number, pair] : pairs) SNAP_TRY(compare(number, pair.first, pair.second));
    SNAP_TRY(tell_outside());
    return std::move(summary_);
  }

 private:
  Result<void> compare(unsigned number, OpenVolume* before, OpenVolume* after) {
    VolumePair pair;
    if (number > 0) pair.name = fmt::format("#p{}", number);
    if (before != nullptr) pair.before = before->facts;
    if (after != nullptr) pair.after = after->facts;
    pair.has_ranges = before != nullptr && after != nullptr &&
                      before->facts.offset == after->facts.offset &&
                      before->facts.size == after->facts.size && before->held == after->held;
    ChangedRanges own;
    if (pair.has_ranges) {
      own = ranges_in(changed_, pair.before->offset, pair.before->size);
      pair.changed_bytes = bytes_of(own);
    }
    SNAP_TRY(visitor_.begin(pair));
    if (!pair.compared()) {
      // Of its files nothing is known: where a byte differs, one of them may.
      if (!pair.has_ranges || pair.changed_bytes > 0) summary_.equal = false;
      summary_.outside_bytes += pair.changed_bytes;
      if (pair.has_ranges) cover(pair, pair.before->size, pair.after->size);
      return visitor_.end(pair, {});
    }
    if (pair.has_ranges) {
      cover(pair, pair.before->size, pair.after->size);
    } else {
      cover(pair, before->files->size(), after->files->size());
    }
    FileDiffOptions options;
    options.full = wanted_.full;
    options.runs = wanted_.runs;
    options.changed = pair.has_ranges ? &own : nullptr;
    FileDiffVisitor files = visitor_.files;
    files.piece = [&](const FilePiece& piece) -> Result<void> {
      if (piece.piece.after.use == Use::kBeyond) summary_.outside_bytes += piece.piece.length;
      return visitor_.files.piece(piece);
    };
    SNAP_ASSIGN(FileDiffSummary found,
                diff_files(*before->files, *after->files, options, files, job_));
    for (const uint64_t count : found.changes) summary_.files += count;
    const bool may_differ = !pair.has_ranges || pair.changed_bytes > 0;
    if (found.equal() && may_differ) note_behind(*before->files, *after->files, found);
    summary_.problems += found.problem_count;
    if (summary_.first_problem.empty() && !found.problems.empty()) {
      summary_.first_problem = found.problems.front();
    }
    return visitor_.end(pair, found);
  }

  // What a journal has may be all that differs.
  static void note_behind(const FileSystem& before, const FileSystem& after,
                          FileDiffSummary& found) {
    if (!before.may_be_behind() && !after.may_be_behind()) return;
    found.problems.emplace_back("no file differs, but what its journal has is not compared");
    ++found.problem_count;
  }

  // What lies in the first bytes of both is told of there.
  void cover(const VolumePair& pair, uint64_t before, uint64_t after) {
    covered_before_.push_back({pair.before->offset, std::min(before, pair.before->size)});
    covered_after_.push_back({pair.after->offset, std::min(after, pair.after->size)});
  }

  // What an image does not have is not outside.
  static void cover_end(const Image& image, std::vector<ByteRange>& covered) {
    covered.push_back({image.size(), std::numeric_limits<uint64_t>::max() - image.size()});
  }

  // What in one of the images lies in no volume.
  Result<void> tell_outside() {
    for (const ByteRange& range : changed_.ranges()) {
      const uint64_t end = range.offset + range.length;
      ByteRange outside{range.offset, 0};
      for (uint64_t at = range.offset; at < end;) {
        const auto [was_in, was_until] = look_up(covered_before_, at);
        const auto [is_in, is_until] = look_up(covered_after_, at);
        const uint64_t until = std::min({was_until, is_until, end});
        if (was_in && is_in) {
          if (outside.length > 0) SNAP_TRY(tell(outside));
          outside = {until, 0};
        } else {
          outside.length += until - at;
        }
        at = until;
      }
      if (outside.length > 0) SNAP_TRY(tell(outside));
    }
    summary_.equal = summary_.equal && summary_.files == 0 && summary_.outside_bytes == 0;
    return {};
  }

  Result<void> tell(const ByteRange& range) {
    summary_.outside_bytes += range.length;
    return visitor_.outside(range);
  }

  const access::Context& context_;
  const ChangedRanges& changed_;
  const VolumeDiffOptions& wanted_;
  const VolumeDiffVisitor& visitor_;
  const Job& job_;
  // Of each image.
  std::vector<ByteRange> covered_before_;
  std::vector<ByteRange> covered_after_;
  VolumeDiffSummary summary_;
};

}  // namespace

Result<VolumeDiffSummary> diff_volumes(const access::Context& context, Image& before, Image& after,
                                       const ChangedRanges& changed,
                                       const VolumeDiffOptions& options,
                                       const VolumeDiffVisitor& visitor, const Job& job) {
  return VolumeComparison(context, changed, options, visitor, job).run(before, after);
}

}  // namespace snaptool::ops
