// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/io/image.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool {

// A COW without its data: header and areas as they are on disk, sound or not, and zeros elsewhere.
class MetadataImage : public Image {
 public:
  // `areas`: how many, from the first. Requires: `cow` outlives this.
  MetadataImage(File& cow, const Layout& layout, uint64_t areas)
      : cow_(cow), layout_(layout), areas_(areas) {}

  const std::string& name() const override { return cow_.name(); }
  uint64_t size() const override { return cow_.size(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;

 private:
  // Whether the byte is of the metadata, and for how many more the same can be said.
  struct Stretch {
    bool metadata = false;
    uint64_t length = 0;
  };
  Stretch stretch_at(uint64_t offset) const;

  File& cow_;
  Layout layout_;
  uint64_t areas_;
};

}  // namespace snaptool
