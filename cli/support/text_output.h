// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "libsnap/access/byte_output.h"

namespace snaptool::cli {

// A text that goes to standard output, a pipe, or a new file, which appears whole or not at all.
// Nothing in it can drive a terminal (printable_lines).
class TextOutput {
 public:
  // Errors: those of ByteOutput.
  static Result<TextOutput> open(access::Door& door, const std::string& path);
  // Requires: no character is divided between two calls.
  Result<void> write(std::string_view text);
  // What waits goes on to a stream; not to a new file.
  Result<void> flush();
  bool is_file() const { return output_.is_file(); }
  // Without it, no new file is left.
  Result<void> commit();

 private:
  TextOutput(access::ByteOutput output, bool prints)
      : output_(std::move(output)), prints_(prints) {}
  Result<void> write_out();

  access::ByteOutput output_;
  bool prints_;  // to standard output, for which print keeps account of json
  std::string waiting_;
};

}  // namespace snaptool::cli
