// SPDX-License-Identifier: Apache-2.0
// Any bytes as a dump: nothing crashes, memory stays bounded; what is accepted makes a store with
// as many exceptions.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "libsnap/snap/store/persistent_store.h"
#include "libsnap/snap/store/restore.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/model.h"

namespace snaptool::test {
namespace {

constexpr uint64_t kMostTarget = 4 * kMiB;

void require(bool condition) {
  if (!condition) std::abort();
}

void try_dump(std::span<const std::byte> bytes) {
  MemoryFile target("new");
  const Cancel cancel;
  // In pieces that cut everything somewhere.
  TextSource source = [bytes](std::span<std::byte> out) mutable {
    const size_t size = std::min({out.size(), bytes.size(), size_t{37}});
    std::memcpy(out.data(), bytes.data(), size);
    bytes = bytes.subspan(size);
    return Result<size_t>(size);
  };
  const auto restored = restore_store(
      source, "dump",
      [&](const DumpHeader& header) -> Result<RestoreTarget> {
        if (header.cow_size > kMostTarget) return Error(ErrorCode::kNoSpace, "too large");
        SNAP_TRY(target.resize(header.cow_size));
        return RestoreTarget{&target, true};
      },
      cancel);
  if (!restored) return;
  auto store = PersistentStore::open(target);
  require(store.has_value() && store->read_metadata(cancel).has_value());
  require(store->exceptions() == *restored);
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(dump)(const uint8_t* data, size_t size) {
  snaptool::test::try_dump({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
