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

Result<Mismatches> check_whole(Image& image, const ImageSums& expected, const Job& job) {
  Mismatches mismatches;
  SNAP_ASSIGN(const auto sums, hash_range(image, 0, image.size(), expected.algorithms, job));
  if (sums != expected.sums) mismatches.add({0, image.size()});
  return mismatches;
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('/') + 1); }

// Of the images that a manifest names, the one of this name, or else the only one of which the last
// part is the same: it may be in another folder now. A manifest of one image is of any. Errors:
// kNotFound.
Result<const ImageSums*> sums_of(const ManifestReader& manifest, const std::string& path,
                                 const std::string& name) {
  const auto& images = manifest.images();
  if (images.size() == 1) return &images.front();
  const ImageSums* found = nullptr;
  size_t count = 0;
  for (const ImageSums& image : images) {
    if (image.name == name) return &image;
    if (last_part(image.name) != last_part(name)) continue;
    found = &image;
    ++count;
  }
  if (count == 1) return found;
  return Error(ErrorCode::kNotFound, fmt::format("'{}' has {} for '{}': it names {}", path,
                                                 count == 0 ? "no checksum" : "several checksums",
                                                 name, counted(images.size(), "image")));
}

// What an image turned out to be.
struct Verdict {
  Mismatches mismatches;
  uint64_t size = 0;
  uint64_t expected_size = 0;  // of the manifest; the same where it does not say
  bool of_blocks = false;

  bool matches() const { return mismatches.count() == 0 && size == expected_size; }
};

std::string human(const Verdict& verdict, const std::string& name) {
  const Mismatches& mismatches = verdict.mismatches;
  std::string text;
  // One sum of all of it does not say where.
  const bool says_where = verdict.of_blocks;
  for (const ByteRange& range : says_where ? mismatches.ranges() : std::vector<ByteRange>()) {
    text += fmt::format("differs from the manifest: {} at byte {}\n", counted(range.length, "byte"),
                        range.offset);
  }
  if (says_where && mismatches.count() > mismatches.ranges().size()) {
    text += fmt::format("and {}\n",
                        counted(mismatches.count() - mismatches.ranges().size(), "more range"));
  }
  if (verdict.size != verdict.expected_size) {
    text += fmt::format("the image has {}, the manifest {}\n", counted(verdict.size, "byte"),
                        verdict.expected_size);
  }
  return text +
         fmt::format("{}: {}\n", name,
                     verdict.matches() ? "matches the manifest" : "does not match the manifest");
}

Json json_of(const Verdict& verdict, const std::string& name, const std::string& manifest) {
  Json ranges = Json::array();
  for (const ByteRange& range : verdict.mismatches.ranges()) {
    ranges.push_back({{"offset", range.offset}, {"length", range.length}});
  }
  return {{"format_version", 1},
          {"filename", name},
          {"manifest", manifest},
          {"result", verdict.matches() ? "sound" : "corrupt"},
          {"sizes_differ", verdict.size != verdict.expected_size},
          {"damaged_bytes", verdict.mismatches.bytes()},
          {"damaged", std::move(ranges)}};
}

Result<Verdict> check(const Invocation& invocation, Image& image, ManifestReader& manifest,
                      const std::string& path, const std::string& name) {
  const ImageSums* expected = nullptr;
  if (!manifest.of_blocks()) {
    SNAP_ASSIGN(expected, sums_of(manifest, path, name));
  }
  Verdict verdict{{},
                  image.size(),
                  manifest.of_blocks() ? manifest.size() : image.size(),
                  manifest.of_blocks()};
  const access::Phase phase(invocation.access(), "verifying", image.size());
  SNAP_ASSIGN(verdict.mismatches, expected == nullptr ? check_blocks(image, manifest, phase.job())
                                                      : check_whole(image, *expected, phase.job()));
  return verdict;
}

// What the manifest names, where no image was given.
Result<void> name_images(Invocation& invocation, const ManifestReader& manifest,
                         const std::string& path) {
  std::vector<std::string> names;
  for (const ImageSums& image : manifest.images()) {
    if (!image.name.empty() && image.name != "-") names.push_back(image.name);
  }
  if (names.empty()) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' does not say of which image it is: name the image after it", path));
  }
  invocation.set_operands(names);
  return {};
}

}  // namespace

Result<int> verify_against(Invocation& invocation) {
  const std::string path = invocation.value("against").value_or("");
  // The names in a manifest are not known before it is read.
  const bool reads_first = invocation.operands().empty();
  if (!reads_first) invocation.enter_sandbox(invocation.named_files());
  SNAP_ASSIGN(InputStream input, InputStream::open(path));
  auto opened = ManifestReader::open(input.stream(), path);
  if (input.error()) return *input.error();
  SNAP_ASSIGN(ManifestReader manifest, std::move(opened));
  if (reads_first) {
    SNAP_TRY(name_images(invocation, manifest, path));
    invocation.enter_sandbox(invocation.named_files());
  }
  if (manifest.of_blocks() && invocation.run_count() > 1) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' has the checksums of the blocks of one image: there are {}",
                             path, invocation.run_count()));
  }
  size_t good = 0;
  const auto check_one = [&]() -> Result<int> {
    SNAP_ASSIGN(access::ImageSpec spec, invocation.operands().size() == 2
                                            ? origin_and_cow_operands(invocation)
                                            : image_operand(invocation));
    access::Opener opener(invocation.access());
    SNAP_ASSIGN(access::OpenImage open, access::open_image(opener, spec));
    const std::string name = access::name_of(spec);
    auto checked = check(invocation, open.image(), manifest, path, name);
    if (input.error()) return *input.error();
    SNAP_ASSIGN(const Verdict verdict, std::move(checked));
    SNAP_TRY(invocation.report(invocation.json() ? json_of(verdict, name, path).text()
                                                 : human(verdict, name)));
    good += verdict.matches() ? 1 : 0;
    return verdict.matches() ? kExitDone : kExitCorrupt;
  };
  SNAP_ASSIGN(const int status, invocation.run_each(check_one));
  if (status != kExitDone && invocation.run_count() > 1 && !invocation.json()) {
    SNAP_TRY(invocation.report(fmt::format("{} of {} match the manifest\n", good,
                                           counted(invocation.run_count(), "image"))));
  }
  return status;
}

}  // namespace snaptool::cli
