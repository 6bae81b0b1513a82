// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace snaptool {

// Memory that begins where a page does. The kernel copies to and from the page cache much more
// slowly where the two ends differ by a few bytes within a page, as what malloc gives does: reading
// took 1.6 times as long (tests/bench/README.md).
inline constexpr std::align_val_t kPage{4096};

template <typename T>
struct PageAllocator {
  using value_type = T;
  PageAllocator() = default;
  template <typename U>
  PageAllocator(const PageAllocator<U>& /*other*/) {}  // NOLINT: as allocators convert
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kPage)); }
  void deallocate(T* memory, size_t /*count*/) { ::operator delete(memory, kPage); }
  bool operator==(const PageAllocator& /*other*/) const { return true; }
};

// A buffer for reading and writing files.
using IoBytes = std::vector<std::byte, PageAllocator<std::byte>>;

// The same, but what resize adds is not zeroed.
template <typename T>
struct RawPageAllocator : PageAllocator<T> {
  using PageAllocator<T>::PageAllocator;
  template <typename U>
  RawPageAllocator(const RawPageAllocator<U>& /*other*/) {}  // NOLINT: as allocators convert
  template <typename U>
  struct rebind {
    using other = RawPageAllocator<U>;
  };
  template <typename U>
  void construct(U* /*where*/) {}
  template <typename U, typename... Arguments>
  void construct(U* where, Arguments&&... arguments) {
    ::new (static_cast<void*>(where)) U(std::forward<Arguments>(arguments)...);
  }
};
using RawBytes = std::vector<std::byte, RawPageAllocator<std::byte>>;

struct PageDeleter {
  void operator()(std::byte* memory) const { ::operator delete[](memory, kPage); }
};
// The same, but not zeroed: its pages are only there once they are used.
using PageBuffer = std::unique_ptr<std::byte[], PageDeleter>;
inline PageBuffer make_page_buffer(size_t size) { return PageBuffer(new (kPage) std::byte[size]); }

}  // namespace snaptool
