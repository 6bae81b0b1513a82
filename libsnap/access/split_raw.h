// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/io/file.h"

namespace snaptool::access {

// A raw image in pieces of one size, the last of which may be shorter: "disk.001", "disk.002" and
// so on (from 000 or 001), or with letters, "disk.aa", as split(1) names them.

// One of them, as its name was looked at.
struct SplitPart {
  std::string name;
  FileId id;
};

// All parts that are there, from `first` on: nothing but their names says that they belong
// together, so they are plain files of one owner, and no links. Errors: kInvalidArgument when one
// is not, or `first` is not named like a first part; kNotFound; kCorruption when one is missing
// between others; kIo.
Result<std::vector<SplitPart>> find_split_raw(const std::string& first);

// The same of files that are counted without zeros in front, "x.0", "x.1", ... "x.10", from 0 or 1
// on, as the parts of Android's images are.
Result<std::vector<SplitPart>> find_counted_parts(const std::string& first);

// What the part of that number is called, from 1 on, if `first` is named like a first one; nullopt
// where there is no such name.
std::optional<std::string> split_part_name(const std::string& first, unsigned number);

// The image that they are, in their order. Errors: kCorruption when a part other than the last does
// not have the size of the first, or the last has more, or they pass kMaxFileSize.
Result<std::shared_ptr<File>> join_split_raw(std::vector<std::shared_ptr<File>> parts);

// The second part, when the file is named like a first one and there is a second: then it may not
// be all of an image. Empty otherwise.
std::string second_part_of(const std::string& path);
// Another part of those that find_counted_parts finds, for any of them.
std::string other_counted_part_of(const std::string& path);

}  // namespace snaptool::access
