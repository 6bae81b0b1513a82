// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libsnap/snap/origin.h"

namespace snaptool {

// An origin with its snapshots as the kernel has them active, each under a name, one request after
// the other. What is full is invalidated or overflows by the kernel's rules.
//
// Durable is what was done before flush returned; copies out of the origin are before it changes.
class Session {
 public:
  struct Options {
    uint64_t in_flight = 64 * kMiB;
    bool discard_tail = false;  // see SnapshotOptions
  };
  // Requires: `origin` outlives this and can be written if it is to be.
  Session(Image& origin, const Options& options)
      : origin_(origin, options.in_flight), options_(options) {}

  // Opens a snapshot. One whose COW another has already waits for a hand-over from it.
  // Requires: `cow` outlives this and is open for writing. `chunk_sectors` is for a transient
  // store. Errors: kInvalidArgument when the name is taken, or the COW has somebody waiting; those
  // of Snapshot::open.
  Result<void> add(const std::string& name, File& cow, StoreKind kind, uint64_t chunk_sectors,
                   const Cancel& cancel);

  // Whether a snapshot of that name was added.
  bool has(const std::string& name) const;

  // All of these: kInvalidArgument when there is no such snapshot, it waits, or the range does not
  // lie in it; else those of Snapshot and Origin.
  Result<void> read(const std::string& name, uint64_t offset, std::span<std::byte> out);
  Result<void> write(const std::string& name, uint64_t offset, std::span<const std::byte> data);
  Result<void> discard(const std::string& name, const ByteRange& range,
                       const DiscardOptions& options);
  Result<void> write_origin(uint64_t offset, std::span<const std::byte> data);

  // What dmsetup status would print behind the name.
  Result<std::string> status(const std::string& name) const;

  // `to`, which waits, takes over the store of `from` with all that is in it; `from` is invalid
  // from then on. Source: __handover_exceptions in dm-snap.c, Linux 6.1.
  Result<void> handover(const std::string& from, const std::string& to);

  // Makes the origin what the snapshot shows, crash-safe (merge.h), after the others got what they
  // need of it. The name then stands for the origin, as with the kernel's snapshot-merge target.
  // Errors: kUnsupported for a transient store; kNoSpace when the origin is a snapshot without room
  // for it (nothing was written); those of Merge, after which status is "Merge failed".
  Result<void> merge(const std::string& name, const Job& job);

  // Everything so far is durable. All snapshots are flushed even if one fails.
  Result<void> flush();

 private:
  enum class State { kActive, kWaiting, kHandedOver, kMerged, kMergeFailed };
  struct Member {
    std::string name;
    File* cow = nullptr;
    StoreKind kind = StoreKind::kPersistent;
    State state = State::kActive;
    std::unique_ptr<Snapshot> snapshot;  // with kActive
    std::string merged_status;           // with kMerged
  };
  Result<Member*> find(const std::string& name);
  Result<Member*> find_usable(const std::string& name, const ByteRange& range);
  Result<void> merge_store(Member& member, const Job& job);

  Origin origin_;
  Options options_;
  std::vector<std::unique_ptr<Member>> members_;
};

}  // namespace snaptool
