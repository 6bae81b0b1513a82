// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "formats/iso9660/rock_ridge.h"
#include "libsnap/base/deflate.h"
#include "libsnap/base/io_bytes.h"

namespace snaptool::iso9660 {

// A file that zisofs has packed, block by block. The one that was unpacked last is kept.
class ZisofsFile {
 public:
  // Bytes of the file as it lies in the image.
  using ReadPacked = std::function<Result<void>(uint64_t offset, std::span<std::byte> out)>;

  // Errors: kCorruption where its head is not the one that the entry tells of; kUnsupported; those
  // of reading.
  static Result<std::unique_ptr<ZisofsFile>> open(ReadPacked read, uint64_t packed_bytes,
                                                  const Zisofs& entry);
  // Requires: offset + out.size() <= entry.size. Errors: kCorruption; those of reading.
  Result<void> read(uint64_t offset, std::span<std::byte> out);

 private:
  ZisofsFile(ReadPacked read, uint64_t packed_bytes, const Zisofs& entry)
      : read_(std::move(read)), packed_bytes_(packed_bytes), entry_(entry) {}
  Result<void> check_head() const;
  Result<void> unpack(uint64_t block);

  const ReadPacked read_;
  const uint64_t packed_bytes_;
  const Zisofs entry_;
  Inflater inflater_;
  uint64_t known_ = UINT64_MAX;  // block
  IoBytes content_;              // its
  IoBytes packed_;
};

}  // namespace snaptool::iso9660
