// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/access/door.h"
#include "libsnap/ops/merge.h"
#include "libsnap/snap/view/origin.h"

namespace snaptool::ops {

// An origin with its snapshots as the kernel has them active, each under a name, one request after
// the other. What is full is invalidated or overflows by the kernel's rules.
//
// Durable is what was done before flush returned; copies out of the origin are before it changes.
class Session {
 public:
  // A snapshot that takes part.
  struct Member {
    std::string name;
    access::FileSpec cow;
    StoreKind kind = StoreKind::kPersistent;
    std::optional<uint64_t> chunk_bytes;  // of a transient store; a persistent one says its own
  };
  // Opens the origin (a raw file, or a view: its store gets what is written to it) and its
  // snapshots. One whose COW another has already waits for a hand-over from it. Writes nothing.
  // Errors: those of Door::open_disk and Snapshot::open; kInvalidArgument when a name is taken, a
  // COW has somebody waiting, or, unless Policy::force, a transient snapshot would overwrite a
  // store.
  static Result<std::unique_ptr<Session>> prepare(const access::Context& context,
                                                  const access::ImageSpec& origin,
                                                  const std::vector<Member>& members,
                                                  uint64_t in_flight = 64 * kMiB);

  Image& origin() { return *disk_.image; }
  // Whether there is a snapshot of that name.
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
  // Errors: kUnsupported for a transient store; those of OriginMerge::prepare, with nothing
  // written; those of Merge, after which status is "Merge failed".
  Result<void> merge(const std::string& name);
  // Writes bytes that a snapshot shows to a new file, and returns their SHA-256; no path: only
  // that. Errors: also those of Door::make_file.
  Result<std::string> read_to(const std::string& name, const ByteRange& range,
                              const std::optional<std::string>& path);

  // Everything so far is durable. All snapshots are flushed even if one fails.
  Result<void> flush();

 private:
  enum class State { kActive, kWaiting, kHandedOver, kMerged, kMergeFailed };
  struct Entry {
    std::string name;
    File* cow = nullptr;
    StoreKind kind = StoreKind::kPersistent;
    State state = State::kActive;
    std::unique_ptr<Snapshot> snapshot;  // with kActive
    std::string merged_status;           // with kMerged
  };
  Session(const access::Context& context, uint64_t in_flight)
      : context_(context), door_(context, access::operations::kSession), in_flight_(in_flight) {}
  Result<void> open(const access::ImageSpec& origin, const std::vector<Member>& members);
  Result<void> add(const Member& member, File& cow);
  Result<void> check_kind(const Member& member, File& cow) const;
  Result<Entry*> find(const std::string& name);
  Result<Entry*> find_usable(const std::string& name, const ByteRange& range);
  Result<void> merge_store(Entry& entry);

  const access::Context context_;
  access::Door door_;
  uint64_t in_flight_;
  access::Disk disk_;
  std::optional<Origin> origin_;
  std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace snaptool::ops
