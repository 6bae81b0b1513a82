// SPDX-License-Identifier: Apache-2.0
//
// What nbdkit asks of a plugin. Every entry catches what may be thrown: no exception leaves it.
#include <algorithm>
#include <cerrno>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <span>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "cli/nbdkit/served.h"
#include "formats/format.h"
#include "libsnap/base/printable.h"
#include "libsnap/base/units.h"
#include "libsnap/io/sandbox.h"

// That of a writer is another: see thread_model_of.
#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

namespace snaptool::nbdkit {
namespace {

Parameters& parameters() {
  static Parameters one;
  return one;
}
std::unique_ptr<ops::NamedImage>& served() {
  static std::unique_ptr<ops::NamedImage> one;
  return one;
}

int errno_of(const Error& error) {
  if (error.sys_errno() != 0) return error.sys_errno();
  if (error.code() == ErrorCode::kNoSpace) return ENOSPC;
  return error.code() == ErrorCode::kInvalidArgument ? EINVAL : EIO;
}

// The work of an entry: 0, or -1 after the error was told.
template <typename Work>
int entry(const Work& work) noexcept {
  try {
    const Result<void> done = work();
    if (done) return 0;
    nbdkit_error("%s", printable(done.error().describe()).c_str());
    nbdkit_set_error(errno_of(done.error()));
  } catch (const std::bad_alloc&) {
    nbdkit_error("out of memory");
    nbdkit_set_error(ENOMEM);
  } catch (const std::exception& error) {
    nbdkit_error("internal error: %s", error.what());
    nbdkit_set_error(EIO);
  }
  return -1;
}

int config(const char* key, const char* value) {
  return entry([&] { return parameters().set(key, value); });
}

int config_complete() {
  return entry([] { return parameters().check(); });
}

// Before nbdkit goes into the background, so that what is wrong is told.
int get_ready() {
  return entry([]() -> Result<void> {
    static const Log log;
    SNAP_ASSIGN(served(), ops::NamedImage::open(all_drivers(), log, parameters().request()));
    return {};
  });
}

// All files are open. Only what serves is confined, not what nbdkit may be asked to run.
int after_fork() {
  return entry([]() -> Result<void> {
    if (!parameters().sandbox()) return {};
    AllowedFiles none;
    none.accepts = true;
    nbdkit_debug("sandbox: %s", enter_sandbox(none).c_str());
    return {};
  });
}

void cleanup() {
  static_cast<void>(entry([]() -> Result<void> {
    const auto last = std::move(served());
    return last != nullptr && last->live() != nullptr ? last->image().flush() : Result<void>();
  }));
}

// A view that is written to takes one request after the other.
int thread_model_of() {
  return parameters().write() ? NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS
                              : NBDKIT_THREAD_MODEL_PARALLEL;
}

void* open(int /*readonly*/) { return NBDKIT_HANDLE_NOT_NEEDED; }

int64_t get_size(void* /*handle*/) { return static_cast<int64_t>(served()->image().size()); }
int is_live(void* /*handle*/) { return served()->live() != nullptr ? 1 : 0; }
int yes(void* /*handle*/) { return 1; }
int can_fua(void* /*handle*/) {
  return served()->live() != nullptr ? NBDKIT_FUA_EMULATE : NBDKIT_FUA_NONE;
}
int can_cache(void* /*handle*/) { return NBDKIT_CACHE_NATIVE; }

int block_size(void* /*handle*/, uint32_t* minimum, uint32_t* preferred, uint32_t* maximum) {
  const auto* const live = served()->live();
  *minimum = live == nullptr ? 1 : 512;
  *preferred =
      live == nullptr
          ? 4096
          : static_cast<uint32_t>(std::clamp<uint64_t>(live->chunk_bytes(), 512, 32 * kMiB));
  *maximum = std::numeric_limits<uint32_t>::max();
  return 0;
}

int pread(void* /*handle*/, void* buffer, uint32_t count, uint64_t offset, uint32_t /*flags*/) {
  return entry([&] {
    return served()->image().read_at(offset, {static_cast<std::byte*>(buffer), count});
  });
}

int pwrite(void* /*handle*/, const void* buffer, uint32_t count, uint64_t offset,
           uint32_t /*flags*/) {
  return entry([&] {
    return served()->image().write_at(offset, {static_cast<const std::byte*>(buffer), count});
  });
}

int flush(void* /*handle*/, uint32_t /*flags*/) {
  return entry([] { return served()->image().flush(); });
}

int trim(void* /*handle*/, uint32_t count, uint64_t offset, uint32_t /*flags*/) {
  return entry([&] { return served()->live()->trim(offset, count); });
}

int cache(void* /*handle*/, uint32_t count, uint64_t offset, uint32_t /*flags*/) {
  return entry([&]() -> Result<void> {
    served()->image().will_need(offset, count);
    return {};
  });
}

int extents(void* /*handle*/, uint32_t count, uint64_t offset, uint32_t flags,
            nbdkit_extents* list) {
  // A client asks again for what is left out.
  constexpr int kMost = 65536;
  return entry([&]() -> Result<void> {
    Image& image = served()->image();
    const uint64_t end = offset + count;
    std::optional<bool> first;
    for (int i = 0; i < kMost && offset < end; ++i) {
      SNAP_ASSIGN(const Extent extent, image.extent_at(offset, end - offset));
      if (first && *first != extent.zero && (flags & NBDKIT_FLAG_REQ_ONE) != 0) return {};
      first = extent.zero;
      const uint32_t type = extent.zero ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0;
      if (nbdkit_add_extent(list, offset, extent.length, type) < 0) {
        return Error::from_errno(errno, "cannot list extents");
      }
      offset += extent.length;
    }
    return {};
  });
}

nbdkit_plugin make_plugin() {
  nbdkit_plugin plugin{};
  plugin.name = "snaptool";
  plugin.longname = "snaptool: dm-snapshot stores and disk images";
  plugin.version = SNAPTOOL_VERSION;
  plugin.description = "Serves any image that snaptool can name, and writes to snapshots.";
  plugin.config = config;
  plugin.config_complete = config_complete;
  plugin.config_help =
      "[image=]IMAGE                The image: a file, ORIGIN@COW, disk.dd#p2, ...\n"
      "format=NAME                  What the file is taken for.\n"
      "follow-parents=folder        Open the parents that IMAGE names ('anywhere': wherever).\n"
      "parent=IMAGE0                Its parent, instead of the one that it names.\n"
      "write=true                   Write to the view ORIGIN@COW: COW gets the data.\n"
      "store=P|PO                   A full COW becomes invalid, or (default) takes no more.\n"
      "See snaptool-serve(1).";
  plugin.magic_config_key = "image";
  plugin.thread_model = thread_model_of;
  plugin.get_ready = get_ready;
  plugin.after_fork = after_fork;
  plugin.cleanup = cleanup;
  plugin.open = open;
  plugin.get_size = get_size;
  plugin.block_size = block_size;
  plugin.can_write = is_live;
  plugin.can_flush = is_live;
  plugin.can_trim = is_live;
  plugin.can_fua = can_fua;
  plugin.can_multi_conn = yes;
  plugin.can_extents = yes;
  plugin.can_cache = can_cache;
  plugin.pread = pread;
  plugin.pwrite = pwrite;
  plugin.flush = flush;
  plugin.trim = trim;
  plugin.cache = cache;
  plugin.extents = extents;
  return plugin;
}

nbdkit_plugin plugin = make_plugin();

}  // namespace
}  // namespace snaptool::nbdkit

using snaptool::nbdkit::plugin;
NBDKIT_REGISTER_PLUGIN(plugin)
