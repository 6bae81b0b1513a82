// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/base/result.h"

namespace snaptool::access {

// A part of a file, as named behind a '#'.
struct Part {
  enum class Kind { kPartition, kSlice, kVolume } kind = Kind::kPartition;
  std::string text;                // as it was given: "p2", "+1M,4k", "vg0/data"
  unsigned number = 0;             // of a partition
  uint64_t offset = 0;             // of a slice, bytes
  std::optional<uint64_t> length;  // of a slice, bytes; nothing: to the end
  std::string group;               // of a volume
  std::string volume;
  // The LV of just that name, below whatever the name means otherwise (a view, "X-cow" of "X").
  bool own_bytes = false;
};

// A file or block device, or a part of it, or of several (a volume group's PVs):
// "disk.dd#p2", "a.img,b.img#vg0/data".
struct FileSpec {
  struct Source {
    std::string path;
    std::vector<Part> parts;
    // Empty, or a file of which `path` would name a part or a view if no file had that name.
    std::string hides;
  };
  std::vector<Source> sources;
  // Of the one source, or of all together: then the first is a volume.
  std::vector<Part> parts;
  // What the whole file is taken for (a store: kStoreFormat), if that was said: a format, or
  // "split", the first part of a raw image in pieces.
  std::optional<std::string> format;
  // If nothing was said, its magic tells, not only the bytes of the file count: what is only read.
  bool by_magic = false;
  // Policy::parents and Policy::internal_snapshot are about it.
  bool is_main = false;

  FileSpec() = default;
  explicit FileSpec(const std::string& path) : sources{{path, {}, {}}} {}

  // For messages.
  std::string name() const;
  // The path, when it is a whole file.
  const std::string& path() const { return sources.front().path; }
  bool is_whole_file() const { return sources.size() == 1 && parts.empty(); }
  // The logical volume that it is; nullptr when it is none.
  const Part* volume() const;
  // The own bytes of another LV of the same group, called `shown` in messages. Requires: volume().
  FileSpec with_own_volume(const std::string& lv, const std::string& shown) const;
};

inline constexpr const char* kStoreFormat = "dm-snapshot";

// How an image was named: a file, the stores over it from the lowest to the topmost ("A@C1@C2"),
// and parts of the view ("A@C#p1").
struct ImageSpec {
  FileSpec base;
  std::vector<FileSpec> stores;
  std::vector<Part> view_parts;
};

// The longest prefix that names an existing file is the file; "file:PATH" is always literal. Opens
// nothing. Errors: kNotFound; kInvalidArgument.
Result<ImageSpec> parse_image_spec(const std::string& text);

// What shows a snapshot: an origin with stores over it. Errors: kInvalidArgument for anything else,
// kUnsupported for a part of a view.
Result<void> check_is_view(const ImageSpec& spec);

// That a file may be made under that name, where none is: it is not how a part of a file that is
// there would be named. Errors: kInvalidArgument.
Result<void> check_output_name(const std::string& path);

// ORIGIN COW as two operands, or ORIGIN@COW as one. Where there is no store, it may be missing, or
// what is named is a snapshot in a volume group.
Result<ImageSpec> parse_origin_and_cow(const std::vector<std::string>& operands);

// "A@C", for messages.
std::string name_of(const ImageSpec& spec);
// "#p2#vg0/data".
std::string parts_text(const std::vector<Part>& parts);

}  // namespace snaptool::access
