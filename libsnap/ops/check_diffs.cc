// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/check_diffs.h"

#include <fmt/format.h>

namespace snaptool::ops {

Result<CheckedDiffs> check_diffs(const access::Context& context,
                                 const std::vector<std::unique_ptr<access::ChangeFile>>& diffs,
                                 access::OpenImage* image, Linking linking) {
  Image* const content = image == nullptr ? nullptr : &image->image();
  SNAP_ASSIGN(Chain chain, Chain::open(access::links_of(diffs),
                                       content == nullptr ? 0 : content->size(), linking));
  Apply apply(std::move(chain));
  if (content != nullptr && apply.shape().full) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a full diff: it needs no image", diffs.front()->name()));
  }
  // As apply would have it.
  const bool resizable = image == nullptr || (image->layers.size() == 1 &&
                                              image->files.front()->kind() == FileKind::kRegular);
  const access::Phase phase(context, "checking");
  CheckedDiffs checked;
  SNAP_ASSIGN(checked.chain,
              apply.check(content, resizable ? Apply::BaseSize::kExact : Apply::BaseSize::kAtLeast,
                          resizable, std::nullopt, phase.job()));
  checked.applied = content != nullptr && checked.chain.is_applied() &&
                    (!resizable || content->size() == apply.shape().final_size()) &&
                    checked.chain.windows > 0;
  return checked;
}

}  // namespace snaptool::ops
