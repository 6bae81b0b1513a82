// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/base/result.h"

namespace snaptool::vmdk {

// The text that describes a VMDK image (formats/vmdk/FORMAT.md). Pure: nothing here reads a file.

inline constexpr uint32_t kNoCid = 0xffffffff;    // of a parent: there is none
inline constexpr uint32_t kLongCid = 0xfffffffe;  // a longer identifier counts instead

enum class ExtentType {
  kFlat,    // the bytes of a file (FLAT, VMFS)
  kSparse,  // a file with grains (SPARSE, VMFSSPARSE)
  kZero,    // no file
  kOther,
};

// A line that tells where a stretch of the image is.
struct ExtentLine {
  bool readable = true;  // RW or RDONLY, not NOACCESS
  uint64_t sectors = 0;
  ExtentType type = ExtentType::kOther;
  std::string type_name;
  std::string file_name;
  uint64_t start = 0;  // of the content in the file, sectors
};

struct Descriptor {
  std::optional<uint32_t> cid;  // changes with the content
  std::optional<uint32_t> parent_cid;
  std::string create_type;
  std::string parent_hint;  // name of the parent's file
  std::vector<ExtentLine> extents;
  uint64_t sectors = 0;  // of all extents

  bool has_parent() const { return parent_cid && *parent_cid != kNoCid; }
};

// The text ends at its first NUL, if it has one. Errors: kCorruption; kUnsupported for other
// versions, and for more extents than are read.
Result<Descriptor> parse_descriptor(std::string_view text);

// "CID 1234abcd": by what a child knows its parent.
std::string identity_of(uint32_t cid);
std::string cid_text(uint32_t cid);

// What the descriptor of a new image of one sparse extent says.
struct NewDescriptor {
  uint32_t cid = 0;
  std::string create_type;
  uint64_t sectors = 0;
  std::string extent_name;
  std::string adapter_type;
};
std::string encode_descriptor(const NewDescriptor& descriptor);
// Whether the name of a file can be told in a descriptor.
bool can_name_extent(std::string_view name);

}  // namespace snaptool::vmdk
