// SPDX-License-Identifier: Apache-2.0
// The bytes drive a disk of tables, physical volumes and stores within each other: what is told of
// it takes steps that its size bounds, no part passes the end of what it is in without being
// marked, and each name leads to the part that it was told of.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

#include "libsnap/access/facts.h"
#include "libsnap/access/opener.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/tree_builder.h"
#include "tests/support/model.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

// Counts what is read. It has an id, so that parts tell where in it they lie.
class CountedFile : public MemoryFile {
 public:
  using MemoryFile::MemoryFile;
  std::optional<FileId> id() const override { return FileId{7, 7}; }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    ++reads_;
    bytes_ += out.size();
    return MemoryFile::read_at(offset, out);
  }
  uint64_t reads() const { return reads_; }
  uint64_t bytes() const { return bytes_; }

 private:
  uint64_t reads_ = 0;
  uint64_t bytes_ = 0;
};

uint64_t total(const std::vector<Storage>& storages) {
  uint64_t sum = 0;
  for (const Storage& one : storages) sum += one.size;
  return sum;
}

bool same_place(const std::vector<Storage>& a, const std::vector<Storage>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.id == y.id && x.offset == y.offset && x.size == y.size;
  });
}

class Walk {
 public:
  Walk(const access::Context& context, std::shared_ptr<File> disk)
      : context_(context), disk_(std::move(disk)) {}

  // `whole`: nothing that it is in passes an end. (What is told is then of what is there; a name
  // is of all of it.)
  void look(const access::DiskFacts& facts, uint64_t size, bool whole) {
    if (facts.table) table(*facts.table, size, whole);
    if (facts.group && whole) group(*facts.group);
  }

 private:
  static constexpr size_t kMostNames = 12;  // that are looked up: each reads its tables again

  Result<std::shared_ptr<File>> named(const std::string& name) {
    ++names_;
    // Some file that there is, so that what follows is taken for parts.
    SNAP_ASSIGN(const access::ImageSpec spec, access::parse_image_spec("/dev/null" + name));
    return access::Opener(context_).open_parts(disk_, spec.base.parts);
  }

  // `there`: nothing says that some of it is missing.
  void check_named(const std::string& name, uint64_t size, const std::vector<Storage>& storages,
                   bool there) {
    const auto file = named(name);
    require(file && (*file)->size() == size && same_place((*file)->storages(), storages));
    if (!there || size == 0) return;
    std::array<std::byte, 1> last{};
    require((*file)->read_at(size - 1, last).has_value());
  }

  void table(const access::TableFacts& facts, uint64_t size, bool whole) {
    const auto& all = facts.partitions;
    for (size_t i = 0; i < all.size(); ++i) {
      const access::PartitionFacts& one = all[i];
      const access::Partition& part = one.partition;
      require(part.length > 0 && part.passes_end == (part.offset + part.length > size));
      require(total(one.storages) <= part.length);
      require(!whole || (total(one.storages) < part.length) == part.passes_end);
      const bool chosen = i % (all.size() / 4 + 1) == 0 && names_ < kMostNames;
      if (chosen && whole) check_named(one.name, part.length, one.storages, !part.passes_end);
      if (part.shares_bytes()) require(!one.within.problem.empty() && !one.within.table);
      const uint64_t there = std::min(part.length, size - std::min(size, part.offset));
      look(one.within, there, whole && !part.passes_end);
    }
    if (all.size() <= 64) check_overlaps(all);
  }

  // Of two that have bytes in common, both are marked.
  static void check_overlaps(const std::vector<access::PartitionFacts>& all) {
    for (size_t i = 0; i < all.size(); ++i) {
      for (size_t k = 0; k < i; ++k) {
        const access::Partition& a = all[i].partition;
        const access::Partition& b = all[k].partition;
        const bool apart = a.offset + a.length <= b.offset || b.offset + b.length <= a.offset;
        require(apart || (a.overlaps != 0 && b.overlaps != 0));
      }
    }
  }

  void group(const access::GroupFacts& facts) {
    // A name that begins as a slice does is taken for one.
    if (!facts.problem.empty() || facts.facts.name.starts_with('+')) return;
    const auto& all = facts.volumes;
    for (size_t i = 0; i < all.size() && names_ < kMostNames; i += all.size() / 4 + 1) {
      const access::GroupVolumeFacts& one = all[i];
      if (facts.facts.merging_into(one.volume.name) != nullptr) {
        require(!named(one.name));  // it stands for a view
      } else if (one.problem.empty()) {
        check_named(one.name, one.volume.size, one.storages, true);
      }
      for (size_t k = 0; k < std::min<size_t>(2, one.snapshots.size()); ++k) {
        const access::SnapshotFacts& cow = one.snapshots[k];
        // A volume that has this very name comes first.
        const bool plain = facts.facts.find(cow.snapshot.name + "-cow") == nullptr;
        if (plain && cow.problem.empty()) {
          check_named(cow.name, cow.cow_size, cow.storages, true);
        }
      }
    }
  }

  access::Context context_;
  std::shared_ptr<File> disk_;
  size_t names_ = 0;  // that were looked up
};

void try_tree(const Bytes& content) {
  const auto disk = std::make_shared<CountedFile>("disk", content);
  const TestContext context;
  const auto facts = access::disk_facts(context.get(), {disk});
  require(facts.has_value());
  // Each byte is read a few times: as an entry, as the start of a part, as a backup.
  require(disk->bytes() <= 64 * content.size() + kMiB);
  require(disk->reads() <= 64 * content.size() / kSectorSize + 10'000);
  Walk(context.get(), disk).look(*facts, content.size(), true);
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(tree)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;
  if (size < 2 || size > 2048) return 0;
  // Byte 0: the disk's size, in 64 KiB. Then what is in it.
  Bytes disk((1 + data[0] % 64U) * 64 * snaptool::kKiB);
  FuzzInput in(data + 1, size - 1);
  TreeBuilder(disk, in).any(0, disk.size());
  try_tree(disk);
  return 0;
}
