// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/byte_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "libsnap/base/check.h"

namespace snaptool::access {

Result<ByteOutput> ByteOutput::open(Door& door, const std::string& path,
                                    StreamTarget::Content content) {
  const Cancel& cancel = door.context().cancel;
  SNAP_TRY(check_output_name(path));
  SNAP_ASSIGN(auto stream, StreamTarget::open(path, content, cancel));
  ByteOutput output(std::move(stream), cancel);
  if (output.stream_) return output;
  SNAP_ASSIGN(output.file_, door.make_file(path, 0));
  if (!output.file_->starts_zeroed()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a device: the output is a file, or '-'", path));
  }
  return output;
}

Result<void> ByteOutput::write_buffer() {
  constexpr uint64_t kWriteback = 8 * kMiB;
  const std::span<const std::byte> bytes(buffer_.get(), std::exchange(waiting_, 0));
  if (stream_) return write_all(stream_.fd(), bytes, *cancel_);
  File& file = file_->file();
  if (at_ + bytes.size() > file.size()) {
    SNAP_TRY(file.resize(at_ + std::max<uint64_t>(step_, bytes.size())));
  }
  SNAP_TRY(file.write_at(at_, bytes));
  at_ += bytes.size();
  if (at_ - writeback_at_ >= kWriteback) {
    file.start_writeback(writeback_at_, at_ - writeback_at_);
    writeback_at_ = at_;
  }
  return {};
}

Result<void> ByteOutput::write(std::span<const std::byte> bytes) {
  // Who reads a pipe shall not wait for long.
  const size_t limit = stream_ ? 64 * kKiB : kPiece;
  while (!bytes.empty()) {
    const size_t size = std::min<size_t>(bytes.size(), limit - waiting_);
    std::memcpy(buffer_.get() + waiting_, bytes.data(), size);
    waiting_ += size;
    bytes = bytes.subspan(size);
    if (waiting_ == limit) SNAP_TRY(write_buffer());
  }
  return {};
}

Result<void> ByteOutput::skip(uint64_t length) {
  SNAP_TRY(write_buffer());
  at_ += length;
  return {};
}

Result<std::unique_ptr<OutputFile>> ByteOutput::take() {
  SNAP_ASSIGN(const File* const file, written());
  SNAP_CHECK(file != nullptr);
  return std::move(file_);
}

Result<File*> ByteOutput::written() {
  SNAP_TRY(write_buffer());
  if (!file_) return nullptr;
  SNAP_TRY(file_->file().resize(at_));
  return &file_->file();
}

Result<void> ByteOutput::commit(bool durable) {
  SNAP_ASSIGN(const File* const file, written());
  return file != nullptr ? file_->commit(durable) : Result<void>();
}

}  // namespace snaptool::access
