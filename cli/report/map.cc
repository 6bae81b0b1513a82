// SPDX-License-Identifier: Apache-2.0
#include "cli/report/map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>

#include "cli/support/stdio.h"
#include "libsnap/base/hash.h"
#include "libsnap/diff/content_hash.h"

namespace snaptool::cli {
namespace {

enum class Kind { kData, kZero, kSame };

struct Range {
  uint64_t offset = 0;  // bytes
  uint64_t length = 0;  // bytes
  Kind kind = Kind::kData;
};
using RangeVisitor = std::function<Result<void>(const Range&)>;

// Visits all of the image, lowest first; what continues is one range. Zeros of a layer above
// `bottom` are data: they may hide what is below.
Result<void> for_each_range(Image& image, Image* changes, int bottom, const Cancel& cancel,
                            const RangeVisitor& visit) {
  Range range;
  for (uint64_t at = 0; at < image.size();) {
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(const Extent extent, image.extent_at(at, image.size() - at));
    uint64_t length = extent.length;
    Kind kind = extent.zero && extent.depth >= bottom ? Kind::kZero : Kind::kData;
    if (changes != nullptr && at < changes->size()) {
      SNAP_ASSIGN(const Extent change,
                  changes->extent_at(at, std::min(length, changes->size() - at)));
      length = change.length;
      if (change.depth > 0) kind = Kind::kSame;
    }
    if (range.length > 0 && kind != range.kind) {
      SNAP_TRY(visit(range));
      range.length = 0;
    }
    if (range.length == 0) range = {at, 0, kind};
    range.length += length;
    at += length;
  }
  return range.length > 0 ? visit(range) : Result<void>();
}

// --- bmap

constexpr uint64_t kBlock = 4 * kKiB;

struct BlockRange {
  uint64_t first = 0;
  uint64_t end = 0;  // the first block behind it
};

// Visits the ranges of blocks in which there is any data.
Result<void> for_each_block_range(Image& image, int bottom, const Cancel& cancel,
                                  const std::function<Result<void>(const BlockRange&)>& visit) {
  BlockRange blocks;
  SNAP_TRY(for_each_range(image, nullptr, bottom, cancel, [&](const Range& range) -> Result<void> {
    if (range.kind != Kind::kData) return {};
    const uint64_t first = range.offset / kBlock;
    const uint64_t end = (range.offset + range.length - 1) / kBlock + 1;
    if (first > blocks.end || blocks.end == 0) {
      if (blocks.end > 0) SNAP_TRY(visit(blocks));
      blocks.first = first;
    }
    blocks.end = end;
    return {};
  }));
  return blocks.end > 0 ? visit(blocks) : Result<void>();
}

std::string bmap_head(uint64_t size, uint64_t mapped, std::string_view sum) {
  return fmt::format(
      "<?xml version=\"1.0\" ?>\n"
      "<!-- The blocks of an image that have data: 'bmaptool copy' writes these and checks them.\n"
      "     The others are zeros, which a new file has without. Written by snaptool. -->\n"
      "<bmap version=\"2.0\">\n"
      "  <ImageSize>{}</ImageSize>\n"
      "  <BlockSize>{}</BlockSize>\n"
      "  <BlocksCount>{}</BlocksCount>\n"
      "  <MappedBlocksCount>{}</MappedBlocksCount>\n"
      "  <ChecksumType>sha256</ChecksumType>\n"
      "  <!-- The SHA-256 of this file with 64 zeros in the place of the sum. -->\n"
      "  <BmapFileChecksum>{}</BmapFileChecksum>\n"
      "  <BlockMap>\n",
      size, kBlock, size / kBlock + (size % kBlock != 0 ? 1 : 0), mapped, sum);
}

Error no_spool() { return Error::from_errno(errno, "cannot use a temporary file"); }

}  // namespace

Result<void> TextSpool::write(std::string_view text) {
  if (!file_) return no_spool();
  const bool written = std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size();
  return written ? Result<void>() : no_spool();
}

Result<void> TextSpool::copy_to(TextOutput& out) {
  std::string buffer(64 * kKiB, '\0');
  if (std::fflush(file_.get()) != 0) return no_spool();
  std::rewind(file_.get());
  while (true) {
    const size_t got = std::fread(buffer.data(), 1, buffer.size(), file_.get());
    if (got == 0) break;
    SNAP_TRY(out.write(std::string_view(buffer).substr(0, got)));
  }
  return std::ferror(file_.get()) == 0 ? Result<void>() : no_spool();
}

Result<void> write_bmap(Image& image, int bottom, TextSpool& spool, TextOutput& out,
                        const Job& job) {
  uint64_t mapped = 0;
  SNAP_TRY(for_each_block_range(image, bottom, job.cancel,
                                [&](const BlockRange& blocks) -> Result<void> {
                                  mapped += blocks.end - blocks.first;
                                  return {};
                                }));
  job.progress.set_size(std::min(mapped * kBlock, image.size()));
  const std::string no_sum(64, '0');
  Hash own_sum(HashAlgorithm::kSha256);
  const auto hash_text = [&](std::string_view text) {
    own_sum.update(std::as_bytes(std::span(text)));
  };
  hash_text(bmap_head(image.size(), mapped, no_sum));
  const auto add = [&](std::string_view text) {
    hash_text(text);
    return spool.write(text);
  };
  SNAP_TRY(for_each_block_range(
      image, bottom, job.cancel, [&](const BlockRange& blocks) -> Result<void> {
        const uint64_t offset = blocks.first * kBlock;
        const uint64_t length = std::min(blocks.end * kBlock, image.size()) - offset;
        SNAP_ASSIGN(const auto sums,
                    hash_range(image, offset, length, {HashAlgorithm::kSha256}, job));
        const std::string numbers = blocks.end - blocks.first == 1
                                        ? fmt::format("{}", blocks.first)
                                        : fmt::format("{}-{}", blocks.first, blocks.end - 1);
        return add(text_line("    <Range chksum=\"{}\">{}</Range>", sums.front(), numbers));
      }));
  SNAP_TRY(add("  </BlockMap>\n</bmap>\n"));
  SNAP_TRY(out.write(bmap_head(image.size(), mapped, own_sum.finish())));
  return spool.copy_to(out);
}

Result<void> write_ddrescue_map(Image& image, int bottom, TextOutput& out, const Job& job) {
  SNAP_TRY(
      out.write("# Mapfile. Written by snaptool: + has data, ? is a hole\n"
                "# current_pos  current_status  current_pass\n"
                "0x00000000     +               1\n"
                "#      pos        size  status\n"));
  return for_each_range(image, nullptr, bottom, job.cancel, [&](const Range& range) {
    return out.write(text_line("0x{:08X}  0x{:08X}  {}", range.offset, range.length,
                               range.kind == Kind::kData ? '+' : '?'));
  });
}

Result<void> write_borg_map(Image& image, Image* changes, TextOutput& out, const Job& job) {
  return for_each_range(image, changes, 0, job.cancel, [&](const Range& range) {
    const char* const kind = range.kind == Kind::kSame   ? "same"
                             : range.kind == Kind::kZero ? "zero"
                                                         : "data";
    return out.write(text_line("{} {} {}", range.offset, range.length, kind));
  });
}

}  // namespace snaptool::cli
