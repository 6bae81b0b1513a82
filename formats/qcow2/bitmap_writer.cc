// SPDX-License-Identifier: Apache-2.0
#include "formats/qcow2/bitmap_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/qcow2/layout.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"

namespace snaptool::qcow2 {
namespace {

constexpr uint64_t kBitsPerByte = 8;
constexpr uint64_t kMostBitmapBytes = 512 * kMiB;  // QEMU's, of each

}  // namespace

Result<std::unique_ptr<BitmapWriter>> BitmapWriter::create(File& file, Allocator& allocator,
                                                           unsigned cluster_bits, std::string name,
                                                           unsigned granularity_bits,
                                                           uint64_t image_size) {
  const uint64_t bits = div_round_up(image_size, uint64_t{1} << granularity_bits);
  const uint64_t bytes = div_round_up(bits, kBitsPerByte);
  if (bytes == 0) return Error(ErrorCode::kUnsupported, "QEMU reads no bitmap of an empty image");
  if (bytes > kMostBitmapBytes) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("a bitmap of {} bytes is too large: bitmap_granularity={} is too fine "
                             "for the image",
                             bytes, uint64_t{1} << granularity_bits));
  }
  const uint64_t clusters = div_round_up(bytes, uint64_t{1} << cluster_bits);
  return std::unique_ptr<BitmapWriter>(
      new BitmapWriter(file, allocator, cluster_bits, std::move(name), granularity_bits, clusters));
}

Result<void> BitmapWriter::set(uint64_t offset) {
  const uint64_t bit = offset >> granularity_bits_;
  const uint64_t cluster = bit / kBitsPerByte / cluster_size_;
  if (current_ != cluster) {
    SNAP_TRY(end_cluster());
    current_ = cluster;
  }
  bits_[bit / kBitsPerByte % cluster_size_] |= std::byte{1} << (bit % kBitsPerByte);
  return {};
}

// Clusters without a bit have no place in the file.
Result<void> BitmapWriter::end_cluster() {
  if (!current_) return {};
  SNAP_ASSIGN(table_[*current_], write_clusters(bits_));
  std::fill(bits_.begin(), bits_.end(), std::byte{0});
  return {};
}

Result<uint64_t> BitmapWriter::write_clusters(std::span<const std::byte> bytes) {
  const uint64_t clusters = div_round_up(bytes.size(), cluster_size_);
  SNAP_ASSIGN(const uint64_t at, allocator_.take_clusters(clusters));
  IoBytes whole(clusters * cluster_size_);
  std::memcpy(whole.data(), bytes.data(), bytes.size());
  SNAP_TRY(file_.write_at(at, whole));
  return at;
}

Result<BitmapWriter::Directory> BitmapWriter::finish() {
  SNAP_TRY(end_cluster());
  BitmapEntry entry;
  entry.name = name_;
  entry.granularity = granularity();
  IoBytes table(8 * table_.size());
  for (size_t i = 0; i < table_.size(); ++i) store_be(table.data() + 8 * i, table_[i]);
  SNAP_ASSIGN(entry.table_offset, write_clusters(table));
  entry.table_entries = static_cast<uint32_t>(table_.size());
  const auto directory = encode_bitmap(entry);
  SNAP_ASSIGN(const uint64_t at, write_clusters(directory));
  return Directory{at, directory.size()};
}

}  // namespace snaptool::qcow2
