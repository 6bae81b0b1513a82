// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "libsnap/io/image.h"

namespace snaptool {

// An image of which a map says where its bytes lie: in a file, in the image below, or nowhere.
// Formats say what the map has at one place; what is read of it, and that no file is read beyond
// its end, is seen to here.
class MappedImage : public Image {
 public:
  // `parent` may be none: what would come from it is zeros, as what lies beyond its end.
  MappedImage(std::shared_ptr<File> file, uint64_t size, std::shared_ptr<Image> parent)
      : file_(std::move(file)), size_(size), parent_(std::move(parent)) {}

  const std::string& name() const override { return file_->name(); }
  uint64_t size() const override { return size_; }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;

 protected:
  // Bytes of the image that lie together.
  struct Run {
    enum class Kind {
      kZero,
      kParent,
      kData,    // at `offset` of `file`
      kPacked,  // read_packed has them
    };
    Kind kind = Kind::kZero;
    uint64_t length = 0;  // bytes, at least 1
    File* file = nullptr;
    uint64_t offset = 0;  // bytes; of packed ones, whatever is of use to read_packed
  };

  // What is at `offset`, for at most `limit` bytes; it need not be all that lies together.
  // Requires: offset + limit <= size(). Errors: kCorruption for a broken map; kIo.
  virtual Result<Run> run_at(uint64_t offset, uint64_t limit) = 0;
  // Reads bytes of a packed run, which begin at `offset` of the image. Requires: out is no longer
  // than the run.
  virtual Result<void> read_packed(const Run& run, uint64_t offset, std::span<std::byte> out);

  // What is never content of the image: a block that lies there is refused. A few ranges.
  void set_tables(std::vector<ByteRange> tables) { tables_ = std::move(tables); }
  // That these bytes are there, and are no tables. Errors: kCorruption.
  Result<void> check_there(const File& file, uint64_t offset, uint64_t length) const;

  File& file() const { return *file_; }

 private:
  Result<Run> long_run_at(uint64_t offset, uint64_t limit, size_t most_steps);
  Result<void> read_run(const Run& run, uint64_t offset, std::span<std::byte> out);

  std::shared_ptr<File> file_;
  uint64_t size_;
  std::shared_ptr<Image> parent_;
  std::vector<ByteRange> tables_;
};

}  // namespace snaptool
