// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "libsnap/base/result.h"
#include "libsnap/snap/store/exception_store.h"

namespace snaptool::cli {

// A snapshot as batch names it: "NAME=COW[,store=P|PO|N][,chunk-size=SIZE]".
struct SnapshotOption {
  std::string name;
  std::string cow;
  StoreKind kind = StoreKind::kPersistent;
  std::optional<uint64_t> chunk_size;  // bytes
};
// Errors: kInvalidArgument.
Result<SnapshotOption> parse_snapshot_option(const std::string& text);

}  // namespace snaptool::cli
