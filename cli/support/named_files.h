// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/support/command.h"
#include "libsnap/access/context.h"
#include "libsnap/io/sandbox.h"

namespace snaptool::cli {

// The files that a run is about: those that its command line names, and what may lie beside them.
class NamedFiles {
 public:
  NamedFiles(const CommandSpec& command, const ParsedOptions& options,
             const access::Policy& policy);

  // An image, however it is named, or a file: with the folder that the parts of a split image, or
  // the parents that may be followed, are in.
  void add_read(const std::string& word);
  // One that is made or written to, with what is kept beside it.
  void add_written(const std::string& word);

  const AllowedFiles& allowed() const { return allowed_; }

 private:
  void add_operands(const CommandSpec& command, const ParsedOptions& options);

  AllowedFiles allowed_;
  bool reads_beside_ = false;
};

}  // namespace snaptool::cli
