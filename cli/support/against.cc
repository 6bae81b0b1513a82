// SPDX-License-Identifier: Apache-2.0
#include "cli/support/against.h"

#include <fmt/format.h>

#include "cli/support/exit_status.h"
#include "cli/support/input_stream.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "libsnap/base/counted.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/diff/manifest.h"

namespace snaptool::cli {
namespace {

// What is not as the manifest says: ranges, in order, joined where they touch.
class Mismatches {
 public:
  void add(const ByteRange& range) {
    constexpr size_t kKept = 1000;
    bytes_ += range.length;
    if (!ranges_.empty() && ranges_.back().offset + ranges_.back().length == range.offset &&
        count_ == ranges_.size()) {
      ranges_.back().length += range.length;
      return;
    }
    ++count_;
    if (ranges_.size() < kKept) ranges_.push_back(range);
  }
  const std::vector<ByteRange>& ranges() const { return ranges_; }
  uint64_t count() const { return count_; }
  uint64_t bytes() const { return bytes_; }

 private:
  std::vector<ByteRange> ranges_;
  uint64_t count_ = 0;
  uint64_t bytes_ = 0;
};

Result<Mismatches> check_blocks(Image& image, ManifestReader& manifest, const Job& job) {
  Mismatches mismatches;
  SNAP_TRY(hash_blocks(
      image, manifest.block_size(), manifest.algorithms(),
      [&](const BlockHash& block) -> Result<void> {
        SNAP_ASSIGN(const auto expected, manifest.next_block());
        if (!expected || *expected != block.sums) mismatches.add({block.offset, block.length});
        return {};
      },
      job));
  // What the manifest has beyond the image's end must be sound, too.
  while (true) {
    SNAP_ASSIGN(const auto more, manifest.next_block());
    if (!more) return mismatches;
  }
}

Result<Mismatches> check_whole(Image& image, const ManifestReader& manifest, const Job& job) {
  Mismatches mismatches;
  SNAP_ASSIGN(const auto sums, hash_range(image, 0, image.size(), manifest.algorithms(), job));
  if (sums != manifest.sums()) mismatches.add({0, image.size()});
  return mismatches;
}

}  // namespace

Result<int> verify_against(Invocation& invocation) {
  const std::string path = invocation.value("against").value_or("");
  SNAP_ASSIGN(access::ImageSpec spec, invocation.operands().size() == 2
                                          ? origin_and_cow_operands(invocation)
                                          : image_operand(invocation));
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(access::OpenImage open, access::open_image(opener, spec));
  SNAP_ASSIGN(InputStream input, InputStream::open(path));
  auto opened = ManifestReader::open(input.stream(), path);
  if (input.error()) return *input.error();
  SNAP_ASSIGN(ManifestReader manifest, std::move(opened));
  Image& image = open.image();
  const bool size_differs = manifest.of_blocks() && manifest.size() != image.size();
  Mismatches mismatches;
  {
    const access::Phase phase(invocation.access(), "verifying", image.size());
    const Job& job = phase.job();
    auto checked = manifest.of_blocks() ? check_blocks(image, manifest, job)
                                        : check_whole(image, manifest, job);
    if (input.error()) return *input.error();
    SNAP_ASSIGN(mismatches, std::move(checked));
  }
  const bool matches = mismatches.count() == 0 && !size_differs;
  if (invocation.json()) {
    Json ranges = Json::array();
    for (const ByteRange& range : mismatches.ranges()) {
      ranges.push_back({{"offset", range.offset}, {"length", range.length}});
    }
    const Json json = {{"format_version", 1},
                       {"filename", access::name_of(spec)},
                       {"manifest", path},
                       {"result", matches ? "sound" : "corrupt"},
                       {"sizes_differ", size_differs},
                       {"damaged_bytes", mismatches.bytes()},
                       {"damaged", std::move(ranges)}};
    SNAP_TRY(invocation.report(json.text()));
  } else {
    std::string text;
    for (const ByteRange& range : mismatches.ranges()) {
      text += fmt::format("differs from the manifest: {} at byte {}\n",
                          counted(range.length, "byte"), range.offset);
    }
    if (mismatches.count() > mismatches.ranges().size()) {
      text += fmt::format("and {}\n",
                          counted(mismatches.count() - mismatches.ranges().size(), "more range"));
    }
    if (size_differs) {
      text += fmt::format("the image has {}, the manifest {}\n", counted(image.size(), "byte"),
                          manifest.size());
    }
    text += fmt::format("{}: {}\n", access::name_of(spec),
                        matches ? "matches the manifest" : "does not match the manifest");
    SNAP_TRY(invocation.report(text));
  }
  return matches ? kExitDone : kExitCorrupt;
}

}  // namespace snaptool::cli
