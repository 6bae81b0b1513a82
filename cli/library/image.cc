// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <mutex>

#include "cli/library/calls.h"
#include "cli/library/options.h"
#include "formats/format.h"
#include "libsnap/base/counted.h"
#include "libsnap/ops/named_image.h"

using snaptool::Error;
using snaptool::ErrorCode;
using snaptool::Result;
namespace library = snaptool::library;

struct snap_image {
  library::Notes notes;
  library::Options options;
  std::unique_ptr<snaptool::ops::NamedImage> opened;
  std::mutex one_at_a_time;          // for a writer
  const pid_t process = ::getpid();  // whose it is: a child has a copy of it, and one file with it
};

namespace snaptool::library {
namespace {

Result<ops::NamedImage::Request> request_of(const char* name, const Options& options) {
  SNAP_TRY(check_given(name, "name"));
  SNAP_TRY(options.check_taken("open"));
  ops::NamedImage::Request request;
  request.name = name;
  SNAP_ASSIGN(request.settings, options.settings());
  SNAP_ASSIGN(request.write, options.flag("write"));
  const std::string* const store = options.text("store");
  if (!request.write && options.text("force") != nullptr) {
    return Error(ErrorCode::kInvalidArgument, "the option force goes with write");
  }
  if (store != nullptr) {
    SNAP_ASSIGN(request.kind, ops::parse_store_kind(*store));
  }
  return request;
}

Result<void> check_range(snap_image& image, uint64_t offset, uint64_t length) {
  const uint64_t size = image.opened->image().size();
  if (offset <= size && length <= size - offset) return {};
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("{} from byte {} on pass the end of the image, which has {}",
                           counted(length, "byte"), offset, size));
}

Result<void> check_writable(const snap_image& image) {
  if (image.opened->live() != nullptr) return {};
  return Error(ErrorCode::kInvalidArgument, "the image was opened without the option write");
}

// Alone, where the image is one that is written to.
std::unique_lock<std::mutex> lock_of(snap_image& image) {
  std::unique_lock<std::mutex> lock(image.one_at_a_time, std::defer_lock);
  if (image.opened->live() != nullptr) lock.lock();
  return lock;
}

// A call that uses an image. Warnings are handed over at its end, also when it fails.
template <typename Value, typename Work>
Value use(const char* function, snap_image* image, const Work& work) noexcept {
  return entry(function, Value(-1), [&]() -> Result<Value> {
    SNAP_TRY(check_given(image, "image"));
    if (image->process != ::getpid()) {
      return Error(ErrorCode::kInvalidArgument, "the image was opened before a fork");
    }
    auto result = work();
    image->options.deliver(image->notes);
    return result;
  });
}

Result<int> map(snap_image& image, uint64_t offset, uint64_t length, snap_extent* each,
                void* user) {
  const uint64_t end = offset + length;
  while (offset < end) {
    auto lock = lock_of(image);
    SNAP_ASSIGN(const Extent extent, image.opened->image().extent_at(offset, end - offset));
    if (lock) lock.unlock();  // the callback may use the image
    const int told = each(user, offset, extent.length, extent.zero ? 1 : 0, extent.depth);
    if (told > 0) return 1;
    if (told < 0) return Error(ErrorCode::kInterrupted, "interrupted");
    offset += extent.length;
  }
  return 0;
}

}  // namespace
}  // namespace snaptool::library

using namespace snaptool::library;  // NOLINT: the interface has no namespaces

snap_image* snap_image_open(const char* name, const snap_options* options) {
  return entry<snap_image*>(__func__, nullptr, [&]() -> Result<snap_image*> {
    auto image = std::make_unique<snap_image>();
    image->options = options_of(options);
    SNAP_ASSIGN(const auto request, request_of(name, image->options));
    auto opened = snaptool::ops::NamedImage::open(snaptool::all_drivers(), image->notes, request);
    image->options.deliver(image->notes);
    if (!opened) return std::move(opened).error();
    image->opened = *std::move(opened);
    return image.release();
  });
}

int64_t snap_image_size(snap_image* image) {
  return use<int64_t>(__func__, image, [&]() -> Result<int64_t> {
    return static_cast<int64_t>(image->opened->image().size());
  });
}

int snap_image_is_writable(snap_image* image) {
  return use<int>(__func__, image,
                  [&]() -> Result<int> { return image->opened->live() != nullptr ? 1 : 0; });
}

int snap_image_read(snap_image* image, void* buffer, size_t count, uint64_t offset) {
  return use<int>(__func__, image, [&]() -> Result<int> {
    if (count > 0) SNAP_TRY(check_given(buffer, "buffer"));
    SNAP_TRY(check_range(*image, offset, count));
    const auto lock = lock_of(*image);
    SNAP_TRY(image->opened->image().read_at(offset, {static_cast<std::byte*>(buffer), count}));
    return 0;
  });
}

int snap_image_map(snap_image* image, uint64_t offset, uint64_t length, snap_extent* each,
                   void* user) {
  return use<int>(__func__, image, [&]() -> Result<int> {
    SNAP_TRY(check_given(reinterpret_cast<const void*>(each), "each"));
    SNAP_TRY(check_range(*image, offset, length));
    return map(*image, offset, length, each, user);
  });
}

int snap_image_write(snap_image* image, const void* buffer, size_t count, uint64_t offset) {
  return use<int>(__func__, image, [&]() -> Result<int> {
    if (count > 0) SNAP_TRY(check_given(buffer, "buffer"));
    SNAP_TRY(check_writable(*image));
    SNAP_TRY(check_range(*image, offset, count));
    const auto lock = lock_of(*image);
    SNAP_TRY(
        image->opened->image().write_at(offset, {static_cast<const std::byte*>(buffer), count}));
    return 0;
  });
}

int snap_image_trim(snap_image* image, uint64_t offset, uint64_t length) {
  return use<int>(__func__, image, [&]() -> Result<int> {
    SNAP_TRY(check_writable(*image));
    SNAP_TRY(check_range(*image, offset, length));
    const auto lock = lock_of(*image);
    SNAP_TRY(image->opened->live()->trim(offset, length));
    return 0;
  });
}

int snap_image_flush(snap_image* image) {
  return use<int>(__func__, image, [&]() -> Result<int> {
    SNAP_TRY(check_writable(*image));
    const auto lock = lock_of(*image);
    SNAP_TRY(image->opened->image().flush());
    return 0;
  });
}

int snap_image_close(snap_image* image) {
  const std::unique_ptr<snap_image> owned(image);
  if (image == nullptr || image->opened->live() == nullptr) return 0;
  if (image->process != ::getpid()) return 0;  // what is to be flushed is the parent's to flush
  return use<int>(__func__, image, [&]() -> Result<int> {
    const auto lock = lock_of(*image);
    SNAP_TRY(image->opened->image().flush());
    return 0;
  });
}
