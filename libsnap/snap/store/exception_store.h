// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>

#include "libsnap/io/file.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool {

// Numbers of dmsetup status, in sectors. All arithmetic wraps at 2^64, as the kernel's does.
struct Usage {
  uint64_t allocated_sectors = 0;
  uint64_t total_sectors = 0;
  uint64_t metadata_sectors = 0;
};

// How a snapshot session keeps its exceptions and what it does when the COW is full. It is no
// property of what is on disk: P and PO stores are the same there.
enum class StoreKind {
  kPersistent,          // P: a snapshot write that does not fit invalidates the store
  kPersistentOverflow,  // PO: the write fails, reads go on
  kTransient,           // N: the exceptions are in memory only
};

// Where a snapshot's exceptions are kept, as a writer sees it. Method names are those of the
// kernel's dm_exception_store_type (dm-exception-store.h, Linux 6.1).
class ExceptionStore {
 public:
  virtual ~ExceptionStore() = default;

  virtual File& cow() const = 0;
  virtual uint64_t chunk_bytes() const = 0;
  virtual Usage usage() const = 0;

  // A chunk of the COW for the data of one more exception.
  struct Prepared {
    uint64_t new_chunk = 0;
    // False where committing it would fill an area whose successor lies beyond the end of the COW:
    // the kernel then fails, and invalidates the snapshot although the data fitted.
    bool can_commit = true;
  };
  // Takes the next free chunk; nothing when the COW is full.
  virtual std::optional<Prepared> prepare_exception() = 0;
  // So many more exceptions can be prepared and committed.
  virtual uint64_t room() const = 0;
  // How many chunks the COW would need to have room for so many more. Wraps where no COW can.
  virtual uint64_t chunks_for(uint64_t more) const = 0;
  // Makes prepared exceptions, and with them their data, durable. Requires: they come in the order
  // in which they were prepared; their data were written to the COW. Errors: kIo, kNoSpace.
  virtual Result<void> commit_exceptions(std::span<const Exception> exceptions) = 0;
  // Marks the snapshot invalid, durably. Exceptions and data stay.
  virtual Result<void> drop_snapshot() = 0;
};

}  // namespace snaptool
