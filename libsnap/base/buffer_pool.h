// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <mutex>
#include <new>
#include <span>
#include <vector>

#include "libsnap/base/io_bytes.h"
#include "libsnap/base/units.h"

namespace snaptool {

// Buffers of one size, handed from task to task so that their pages are faulted in once.
class BufferPool {
 public:
  explicit BufferPool(size_t size = kIoPiece) : size_(size) {}

  size_t size() const { return size_; }

  class Lease {
   public:
    explicit Lease(BufferPool& pool) : pool_(pool), buffer_(pool.take()) {}
    ~Lease() { pool_.give_back(std::move(buffer_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    std::span<std::byte> bytes() { return {buffer_.get(), pool_.size_}; }

   private:
    BufferPool& pool_;
    PageBuffer buffer_;
  };

 private:
  PageBuffer take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return make_page_buffer(size_);
    auto buffer = std::move(free_.back());
    free_.pop_back();
    return buffer;
  }
  void give_back(PageBuffer buffer) {
    const std::lock_guard lock(mutex_);
    try {
      free_.push_back(std::move(buffer));
    } catch (const std::bad_alloc&) {  // nobody takes it again
    }
  }

  size_t size_;
  std::mutex mutex_;
  std::vector<PageBuffer> free_;  // guarded by mutex_
};

}  // namespace snaptool
