// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/store.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "libsnap/access/plain_disk.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/counted.h"
#include "libsnap/snap/store/create.h"
#include "libsnap/snap/store/persistent_store.h"
#include "libsnap/snap/store/restore.h"

namespace snaptool::ops {
namespace {

using access::Context;

constexpr std::string_view kLiteral = "file:";

bool is_literal(const std::string& name) { return name.rfind(kLiteral, 0) == 0; }

// The first bytes of a file that is written to; the rest is dropped.
class HeadFile : public File {
 public:
  explicit HeadFile(uint64_t size) : head_(std::min(size, kMiB)), size_(size) {}
  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  Result<void> read_at(uint64_t /*offset*/, std::span<std::byte> /*out*/) override {
    return Error(ErrorCode::kUnsupported, "it is only written to");
  }
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override {
    if (offset >= head_.size()) return {};
    const size_t size = std::min<uint64_t>(data.size(), head_.size() - offset);
    std::copy_n(data.begin(), size, head_.begin() + static_cast<ptrdiff_t>(offset));
    return {};
  }
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode /*mode*/) override {
    if (offset >= head_.size()) return {};
    std::fill_n(head_.begin() + static_cast<ptrdiff_t>(offset),
                std::min(length, head_.size() - offset), std::byte{0});
    return {};
  }
  Result<void> resize(uint64_t size) override {
    size_ = size;
    return {};
  }
  Result<void> flush() override { return {}; }
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    return Extent{std::min(limit, size_ - offset), false, 0, nullptr, {}};
  }
  std::span<const std::byte> head() const { return head_; }

 private:
  std::string name_ = "the new store";
  std::vector<std::byte> head_;
  uint64_t size_;
};

// What a file that is there holds must not be somebody's content: it is zeros, or what a run that
// was stopped left of `made`, how the store will begin. (That run writes the header last.)
Result<void> check_has_no_content(const Context& context, File& cow,
                                  std::span<const std::byte> made) {
  if (context.policy.force) return {};
  SNAP_ASSIGN(const bool is_store, access::looks_like_store(cow));
  std::vector<std::byte> head(std::min(cow.size(), kMiB));
  SNAP_TRY(cow.read_at(0, head));
  bool is_ours = !is_store;
  for (size_t at = 0; at < head.size() && is_ours; at += kSectorSize) {
    const auto sector =
        std::span(head).subspan(at, std::min<size_t>(kSectorSize, head.size() - at));
    is_ours = is_all_zero(sector) || (at + sector.size() <= made.size() &&
                                      std::memcmp(sector.data(), &made[at], sector.size()) == 0);
  }
  if (is_ours) return {};
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("'{}' {}: is it the right file?", cow.name(),
                           is_store ? "is a dm-snapshot store already" : "has content"))
      .with_remedy(Remedy::kForce);
}

// A store that is to be made.
struct Plan {
  Layout layout;
  uint64_t origin_chunks;
  uint64_t enough;  // bytes: room for the whole origin
  std::optional<uint64_t> size;
};

Result<Plan> plan_store(uint64_t origin_size, uint64_t chunk_bytes,
                        const std::optional<StoreSize>& size) {
  Plan plan{Layout(chunk_bytes / kSectorSize), div_round_up(origin_size, chunk_bytes), 0, {}};
  SNAP_ASSIGN(plan.enough, store_size_for(plan.layout, plan.origin_chunks));
  if (size) {
    const uint64_t percent = size->percent_of_origin;
    plan.size = percent == 0 ? size->bytes
                             : origin_size / 100 * percent + origin_size % 100 * percent / 100;
  }
  return plan;
}

Error too_small(const Plan& plan, const std::string& path, uint64_t size) {
  return {ErrorCode::kNoSpace,
          fmt::format("'{}' with {} bytes holds no store with chunks of {}: it needs {} at "
                      "least, and {} for all of the origin",
                      path, size, format_size(plan.layout.chunk_bytes()),
                      3 * plan.layout.chunk_bytes(), plan.enough)};
}

// How many exceptions a store of that size takes.
uint64_t capacity_of(const Plan& plan, uint64_t size) {
  const uint64_t stride = plan.layout.exceptions_per_area() + 1;
  const uint64_t chunks = usable_store_size(plan.layout, size) / plan.layout.chunk_bytes();
  return chunks - kNumSnapshotHdrChunks - div_round_up(chunks - kNumSnapshotHdrChunks, stride);
}

// Makes a store of what is there. Returns its size.
Result<uint64_t> make_in_place(const Context& context, const access::Target& target,
                               const Plan& plan) {
  File& cow = target.file();
  const std::string path = target.spec().name();
  SNAP_TRY(check_has_no_content(context, cow, {}));
  uint64_t size = cow.size();
  if (cow.kind() != FileKind::kRegular) {
    if (plan.size && *plan.size != size) {
      return Error(
          ErrorCode::kInvalidArgument,
          fmt::format("'{}' is a {} of {} bytes, all of which the kernel uses: its size "
                      "cannot be another",
                      path, cow.kind() == FileKind::kBlockDevice ? "block device" : "part", size));
    }
  } else if (plan.size || size == 0) {
    size = plan.size ? usable_store_size(plan.layout, *plan.size) : plan.enough;
  }
  if (size < 3 * plan.layout.chunk_bytes()) return too_small(plan, path, size);
  if (usable_store_size(plan.layout, size) + plan.layout.chunk_bytes() <= size) {
    context.notices.warn(
        fmt::format("the last chunk of '{}' would fill an area that none can follow: the kernel "
                    "invalidates the snapshot when it gets there, although it fitted",
                    path));
  }
  if (size != cow.size()) SNAP_TRY(cow.resize(size));
  SNAP_TRY(create_store(cow, plan.layout));
  if (target.spec().is_whole_file()) SNAP_TRY(context.files.flush_name(path));
  return size;
}

Result<uint64_t> make_new(access::Door& door, const std::string& path, const Plan& plan) {
  const uint64_t size = plan.size ? usable_store_size(plan.layout, *plan.size) : plan.enough;
  if (size < 3 * plan.layout.chunk_bytes()) return too_small(plan, path, plan.size.value_or(size));
  SNAP_ASSIGN(const auto output, door.make_file(path, size));
  SNAP_TRY(create_store(output->file(), plan.layout));
  SNAP_TRY(output->commit());
  return size;
}

Result<uint64_t> restore_from(const Context& context, DataSource& dump, std::string_view what,
                              const std::function<Result<RestoreTarget>(const DumpHeader&)>& to) {
  const access::Phase phase(context, what, dump.length().value_or(0));
  const auto read = [&](std::span<std::byte> out) -> Result<size_t> {
    SNAP_ASSIGN(const uint64_t got, dump.read(out));
    phase.job().progress.add(got);
    return got;
  };
  return restore_store(read, dump.name(), to, context.cancel);
}

// Reads all of a dump, to see that it is one; returns how the store of it will begin.
Result<std::unique_ptr<HeadFile>> try_restore(const Context& context, DataSource& dump) {
  std::unique_ptr<HeadFile> made;
  const auto to = [&](const DumpHeader& header) -> Result<RestoreTarget> {
    made = std::make_unique<HeadFile>(header.cow_size);
    return RestoreTarget{made.get(), true};
  };
  SNAP_TRY(restore_from(context, dump, "checking", to));
  SNAP_TRY(dump.rewind());
  return made;
}

// Into a file that is there, once all of the dump was found to be one.
Result<uint64_t> restore_in_place(access::Door& door, DataSource& dump,
                                  const access::FileSpec& spec) {
  const Context& context = door.context();
  if (!dump.can_rewind()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' already exists: the dump must come from a file, so that it is "
                             "read once before anything is written",
                             spec.name()));
  }
  SNAP_ASSIGN(const auto made, try_restore(context, dump));
  SNAP_ASSIGN(const access::Target target, door.open_file(spec, {}, {}));
  File& cow = target.file();
  for (const Storage& storage : cow.storages()) {
    if (storage.id == dump.id()) {
      return Error(ErrorCode::kInvalidArgument, "the dump and the COW are the same file");
    }
  }
  SNAP_TRY(check_has_no_content(context, cow, made->head()));
  const auto to = [&](const DumpHeader& header) -> Result<RestoreTarget> {
    const bool can_grow = cow.kind() == FileKind::kRegular;
    if (cow.size() < header.cow_size && can_grow) SNAP_TRY(cow.resize(header.cow_size));
    return RestoreTarget{&cow, false};
  };
  SNAP_ASSIGN(const uint64_t exceptions, restore_from(context, dump, "restoring", to));
  SNAP_TRY(cow.flush());
  if (spec.is_whole_file()) SNAP_TRY(context.files.flush_name(spec.name()));
  return exceptions;
}

Result<uint64_t> restore_new(access::Door& door, DataSource& dump, const std::string& path) {
  std::unique_ptr<OutputFile> output;
  const auto to = [&](const DumpHeader& header) -> Result<RestoreTarget> {
    SNAP_ASSIGN(output, door.make_file(path, header.cow_size));
    output->limit_permissions(dump.permissions());
    return RestoreTarget{&output->file(), output->starts_zeroed()};
  };
  SNAP_ASSIGN(const uint64_t exceptions, restore_from(door.context(), dump, "restoring", to));
  SNAP_TRY(output->commit());
  return exceptions;
}

}  // namespace

Result<std::optional<access::FileSpec>> existing_cow(const std::string& name) {
  const std::string path = path_of_new(name);
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0) return std::optional(access::FileSpec(path));
  if (is_literal(name) || access::check_output_name(path)) return std::optional<access::FileSpec>();
  SNAP_ASSIGN(access::ImageSpec spec, access::parse_image_spec(name));
  if (!spec.stores.empty() || !spec.view_parts.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' names a view where a COW is expected", name));
  }
  return std::optional(std::move(spec.base));
}

std::string path_of_new(const std::string& name) {
  return is_literal(name) ? name.substr(kLiteral.size()) : name;
}

Result<uint64_t> parse_chunk_size(const std::string& text) {
  SNAP_ASSIGN(const uint64_t bytes, parse_size(text));
  if (bytes > 0 && bytes < kSectorSize) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("a chunk of {0} bytes is less than a sector: {0}s or {0}k?", bytes));
  }
  if (!std::has_single_bit(bytes) || bytes > kGiB) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("a chunk size is a power of two from 512 to 1G, not '{}'", text));
  }
  return bytes;
}

Result<Created> create(const Context& context, const CreateRequest& request) {
  access::Door door(context, access::operations::kCreate);
  SNAP_ASSIGN(const auto there, existing_cow(request.cow));
  // Where origin and COW lie in one file, it is open once, for writing.
  if (there && !there->is_whole_file()) door.opener().expect_writes(*there);
  SNAP_ASSIGN(access::OpenImage origin, open_layers(door.opener(), request.origin));
  SNAP_ASSIGN(const Plan plan,
              plan_store(origin.image().size(), request.chunk_bytes, request.size));
  Created created;
  if (there) {
    std::vector<File*> others;
    for (const auto& file : origin.files) others.push_back(file.get());
    SNAP_ASSIGN(const access::Target target, door.open_file(*there, request.origin.base, others));
    SNAP_ASSIGN(created.size, make_in_place(context, target, plan));
  } else {
    SNAP_ASSIGN(created.size, make_new(door, path_of_new(request.cow), plan));
  }
  created.room_chunks = std::min(capacity_of(plan, created.size), plan.origin_chunks);
  created.origin_chunks = plan.origin_chunks;
  return created;
}

Result<uint64_t> measure(const Context& context, const access::ImageSpec& origin,
                         uint64_t chunk_bytes) {
  access::Opener opener(context);
  SNAP_ASSIGN(access::OpenImage open, open_layers(opener, origin));
  SNAP_ASSIGN(const Plan plan, plan_store(open.image().size(), chunk_bytes, {}));
  return plan.enough;
}

Result<Resized> resize(const Context& context, const access::FileSpec& spec, const NewSize& size) {
  access::Door door(context, access::operations::kResize);
  SNAP_ASSIGN(const access::Target target, door.open_file(spec, {}, {}));
  File& cow = target.file();
  SNAP_TRY(access::check_no_plain_disk(context, cow));
  SNAP_ASSIGN(const uint64_t minimum, minimum_store_size(cow, context.cancel));
  SNAP_ASSIGN(const PersistentStore store, PersistentStore::open(cow));
  const uint64_t wanted = size.bytes + (size.is_added ? cow.size() : 0);
  if (wanted > kMaxFileSize) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' cannot have {} bytes", spec.name(), wanted));
  }
  if (wanted < minimum) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' cannot shrink to {}: what it holds needs {}", spec.name(),
                             counted(wanted, "byte"), minimum));
  }
  Resized resized{cow.size(), std::max(minimum, usable_store_size(store.layout(), wanted))};
  if (resized.size != wanted) {
    context.notices.say(
        fmt::format("{} bytes are no more use than {}: a chunk that is not whole, or "
                    "the last of an area that none can follow",
                    wanted, resized.size));
  }
  if (size.is_added) resized.size = std::max(resized.size, resized.before);
  if (resized.size != resized.before) {
    SNAP_TRY(cow.resize(resized.size));
    SNAP_TRY(cow.flush());
  }
  return resized;
}

Result<uint64_t> minimum_size(const Context& context, const access::FileSpec& spec) {
  access::Opener opener(context);
  SNAP_ASSIGN(const auto cow, opener.open(spec, {Access::kRead, context.policy.force_share}));
  SNAP_TRY(access::check_no_plain_disk(context, *cow));
  return minimum_store_size(*cow, context.cancel);
}

Result<uint64_t> restore(const Context& context, DataSource& dump, const std::string& cow) {
  access::Door door(context, access::operations::kRestore);
  SNAP_ASSIGN(const auto there, existing_cow(cow));
  return there ? restore_in_place(door, dump, *there) : restore_new(door, dump, path_of_new(cow));
}

// What begins as an image does was hardly ever a store: zeros in it would look like an empty one.
static Result<void> check_no_image(const Context& context, File& cow) {
  SNAP_ASSIGN(const access::ImageDriver* const driver, context.drivers.detect_image(cow));
  if (driver->kind != access::ImageKind::kImage) return {};
  return Error(
      ErrorCode::kUnsupported,
      fmt::format("'{}' has the magic of {}: it is not a dm-snapshot store (--chunk-size says "
                  "that it is one)",
                  cow.name(), driver->name));
}

Result<std::unique_ptr<RepairJob>> RepairJob::prepare(const Context& context,
                                                      const Request& request) {
  std::unique_ptr<RepairJob> job(new RepairJob(context));
  const access::ImageSpec& image = request.image;
  if (image.stores.size() > 1) {
    return Error(ErrorCode::kUnsupported,
                 "a stack of stores is not repaired at once: repair them one by one");
  }
  SalvageOptions options = request.salvage;
  const OpenOptions read{Access::kRead, context.policy.force_share};
  if (image.stores.empty()) {
    SNAP_ASSIGN(job->cow_, job->door_.opener().open(image.base, read));
  } else {
    SNAP_ASSIGN(access::OpenPair pair, open_pair(job->door_.opener(), image));
    job->cow_ = std::move(pair.cow);
    job->origin_ = std::move(pair.origin);
    options.origin_size = job->origin_->size();
  }
  if (!options.chunk_sectors) {
    SNAP_TRY(check_no_image(context, *job->cow_));
    SNAP_TRY(access::check_no_plain_disk(context, *job->cow_));
  }
  SNAP_ASSIGN(job->salvage_, Salvage::open(*job->cow_, options));
  if (job->salvage_->invalid() && !context.policy.ignore_invalid) {
    return Error(ErrorCode::kInvalidated,
                 fmt::format("'{}' is marked invalid: the origin may have been written to since "
                             "without it",
                             job->cow_->name()))
        .with_remedy(Remedy::kIgnoreInvalid);
  }
  job->options_ = request.repair;
  SNAP_ASSIGN(job->report_, plan_repair(*job->salvage_, job->options_, context.cancel));
  return job;
}

Result<void> RepairJob::run(const std::string& path) {
  // As large as before, so that there is as much room for more.
  const uint64_t size = std::max(cow_->size(), report_.size);
  SNAP_ASSIGN(const auto output, door_.make_file(path, size));
  if (output->file().size() < report_.size) {
    return Error(ErrorCode::kNoSpace, fmt::format("'{}' has {} bytes; the store needs {}", path,
                                                  output->file().size(), report_.size));
  }
  options_.target_zeroed = output->starts_zeroed();
  {
    const access::Phase phase(context_, "repairing",
                              report_.kept * salvage_->layout().chunk_bytes());
    SNAP_ASSIGN(report_, repair_store(*salvage_, options_, report_, output->file(), phase.job()));
  }
  return output->commit();
}

}  // namespace snaptool::ops
