// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/restore.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "libsnap/snap/store/list_writer.h"

namespace snaptool {

Result<uint64_t> restore_store(
    const TextSource& source, const std::string& name,
    const std::function<Result<RestoreTarget>(const DumpHeader&)>& target, const Cancel& cancel) {
  constexpr size_t kPieceEntries = 4096;
  std::optional<ListWriter> writer;
  DiskHeader header;
  std::vector<Exception> piece;
  const auto write_piece = [&]() -> Result<void> {
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_TRY(writer->append(piece));
    piece.clear();
    return {};
  };
  DumpVisitor visitor;
  visitor.begin = [&](const DumpHeader& dump) -> Result<void> {
    header = dump.header;
    SNAP_ASSIGN(const RestoreTarget to, target(dump));
    writer.emplace(*to.file, Layout(header.chunk_size), to.zeroed);
    return writer->begin();
  };
  visitor.run = [&](const DumpRun& run) -> Result<void> {
    for (uint64_t i = 0; i < run.length; ++i) {
      piece.push_back({run.first.old_chunk + i, run.first.new_chunk + i});
      if (piece.size() >= kPieceEntries) SNAP_TRY(write_piece());
    }
    return {};
  };
  SNAP_TRY(read_dump(source, name, visitor));
  SNAP_TRY(write_piece());
  SNAP_TRY(writer->finish(header));
  return writer->entries();
}

}  // namespace snaptool
