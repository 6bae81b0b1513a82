// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "formats/common/image_pages.h"

namespace snaptool {

// What the table of a file system (FAT, exFAT) says of a cluster.
struct ClusterLink {
  enum class Kind : uint8_t { kCluster, kEnd, kFree, kBad, kOutside };
  Kind kind = Kind::kEnd;
  uint32_t next = 0;  // of kCluster; of kOutside what the table has
};

// Clusters are numbered from 2 on.
class ClusterTable {
 public:
  virtual ~ClusterTable() = default;
  ClusterTable() = default;
  ClusterTable(const ClusterTable&) = delete;
  ClusterTable& operator=(const ClusterTable&) = delete;

  virtual uint32_t clusters() const = 0;
  // These require that there is such a cluster. Errors: those of ImagePages.
  virtual Result<ClusterLink> next(uint32_t cluster) = 0;
  virtual Result<bool> is_free(uint32_t cluster) = 0;

  bool has(uint64_t cluster) const { return cluster >= 2 && cluster - 2 < clusters(); }
};

// The clusters of a file, which were all looked at once: none comes twice, none is free. Of them,
// only some are kept.
class ClusterChain {
 public:
  enum class Kind : uint8_t {
    kLinked,
    kContiguous,      // its clusters follow each other, and the table is not asked
    kDeletedLinked,   // as the first two, but all of its clusters must be free
    kDeletedGuessed,  // of which nothing else is known: they may have followed each other
  };
  struct Run {
    uint32_t cluster = 0;
    uint32_t length = 0;
  };

  // As far as it is sound, at most `most` clusters of it. Time grows with these. Errors:
  // kInterrupted, those of Image.
  static Result<ClusterChain> check(ClusterTable& table, const ImagePages& pages, Kind kind,
                                    uint32_t first, uint64_t most);

  uint32_t length() const { return length_; }
  // Why it has no more, where it has less than was asked for. "its chain ends after 3 clusters"
  const std::string& reason() const { return reason_; }
  // Why a chain of so many clusters, the last of which has that link, has no more.
  static std::string reason_of(const ClusterLink& link, uint32_t cluster, uint32_t length);
  // The clusters from there on that follow each other, at most `most`. Requires: index < length(),
  // most > 0.
  Result<Run> run_at(ClusterTable& table, uint32_t index, uint32_t most);

 private:
  static constexpr size_t kMarks = 1024;
  struct Place {
    uint32_t index = 0;
    uint32_t cluster = 0;
  };

  bool is_contiguous() const {
    return kind_ == Kind::kContiguous || kind_ == Kind::kDeletedGuessed;
  }
  bool is_deleted() const {
    return kind_ == Kind::kDeletedLinked || kind_ == Kind::kDeletedGuessed;
  }
  Result<void> check_contiguous(ClusterTable& table, const ImagePages& pages, uint64_t most);
  Result<void> check_linked(ClusterTable& table, const ImagePages& pages, uint64_t most);
  Result<std::optional<uint32_t>> follow(ClusterTable& table, uint32_t cluster, uint64_t most);
  Result<void> end_loop(ClusterTable& table, uint32_t period, uint64_t most);
  Result<uint32_t> distinct(ClusterTable& table, uint32_t period) const;
  void add_mark(uint32_t cluster);
  Result<uint32_t> cluster_at(ClusterTable& table, uint32_t index);

  Kind kind_ = Kind::kLinked;
  uint32_t first_ = 0;
  uint32_t length_ = 0;
  std::string reason_;
  uint32_t stride_ = 1;          // between marks
  std::vector<uint32_t> marks_;  // each stride_-th cluster
  Place last_;                   // that was asked for
};

}  // namespace snaptool
