// SPDX-License-Identifier: Apache-2.0
#include "cli/support/text_output.h"

#include "cli/support/stdio.h"
#include "libsnap/base/printable.h"
#include "libsnap/base/units.h"

namespace snaptool::cli {

Result<TextOutput> TextOutput::open(access::Door& door, const std::string& path) {
  SNAP_ASSIGN(auto output,
              access::ByteOutput::open(door, path, access::StreamTarget::Content::kText));
  const bool prints = !output.is_file() && is_stdout(path);
  return TextOutput(std::move(output), prints);
}

Result<void> TextOutput::write(std::string_view text) {
  waiting_ += printable_lines(text);
  return waiting_.size() < 64 * kKiB ? Result<void>() : write_out();
}

Result<void> TextOutput::write_out() {
  erase_bar();
  SNAP_TRY(prints_ ? print(waiting_) : output_.write(std::as_bytes(std::span(waiting_))));
  waiting_.clear();
  return {};
}

Result<void> TextOutput::flush() { return is_file() ? Result<void>() : write_out(); }

Result<void> TextOutput::commit() {
  SNAP_TRY(write_out());
  return output_.commit();
}

}  // namespace snaptool::cli
