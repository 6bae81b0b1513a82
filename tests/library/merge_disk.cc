// SPDX-License-Identifier: Apache-2.0
// Merges a snapshot, named as snaptool's users name it ("disk.dd#p2@disk.cow"), into its origin.
// It makes no check of its own: the job makes them all before it writes, and nothing else writes.
#include <fmt/format.h>

#include "formats/format.h"
#include "libsnap/access/resolve.h"
#include "libsnap/ops/merge.h"

namespace {

class ToStderr : public snaptool::access::Notices {
 public:
  void warn(std::string_view text, snaptool::Remedy /*remedy*/) const override {
    fmt::print(stderr, "warning: {}\n", text);
  }
  void say(std::string_view /*text*/) const override {}
  std::shared_ptr<void> show(std::string_view /*what*/,
                             const snaptool::Progress& /*progress*/) const override {
    return nullptr;
  }
};

snaptool::Result<void> merge(const char* name) {
  const snaptool::access::Policy policy;  // as careful as can be
  const ToStderr notices;
  const snaptool::Cancel cancel;
  const snaptool::access::Context context{snaptool::all_drivers(), policy, notices, cancel};
  snaptool::ops::MergeRequest request;
  SNAP_ASSIGN(request.image, snaptool::access::origin_and_cow_named(context, {name}, std::nullopt));
  SNAP_ASSIGN(const auto job, snaptool::ops::MergeJob::prepare(context, request));
  return job->run();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  const auto merged = merge(argv[1]);
  if (!merged) fmt::print(stderr, "{}\n", merged.error().message());
  return merged ? 0 : 1;
}
