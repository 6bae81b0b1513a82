// SPDX-License-Identifier: Apache-2.0
#include "cli/text_output.h"

#include "libsnap/base/units.h"

namespace snaptool::cli {

Result<TextOutput> TextOutput::open(const std::string& path, const std::vector<const File*>& inputs,
                                    bool replace) {
  SNAP_ASSIGN(auto output, ByteOutput::open(path, StreamTarget::Content::kText, inputs, replace));
  return TextOutput(std::move(output));
}

Result<void> TextOutput::write(std::string_view text) {
  waiting_ += text;
  return waiting_.size() < 64 * kKiB ? Result<void>() : write_out();
}

Result<void> TextOutput::write_out() {
  SNAP_TRY(output_.write(std::as_bytes(std::span(waiting_))));
  waiting_.clear();
  return {};
}

Result<void> TextOutput::commit() {
  SNAP_TRY(write_out());
  return output_.commit();
}

}  // namespace snaptool::cli
