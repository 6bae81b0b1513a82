// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/snap/store/exception_store.h"

namespace snaptool {

// A store of type N: chunks are handed out from the start of the COW, there is no metadata, and
// nothing of the snapshot outlives the session. Source: dm-snap-transient.c, Linux 6.1.
class TransientStore : public ExceptionStore {
 public:
  // Requires: `cow` outlives this; `chunk_sectors` as in Layout.
  TransientStore(File& cow, uint64_t chunk_sectors) : cow_(cow), layout_(chunk_sectors) {}

  File& cow() const override { return cow_; }
  uint64_t chunk_bytes() const override { return layout_.chunk_bytes(); }
  Usage usage() const override {
    return {next_free_ * layout_.chunk_sectors(), cow_.size() / kSectorSize, 0};
  }
  std::optional<Prepared> prepare_exception() override {
    if (room() == 0) return std::nullopt;
    return Prepared{next_free_++, true};
  }
  uint64_t room() const override { return cow_.size() / layout_.chunk_bytes() - next_free_; }
  uint64_t chunks_for(uint64_t more) const override { return next_free_ + more; }
  // Nothing is durable, so nothing is to be done.
  Result<void> commit_exceptions(std::span<const Exception> /*exceptions*/) override { return {}; }
  Result<void> drop_snapshot() override { return {}; }

 private:
  File& cow_;
  Layout layout_;
  uint64_t next_free_ = 0;
};

}  // namespace snaptool
