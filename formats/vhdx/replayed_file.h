// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>

#include "formats/vhdx/log.h"

namespace snaptool::vhdx {

// A file as it is once its log has been replayed; the file itself stays as it is. Only to be read.
// Several threads may read at once.
class ReplayedFile : public File {
 public:
  // Requires: `file` outlives this.
  ReplayedFile(File& file, const Replay& replay);

  const std::string& name() const override { return file_.name(); }
  uint64_t size() const override { return size_; }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;
  // Always kUnsupported.
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override;
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) override;
  Result<void> resize(uint64_t size) override;
  Result<void> flush() override { return {}; }

  // How many bytes from `offset` on, at most `limit`, lie in the file as they are, or do not.
  struct Stretch {
    uint64_t length = 0;
    bool as_is = false;
  };
  Stretch stretch_at(uint64_t offset, uint64_t limit) const;

 private:
  using Patches = std::map<uint64_t, LogChange>;

  void lay(const LogChange& change);
  Patches::const_iterator patch_at(uint64_t offset) const;
  Result<void> read_patch(const LogChange& patch, uint64_t within, std::span<std::byte> out);

  File& file_;
  uint64_t size_;
  Patches patches_;  // by their offset; none overlaps another
};

}  // namespace snaptool::vhdx
