// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/live_view.h"

#include "libsnap/access/resolve.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/units.h"

namespace snaptool::ops {

Result<std::unique_ptr<LiveView>> LiveView::open(const access::Context& context,
                                                 const access::ImageSpec& image, StoreKind kind,
                                                 bool discard_tail) {
  SNAP_TRY(access::check_is_view(image));
  std::unique_ptr<LiveView> view(new LiveView(context));
  SnapshotOptions options;
  options.kind = kind;
  options.discard_tail = discard_tail;
  SNAP_ASSIGN(view->disk_, view->door_.open_disk(image, {}, options));
  return view;
}

Result<void> LiveView::trim(uint64_t offset, uint64_t length) {
  const uint64_t begin = div_round_up(offset, kSectorSize) * kSectorSize;
  const uint64_t end = round_down(offset + length, kSectorSize);
  if (begin >= end) return {};
  return disk_.snapshot->discard(begin, end - begin, {.zeroes_cow = true});
}

}  // namespace snaptool::ops
