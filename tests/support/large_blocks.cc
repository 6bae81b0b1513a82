// SPDX-License-Identifier: Apache-2.0
// Linked into a program, keeps its large blocks of memory for the next of their size.
// AddressSanitizer maps and unmaps each anew: a page fault for every page, which was half the time
// of the tests that hold whole images. A block that is free, and what is over at its end, are
// poisoned as the sanitizer would.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#endif

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kLeast = std::size_t{128} << 10;
constexpr std::size_t kMost = std::size_t{16} << 20;
constexpr std::size_t kMostKept = std::size_t{128} << 20;  // bytes, of what is free

template <typename T>
struct Malloc {  // not operator new again
  using value_type = T;
  Malloc() = default;
  template <typename U>
  Malloc(const Malloc<U>& /*other*/) {}  // NOLINT: as allocators convert
  T* allocate(std::size_t count) {
    void* const memory = std::malloc(count * sizeof(T));
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t /*count*/) { std::free(memory); }
  bool operator==(const Malloc& /*other*/) const { return true; }
};

class LargeBlocks {
 public:
  static LargeBlocks& get() {
    static auto* const blocks = new (std::malloc(sizeof(LargeBlocks))) LargeBlocks;
    return *blocks;
  }

  void* allocate(std::size_t size) {
    const std::size_t whole = std::bit_ceil(size);
    const std::lock_guard lock(mutex_);
    auto& free = free_[static_cast<std::size_t>(std::countr_zero(whole))];
    void* memory = nullptr;
    if (!free.empty()) {
      memory = free.back();
      free.pop_back();
      kept_ -= whole;
    } else if (posix_memalign(&memory, kPage, whole) != 0) {
      throw std::bad_alloc();
    }
    used_[hidden(memory)] = whole;
    ASAN_POISON_MEMORY_REGION(memory, whole);
    ASAN_UNPOISON_MEMORY_REGION(memory, size);
    return memory;
  }

  // False where it is none of these.
  bool release(void* memory) {
    if (memory == nullptr || reinterpret_cast<std::uintptr_t>(memory) % kPage != 0) return false;
    const std::lock_guard lock(mutex_);
    const auto used = used_.find(hidden(memory));
    if (used == used_.end()) return false;
    const std::size_t whole = used->second;
    used_.erase(used);
    if (kept_ + whole > kMostKept) {
      ASAN_UNPOISON_MEMORY_REGION(memory, whole);
      std::free(memory);
      return true;
    }
    ASAN_POISON_MEMORY_REGION(memory, whole);
    free_[static_cast<std::size_t>(std::countr_zero(whole))].push_back(memory);
    kept_ += whole;
    return true;
  }

 private:
  // One that nothing else points to is a leak, and shall be found.
  static std::uintptr_t hidden(void* memory) { return ~reinterpret_cast<std::uintptr_t>(memory); }

  using Use = std::pair<const std::uintptr_t, std::size_t>;
  std::mutex mutex_;
  std::vector<void*, Malloc<void*>> free_[64];  // by the power of two that they are long
  std::size_t kept_ = 0;                        // bytes in free_
  std::unordered_map<std::uintptr_t, std::size_t, std::hash<std::uintptr_t>,
                     std::equal_to<std::uintptr_t>, Malloc<Use>>
      used_;
};

void* allocate(std::size_t size, std::size_t alignment) {
  if (size >= kLeast && size <= kMost && alignment <= kPage) {
    return LargeBlocks::get().allocate(size);
  }
  void* memory = nullptr;
  if (alignment <= alignof(std::max_align_t)) {
    memory = std::malloc(size == 0 ? 1 : size);
  } else if (posix_memalign(&memory, alignment, size == 0 ? 1 : size) != 0) {
    memory = nullptr;
  }
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release(void* memory) {
  if (!LargeBlocks::get().release(memory)) std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, 1); }
void* operator new[](std::size_t size) { return allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return std::malloc(size == 0 ? 1 : size);
}
void* operator new[](std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t /*size*/) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t /*alignment*/) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t /*size*/,
                       std::align_val_t /*alignment*/) noexcept {
  release(memory);
}
