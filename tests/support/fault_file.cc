// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fault_file.h"

namespace snaptool::test {

Result<void> FaultFile::judge_write(const FileOperation& operation) {
  if (flush_failure_) return *flush_failure_;
  return judge_(operation);
}

Result<void> FaultFile::read_at(uint64_t offset, std::span<std::byte> out) {
  SNAP_TRY(judge_({FileOperation::Kind::kRead, offset, out.size()}));
  return inner_.read_at(offset, out);
}

Result<void> FaultFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  SNAP_TRY(judge_write({FileOperation::Kind::kWrite, offset, data.size()}));
  return inner_.write_at(offset, data);
}

Result<void> FaultFile::zero_at(uint64_t offset, uint64_t length, ZeroMode mode) {
  SNAP_TRY(judge_write({FileOperation::Kind::kZero, offset, length}));
  return inner_.zero_at(offset, length, mode);
}

Result<void> FaultFile::resize(uint64_t size) {
  SNAP_TRY(judge_write({FileOperation::Kind::kResize, 0, size}));
  return inner_.resize(size);
}

Result<void> FaultFile::flush() {
  if (flush_failure_) return *flush_failure_;
  if (auto judged = judge_({FileOperation::Kind::kFlush, 0, 0}); !judged) {
    flush_failure_ = judged.error();
    return *flush_failure_;
  }
  return inner_.flush();
}

}  // namespace snaptool::test
