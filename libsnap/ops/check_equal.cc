// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/check_equal.h"

#include <fmt/format.h>

#include "libsnap/diff/compare.h"

namespace snaptool::ops {

Result<void> check_equal(const access::Context& context, Image& source, Image& made,
                         std::string_view what, std::string_view of) {
  UnmappedImage whole_source(source);
  UnmappedImage whole_made(made);
  const access::Phase phase(context, "verifying", source.size());
  const auto differs = [&](const Difference& difference) -> Result<void> {
    return Error(ErrorCode::kCorruption,
                 fmt::format("{} differs from {} at byte {}", what, of, difference.offset));
  };
  SNAP_TRY(compare_images(whole_source, whole_made, {}, differs, phase.job()));
  return {};
}

}  // namespace snaptool::ops
