// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "libsnap/io/file.h"

namespace snaptool::test {

// What was asked of a FaultFile.
struct FileOperation {
  enum class Kind { kRead, kWrite, kZero, kResize, kFlush };
  Kind kind = Kind::kRead;
  uint64_t offset = 0;
  uint64_t length = 0;
};

// Hands every operation to a judge before it passes it on: the judge may fail it (and what it lets
// through may be recorded there). A failed flush stays failed, as the File contract says.
class FaultFile : public File {
 public:
  using Judge = std::function<Result<void>(const FileOperation&)>;
  FaultFile(File& inner, Judge judge) : inner_(inner), judge_(std::move(judge)) {}

  const std::string& name() const override { return inner_.name(); }
  uint64_t size() const override { return inner_.size(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override;
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) override;
  Result<void> resize(uint64_t size) override;
  Result<void> flush() override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    SNAP_ASSIGN(Extent extent, inner_.extent_at(offset, limit));
    extent.file = this;
    return extent;
  }

 private:
  Result<void> judge_write(const FileOperation& operation);

  File& inner_;
  Judge judge_;
  std::optional<Error> flush_failure_;
};

}  // namespace snaptool::test
