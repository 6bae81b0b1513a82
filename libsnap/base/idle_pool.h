// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace snaptool {

// Things that are costly to make and for one thread at a time (a compressor's tables), handed from
// task to task.
template <typename T>
class IdlePool {
 public:
  class Lease {
   public:
    Lease(IdlePool& pool, std::unique_ptr<T> thing) : pool_(pool), thing_(std::move(thing)) {}
    ~Lease() {
      const std::lock_guard lock(pool_.mutex_);
      try {
        pool_.idle_.push_back(std::move(thing_));
      } catch (const std::bad_alloc&) {  // nobody takes it again
      }
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    T* operator->() { return thing_.get(); }
    T& operator*() { return *thing_; }

   private:
    IdlePool& pool_;
    std::unique_ptr<T> thing_;
  };

  // One that is idle, or what `make` makes.
  template <typename Make>
  Lease take(const Make& make) {
    std::unique_ptr<T> thing;
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        thing = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    if (thing == nullptr) thing = make();
    return Lease(*this, std::move(thing));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> idle_;  // guarded by mutex_
};

}  // namespace snaptool
