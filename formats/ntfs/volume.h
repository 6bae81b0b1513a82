// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "formats/common/image_pages.h"
#include "formats/ntfs/layout.h"

namespace snaptool::ntfs {

// A record of the MFT, mended.
struct Record {
  uint64_t id = 0;
  RecordHead head;
  std::vector<std::byte> bytes;
};

// The records of an image's file system, each read where it lies, by the runs of the MFT. Of an
// image, some pages and records are kept, and those runs.
class Volume {
 public:
  // Requires: both outlive it.
  Volume(Image& image, const Cancel& cancel) : pages_(image, cancel, 16 * kKiB) {}
  // Before anything else. Errors: kCorruption, those of Image.
  Result<void> open();

  const Boot& boot() const { return boot_; }
  ImagePages& pages() { return pages_; }
  const ImagePages& pages() const { return pages_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  void warn(std::string text) { warnings_.push_back(std::move(text)); }
  // Clusters of the file system that the image has at least a part of.
  uint64_t held_clusters() const { return held_clusters_; }

  uint64_t records() const { return records_; }
  const std::vector<Run>& mft_runs() const { return mft_runs_; }
  // What of the MFT is not known.
  const Damage& mft_damage() const { return mft_damage_; }

  // All of these have the errors kCorruption (also where the image ends before) and those of Image.
  // kNotFound: there is none of that number.
  Result<std::shared_ptr<const Record>> record(uint64_t id);
  // The numbers of all records that the image has, in order. Errors: those of visit; kInterrupted.
  Result<void> visit_records(Damage& damage, const std::function<Result<void>(uint64_t id)>& visit);
  // Of those that lie in these bytes of the image, or in a part of them.
  Result<void> visit_records_at(uint64_t offset, uint64_t length,
                                const std::function<Result<void>(uint64_t id)>& visit);
  // Attributes in a record, in order; visit says whether to go on.
  static Result<void> visit_attributes(const Record& record,
                                       const std::function<Result<bool>(const Attribute&)>& visit);

 private:
  // Records that these bytes of the MFT have a part of: first and end.
  std::pair<uint64_t, uint64_t> records_in(uint64_t offset, uint64_t length) const;
  Result<std::shared_ptr<const Record>> first_record(uint64_t cluster);
  Result<void> find_mft();
  Result<void> add_mft_extent(const Attribute& attribute);
  Result<void> follow_list(const Attribute& list);
  Result<void> follow_entry(const ListEntry& entry);
  Result<std::vector<std::byte>> list_bytes(const Attribute& list);
  void count_records();
  Result<void> read_mft(uint64_t offset, std::span<std::byte> out);

  ImagePages pages_;
  Boot boot_;
  uint64_t held_clusters_ = 0;
  uint64_t mft_held_ = 0;  // clusters of the MFT that the image has
  uint64_t mft_bytes_ = 0;
  uint64_t records_ = 0;
  std::shared_ptr<const Record> mft_record_;  // or its copy
  std::vector<Run> mft_runs_;
  Damage mft_damage_;
  std::vector<std::string> warnings_;
  std::array<std::shared_ptr<const Record>, 64> recent_;  // by the record's number
};

inline constexpr size_t kMostListBytes = 256 * kKiB;  // NTFS knows no longer ones

}  // namespace snaptool::ntfs
