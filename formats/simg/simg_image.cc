// SPDX-License-Identifier: Apache-2.0
#include "formats/simg/simg_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/common/mapped_image.h"
#include "formats/simg/checksum.h"
#include "formats/simg/chunk_index.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/io_bytes.h"

namespace snaptool::simg {
namespace {

struct SimgPart {
  std::shared_ptr<File> file;
  Header header;
  std::unique_ptr<ChunkIndex> index;
};

class SimgImage : public MappedImage {
 public:
  // Requires: there is a part, and they are of one size.
  explicit SimgImage(std::vector<SimgPart> parts)
      : MappedImage(parts.front().file, parts.front().header.size(), nullptr),
        parts_(std::move(parts)) {}

 private:
  Result<Run> run_at(uint64_t offset, uint64_t limit) override {
    Run run;
    run.length = limit;
    for (size_t i = parts_.size(); i-- > 0;) {
      SNAP_ASSIGN(const Chunk chunk, parts_[i].index->find(offset));
      run.length = std::min(run.length, chunk.next.offset - offset);
      if (chunk.type == ChunkType::kDontCare) continue;
      if (chunk.type == ChunkType::kRaw) {
        run.kind = Run::Kind::kData;
        run.file = parts_[i].file.get();
        run.offset = chunk.data + (offset - chunk.place.offset);
      } else if (chunk.value != 0) {
        run.kind = Run::Kind::kPacked;
        run.offset = chunk.value;
      }
      return run;
    }
    return run;
  }

  // A fill's four bytes, from the one on that is at `offset`: chunks begin at multiples of 4.
  Result<void> read_packed(const Run& run, uint64_t offset, std::span<std::byte> out) override {
    std::array<std::byte, kValueBytes> word{};
    store_le(word.data(), static_cast<uint32_t>(run.offset));
    size_t done = std::min(out.size(), word.size());
    for (size_t i = 0; i < done; ++i) out[i] = word[(offset + i) % word.size()];
    while (done < out.size()) {
      const size_t more = std::min(done, out.size() - done);
      std::memcpy(out.data() + done, out.data(), more);
      done += more;
    }
    return {};
  }

  std::vector<SimgPart> parts_;
};

Result<void> check_one_size(const SimgPart& one, const SimgPart& other) {
  if (one.header.block_size == other.header.block_size &&
      one.header.blocks == other.header.blocks) {
    return {};
  }
  return Error(ErrorCode::kCorruption,
               fmt::format("'{}' has {} blocks of {} bytes, but '{}' has {} of {}: they are no "
                           "parts of one image",
                           one.file->name(), one.header.blocks, one.header.block_size,
                           other.file->name(), other.header.blocks, other.header.block_size));
}

Error wrong_sum(const File& file, std::string_view where, uint32_t said, uint32_t found) {
  return {ErrorCode::kCorruption,
          fmt::format("'{}': the CRC-32 {} is {:#010x}, but that of the content is {:#010x}",
                      file.name(), where, said, found)};
}

Result<void> add_raw(File& file, const Chunk& chunk, OutputSum& sum, RawBytes& buffer,
                     const Cancel& cancel) {
  for (uint64_t at = 0; at < chunk.length;) {
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    buffer.resize(std::min(kIoPiece, chunk.length - at));
    SNAP_TRY(file.read_at(chunk.data + at, buffer));
    sum.add(buffer);
    at += buffer.size();
  }
  return {};
}

}  // namespace

Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel) {
  SNAP_ASSIGN(const Header header, read_header(file));
  SNAP_ASSIGN(const ChunkIndex::Totals totals, ChunkIndex(file, header).build(cancel));
  access::ImageFacts facts;
  facts.size = header.size();
  facts.details = {{"block_size", uint64_t{header.block_size}},
                   {"chunks", uint64_t{header.chunks}},
                   {"dont_care_bytes", totals.dont_care},
                   {"checksum", totals.has_sum}};
  if (totals.end < file.size()) {
    facts.warnings.push_back(fmt::format("'{}' has {} bytes past its last chunk", file.name(),
                                         file.size() - totals.end));
  }
  return facts;
}

Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options) {
  return open_parts({std::move(file)}, options);
}

Result<std::unique_ptr<Image>> open_parts(std::vector<std::shared_ptr<File>> files,
                                          const access::ImageOptions& options) {
  SNAP_CHECK(!files.empty());
  std::vector<SimgPart> parts;
  for (std::shared_ptr<File>& file : files) {
    SimgPart part;
    part.file = std::move(file);
    SNAP_ASSIGN(part.header, read_header(*part.file));
    if (!parts.empty()) SNAP_TRY(check_one_size(parts.front(), part));
    part.index = std::make_unique<ChunkIndex>(*part.file, part.header);
    SNAP_TRY(part.index->build(options.cancel));
    parts.push_back(std::move(part));
  }
  return std::make_unique<SimgImage>(std::move(parts));
}

Result<bool> check_sums(File& file, const Cancel& cancel) {
  SNAP_ASSIGN(const Header header, read_header(file));
  ChunkWalk walk(file, header);
  OutputSum sum;
  RawBytes buffer;
  bool has_sums = header.checksum != 0;
  while (true) {
    SNAP_ASSIGN(const auto chunk, walk.next(cancel));
    if (!chunk) break;
    if (chunk->type == ChunkType::kRaw) {
      SNAP_TRY(add_raw(file, *chunk, sum, buffer, cancel));
    } else if (chunk->type != ChunkType::kCrc) {
      sum.add_fill(chunk->value, chunk->length);  // 0 where nobody cares
    } else {
      has_sums = true;
      if (chunk->value == sum.value()) continue;
      return wrong_sum(file, fmt::format("of what is before byte {}", chunk->place.offset),
                       chunk->value, sum.value());
    }
  }
  if (header.checksum != 0 && header.checksum != sum.value()) {
    return wrong_sum(file, "of the whole image", header.checksum, sum.value());
  }
  return has_sums;
}

}  // namespace snaptool::simg
