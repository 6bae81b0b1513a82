// SPDX-License-Identifier: Apache-2.0
#include "tests/support/failing_new.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace snaptool::testing {
namespace {

std::atomic<int64_t> g_left{-1};  // allocations until the one that fails; below 0: it is over
std::atomic<bool> g_onwards{false};
std::atomic<bool> g_armed{false};

bool fails() {
  if (!g_armed.load(std::memory_order_relaxed)) return false;
  const int64_t left = g_left.fetch_sub(1);
  return left == 1 || (left < 1 && g_onwards.load());
}

void* allocate(std::size_t size, std::size_t alignment) {
  if (fails()) throw std::bad_alloc();
  void* memory = nullptr;
  if (size == 0) size = 1;
  if (alignment <= alignof(std::max_align_t)) {
    memory = std::malloc(size);
  } else if (posix_memalign(&memory, alignment, size) != 0) {
    memory = nullptr;
  }
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void fail_allocation(int64_t nth, bool onwards) {
  g_left.store(nth);
  g_onwards.store(onwards);
  g_armed.store(nth > 0);
}

}  // namespace snaptool::testing

// All of them, as the sanitizers have their own of each that is missing.
void* operator new(std::size_t size) { return snaptool::testing::allocate(size, 1); }
void* operator new[](std::size_t size) { return snaptool::testing::allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return snaptool::testing::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return snaptool::testing::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return snaptool::testing::fails() ? nullptr : std::malloc(size == 0 ? 1 : size);
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept {
  return operator new(size, tag);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t /*alignment*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t /*size*/,
                       std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
