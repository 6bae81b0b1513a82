// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libsnap/base/result.h"
#include "libsnap/base/units.h"

namespace snaptool::qcow2 {

// What lies where in a qcow2 file (formats/qcow2/FORMAT.md). Pure: nothing here reads a file.
// Offsets and sizes are bytes, unless they say otherwise. Source: QEMU's docs/interop/qcow2.txt.

inline constexpr uint32_t kMagic = 0x514649fb;  // "QFI\xfb"
inline constexpr unsigned kLeastClusterBits = 9;
inline constexpr unsigned kLeastExtendedBits = 14;  // with extended L2 entries
inline constexpr unsigned kMostClusterBits = 21;
inline constexpr uint64_t kMostL1Bytes = 32 * kMiB;  // as QEMU has it
inline constexpr uint64_t kSubclusters = 32;         // of a cluster with an extended L2 entry

// Of entries in the L1 and L2 tables.
inline constexpr uint64_t kCopiedFlag = uint64_t{1} << 63U;  // what it leads to is used once
inline constexpr uint64_t kZeroFlag = 1;

enum class Compression { kZlib, kZstd };

struct Header {
  uint32_t version = 3;
  unsigned cluster_bits = 16;
  uint64_t size = 0;  // of the image
  uint64_t l1_offset = 0;
  uint64_t l1_entries = 0;
  unsigned refcount_bits = 16;
  uint64_t snapshots_offset = 0;
  uint32_t snapshots = 0;
  bool dirty = false;  // refcounts may be wrong; the tables are right
  bool corrupt = false;
  bool extended_l2 = false;
  bool lazy_refcounts = false;
  Compression compression = Compression::kZlib;
  std::string backing_name;  // empty: none
  std::optional<std::string> backing_format;
  // The directory of bitmaps; only when it is consistent with the image.
  uint32_t bitmaps = 0;
  uint64_t bitmap_directory_offset = 0;
  uint64_t bitmap_directory_size = 0;

  uint64_t cluster_size() const { return uint64_t{1} << cluster_bits; }
  uint64_t l2_entry_size() const { return extended_l2 ? 16 : 8; }
  uint64_t l2_entries() const { return cluster_size() / l2_entry_size(); }
  // The unit in which the image is told apart: a subcluster, or a cluster.
  uint64_t unit_size() const {
    return extended_l2 ? cluster_size() / kSubclusters : cluster_size();
  }
  // Bytes of the image that an entry of the L1 table stands for.
  uint64_t l1_reach() const { return l2_entries() << cluster_bits; }
};

// Whether a file begins so. Looks at 4 bytes.
bool has_magic(std::span<const std::byte> head);

// How many bytes at the start parse_header wants: the first cluster. Requires: has_magic(head), and
// at least 24 bytes. Errors: kCorruption.
Result<uint64_t> header_bytes(std::span<const std::byte> head);

// `first` is the first cluster, or all of a file that is shorter. Errors: kCorruption; kUnsupported
// for versions, features and encryption that are not read here.
Result<Header> parse_header(std::span<const std::byte> first);

// The first cluster of an image of version 3. Requires: check_encodes(header).
std::vector<std::byte> encode_header(const Header& header, uint64_t refcounts_offset,
                                     uint32_t refcounts_clusters);
// Errors: kUnsupported when the backing file's name does not fit.
Result<void> check_encodes(const Header& header);
// An entry for so many bytes of compressed data.
uint64_t encode_compressed(const Header& header, uint64_t offset, uint64_t length);

// Whether the table of an image of header.size bytes can be where the header says that it is.
// Errors: kCorruption.
Result<void> check_l1(const Header& header);

// Where the content of a cluster (or subcluster) is.
struct Mapping {
  enum class Kind {
    kUnallocated,  // in the parent; without one, zeros
    kZero,
    kData,        // `offset` is where, for this cluster or subcluster
    kCompressed,  // at most `length` bytes at `offset`, for the whole cluster
  } kind = Kind::kUnallocated;
  uint64_t offset = 0;
  uint64_t length = 0;
};

// The offset of an L2 table in an entry of an L1 table; 0: there is none. Errors: kCorruption.
Result<uint64_t> decode_l1(const Header& header, uint64_t entry);
// `bitmap` and `subcluster` are those of an extended entry; else 0. Errors: kCorruption.
Result<Mapping> decode_l2(const Header& header, uint64_t entry, uint64_t bitmap,
                          uint64_t subcluster);

// A snapshot within the image.
struct SnapshotEntry {
  uint64_t l1_offset = 0;
  uint64_t l1_entries = 0;
  uint64_t size = 0;     // of the image then
  uint32_t seconds = 0;  // since 1970
  std::string id;
  std::string name;
};
// Takes the first entry off `bytes`, which may go on behind it; nullopt when it does not end
// within. `image_size` is for those that do not say their own.
std::optional<SnapshotEntry> take_snapshot(std::span<const std::byte>& bytes, uint64_t image_size);

// A dirty bitmap.
struct BitmapEntry {
  std::string name;
  uint64_t granularity = 0;
  bool in_use = false;  // it was not saved: what it says is not to be trusted
  bool automatic = false;
  uint64_t table_offset = 0;
  uint32_t table_entries = 0;
};
// An entry of the directory.
std::vector<std::byte> encode_bitmap(const BitmapEntry& entry);
// Errors: kCorruption.
Result<std::vector<BitmapEntry>> parse_bitmaps(std::span<const std::byte> directory,
                                               uint32_t count);

}  // namespace snaptool::qcow2
