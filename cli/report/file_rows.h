// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/support/text_output.h"
#include "libsnap/ops/files.h"

namespace snaptool::cli {

// Files within an image, printed one by one.
class FileRows {
 public:
  enum class Form { kNames, kLong, kJson };
  FileRows(access::FileSystem& files, Form form, TextOutput& out)
      : files_(files), form_(form), out_(out) {}

  Result<void> start();
  Result<void> add(const ops::FoundFile& found);
  Result<void> finish();
  // Of which no more than their names was read.
  uint64_t broken() const { return broken_; }

 private:
  Result<void> add_json(const ops::FoundFile& found, const std::string& target);

  access::FileSystem& files_;
  const Form form_;
  TextOutput& out_;
  uint64_t broken_ = 0;
  bool any_ = false;
};

}  // namespace snaptool::cli
