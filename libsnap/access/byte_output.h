// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libsnap/access/door.h"
#include "libsnap/access/stream.h"
#include "libsnap/base/io_bytes.h"

namespace snaptool::access {

// Bytes that go, one behind the other, to standard output, a pipe, or a new file, which appears
// whole or not at all.
class ByteOutput {
 public:
  // Errors: those of StreamTarget and Door::make_file; kInvalidArgument for a block device.
  static Result<ByteOutput> open(Door& door, const std::string& path,
                                 StreamTarget::Content content);
  // Into that file, which is new. It is never larger than what was written: its size may be
  // limited.
  ByteOutput(std::unique_ptr<OutputFile> file, const Cancel& cancel)
      : cancel_(&cancel), file_(std::move(file)), step_(0) {}
  // They may wait in a buffer until commit.
  Result<void> write(std::span<const std::byte> bytes);
  // So many bytes of zeros, which become a hole. Requires: is_file().
  Result<void> skip(uint64_t length);
  // The file with all that was written, to be read back; nullptr: it went to a stream.
  Result<File*> written();
  // Without it, no new file is left.
  Result<void> commit(bool durable = true);
  bool is_file() const { return file_ != nullptr; }
  // The file with all that was written, to be committed by somebody else. The last call. Requires:
  // is_file().
  Result<std::unique_ptr<OutputFile>> take();

 private:
  ByteOutput(StreamTarget stream, const Cancel& cancel)
      : cancel_(&cancel), stream_(std::move(stream)) {}
  Result<void> write_buffer();

  // In a file, larger pieces are slower: new pages of the page cache are then taken in large
  // blocks, of which fewer were used just before.
  static constexpr size_t kPiece = 256 * kKiB;
  const Cancel* cancel_;
  StreamTarget stream_;
  std::unique_ptr<OutputFile> file_;
  PageBuffer buffer_ = make_page_buffer(kPiece);
  size_t waiting_ = 0;         // bytes in the buffer
  uint64_t at_ = 0;            // where the buffer goes in the file
  uint64_t step_ = 64 * kMiB;  // the file grows by so much, or as much as is needed
  uint64_t writeback_at_ = 0;  // what is before it is on its way to the medium
};

}  // namespace snaptool::access
