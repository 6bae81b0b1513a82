// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "libsnap/access/door.h"
#include "libsnap/ops/data_source.h"
#include "libsnap/snap/repair/repair.h"
#include "libsnap/snap/repair/salvage.h"

namespace snaptool::ops {

// A COW that is made anew: a file of that name that is there, or a part of one; nothing where it is
// yet to be made. "file:PATH" is always a name. Errors: those of parsing; kInvalidArgument for a
// view.
Result<std::optional<access::FileSpec>> existing_cow(const std::string& name);
// The path of one that is yet to be made.
std::string path_of_new(const std::string& name);

// A chunk size as text: a power of two of sectors, up to 1 GiB. Errors: kInvalidArgument.
Result<uint64_t> parse_chunk_size(const std::string& text);

// How large a store is to be: bytes, a part of its origin, or nothing: enough for all of it.
struct StoreSize {
  uint64_t bytes = 0;
  uint64_t percent_of_origin = 0;
};

struct CreateRequest {
  access::ImageSpec origin;
  std::string cow;
  uint64_t chunk_bytes = 0;
  std::optional<StoreSize> size;
};
struct Created {
  uint64_t size = 0;         // of the COW, bytes
  uint64_t room_chunks = 0;  // exceptions of the origin that it takes
  uint64_t origin_chunks = 0;
};
// Makes an empty store for a snapshot of an origin: a new file, or of what is there: a file, device
// or part of one, which must be empty or begin with zeros unless Policy::force. Errors: those of
// Door; kNoSpace when it is too small; kInvalidArgument.
// Crash: a new file is there whole or not at all; one that was there is a store or not.
Result<Created> create(const access::Context& context, const CreateRequest& request);
// The size that is enough for every chunk of the origin.
Result<uint64_t> measure(const access::Context& context, const access::ImageSpec& origin,
                         uint64_t chunk_bytes);

struct Resized {
  uint64_t before = 0;  // bytes
  uint64_t size = 0;
};
struct NewSize {
  uint64_t bytes = 0;
  bool is_added = false;  // to what it has
};
// Gives a COW file another size, but never less than what it holds. Errors: those of Door and
// File::resize; kInvalidArgument for less.
Result<Resized> resize(const access::Context& context, const access::FileSpec& cow,
                       const NewSize& size);
// The least size that it can be cut to.
Result<uint64_t> minimum_size(const access::Context& context, const access::FileSpec& cow);

// Makes a store of a dump: as create makes one. Returns how many exceptions it has. What is there
// is only written to after all of the dump was read. Errors: those of Door, restore_store and the
// source.
Result<uint64_t> restore(const access::Context& context, DataSource& dump, const std::string& cow);

// A repair: what can be kept of a damaged store, into a new one.
class RepairJob {
 public:
  struct Request {
    access::ImageSpec image;  // the COW alone as its base, or its origin and it
    SalvageOptions salvage;
    RepairOptions repair;
  };
  // Reads and plans, writes nothing. Errors: those of Salvage::open and plan_repair; kInvalidated,
  // unless Policy::ignore_invalid.
  static Result<std::unique_ptr<RepairJob>> prepare(const access::Context& context,
                                                    const Request& request);
  const Salvage& salvage() const { return *salvage_; }
  const RepairReport& report() const { return report_; }
  // Writes the new store. Errors: those of Door::make_file and repair_store; kNoSpace.
  Result<void> run(const std::string& path);

 private:
  explicit RepairJob(const access::Context& context)
      : context_(context), door_(context, access::operations::kOutput) {}

  const access::Context context_;
  access::Door door_;
  std::shared_ptr<File> origin_;
  std::shared_ptr<File> cow_;
  std::optional<Salvage> salvage_;
  RepairOptions options_;
  RepairReport report_;
};

}  // namespace snaptool::ops
