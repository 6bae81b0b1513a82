// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>

#include "libsnap/io/file.h"

namespace snaptool {

// A File in memory, sparse in pages of 4 KiB: for tests, and for inputs that were decoded into
// memory.
class MemoryFile : public File {
 public:
  explicit MemoryFile(std::string name, uint64_t size = 0) : name_(std::move(name)), size_(size) {}
  MemoryFile(std::string name, std::span<const std::byte> content);

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override;
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) override;
  Result<void> resize(uint64_t size) override;
  Result<void> flush() override { return {}; }
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;

 private:
  static constexpr uint64_t kPage = 4096;
  using Page = std::array<std::byte, kPage>;

  std::string name_;
  uint64_t size_;
  mutable std::mutex mutex_;
  std::map<uint64_t, std::unique_ptr<Page>> pages_;  // by page number; guarded by mutex_
};

}  // namespace snaptool
