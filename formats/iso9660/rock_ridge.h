// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/iso9660/layout.h"

namespace snaptool::iso9660 {

// What SUSP (the System Use Sharing Protocol) keeps behind names: Rock Ridge, zisofs, and others.
// Pure. Sources: SUSP 1.12, RRIP 1.12, zisofs's description in libisofs.

// Where what did not fit into a directory record goes on.
struct Continuation {
  uint32_t block = 0;
  uint32_t offset = 0;
  uint32_t length = 0;
  friend bool operator==(const Continuation&, const Continuation&) = default;
};

struct Zisofs {
  uint8_t header_bytes = 0;
  uint8_t block_bits = 0;
  uint32_t size = 0;  // of what is unpacked
  friend bool operator==(const Zisofs&, const Zisofs&) = default;
};

// How a file system's system use areas are read, as the root's says.
struct SharingRules {
  bool has_rock_ridge = false;
  size_t skipped = 0;  // bytes of each area but the root's own
};

// What was found of one directory record.
class RockRidge {
 public:
  struct Owner {
    uint32_t mode = 0;
    uint32_t links = 0;
    uint32_t user = 0;
    uint32_t group = 0;
  };

  // One area, in the order of the chain; returns where the next one is. Errors: kCorruption for
  // entries that are impossible; what was before them counts.
  Result<std::optional<Continuation>> add(Bytes area);
  // After the last one. Errors: kCorruption where something goes on that does not.
  Result<void> finish();

  bool found() const { return found_; }  // anything of Rock Ridge
  std::optional<std::string> name() const { return name_goes_on_ ? std::nullopt : name_; }
  const std::optional<Owner>& owner() const { return owner_; }
  const std::optional<access::FileTime>& created() const { return times_[0]; }
  const std::optional<access::FileTime>& modified() const { return times_[1]; }
  const std::optional<access::FileTime>& accessed() const { return times_[2]; }
  const std::optional<access::FileTime>& changed() const { return times_[3]; }
  const std::optional<std::string>& target() const { return target_; }
  bool has_odd_target() const { return has_odd_target_; }          // that leads to what has no path
  const std::optional<uint32_t>& child() const { return child_; }  // block of a folder
  bool is_relocated() const { return is_relocated_; }  // what is named here is shown elsewhere
  const std::optional<uint64_t>& sparse_size() const { return sparse_size_; }
  const std::optional<Zisofs>& zisofs() const { return zisofs_; }
  bool has_unknown_packing() const { return has_unknown_packing_; }
  uint64_t sum() const { return sum_; }  // over what has no field here; 0: nothing

 private:
  Result<void> add_entry(std::string_view kind, Bytes entry);
  Result<void> add_owner(Bytes entry);
  Result<void> add_name(Bytes entry);
  Result<void> add_times(Bytes entry);
  Result<void> add_target(Bytes entry);
  Result<void> add_component(uint8_t flags, std::string_view text);
  Result<void> add_zisofs(Bytes entry);
  void add_sum(Bytes entry);

  bool found_ = false;
  std::optional<std::string> name_;
  bool name_goes_on_ = false;
  std::optional<Owner> owner_;
  std::array<std::optional<access::FileTime>, 4> times_;
  std::optional<std::string> target_;
  bool target_goes_on_ = false;     // another entry has more of it
  bool component_goes_on_ = false;  // the last one has more of it
  bool target_needs_slash_ = false;
  bool has_odd_target_ = false;
  std::optional<uint32_t> child_;
  bool is_relocated_ = false;
  std::optional<uint64_t> sparse_size_;
  std::optional<Zisofs> zisofs_;
  bool has_unknown_packing_ = false;
  uint64_t sum_ = 0;
};

// Of the system use area of the root's record of itself: whether it is one of SUSP, and where it
// begins there. Nothing: it is none.
std::optional<size_t> shared_area_at(Bytes root_area, SharingRules& rules);

}  // namespace snaptool::iso9660
