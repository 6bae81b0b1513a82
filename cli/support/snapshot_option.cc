// SPDX-License-Identifier: Apache-2.0
#include "cli/support/snapshot_option.h"

#include <fmt/format.h>

#include "libsnap/ops/store.h"

namespace snaptool::cli {

Result<SnapshotOption> parse_snapshot_option(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("--snapshot takes NAME=COW[,store=P|PO|N][,chunk-size=SIZE], not '{}'", text));
  }
  SnapshotOption spec{text.substr(0, equals), text.substr(equals + 1), StoreKind::kPersistent, {}};
  // From the end, so that a comma in a file's name does no harm.
  while (true) {
    const size_t comma = spec.cow.rfind(',');
    if (comma == std::string::npos) return spec;
    const std::string option = spec.cow.substr(comma + 1);
    if (option == "store=P") {
      spec.kind = StoreKind::kPersistent;
    } else if (option == "store=PO") {
      spec.kind = StoreKind::kPersistentOverflow;
    } else if (option == "store=N") {
      spec.kind = StoreKind::kTransient;
    } else if (option.rfind("chunk-size=", 0) == 0) {
      SNAP_ASSIGN(spec.chunk_size, ops::parse_chunk_size(option.substr(11)));
    } else if (option.rfind("store=", 0) == 0) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("--snapshot {}: a store is P, PO or N, not '{}'", spec.name,
                               option.substr(6)));
    } else {
      return spec;
    }
    spec.cow.erase(comma);
  }
}

}  // namespace snaptool::cli
