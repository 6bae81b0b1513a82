// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "libsnap/io/file.h"

namespace snaptool {

// What a guest sees: content, wherever it lies. Layers (a snapshot over its origin) are Images over
// Images. Offsets and lengths are bytes. Several threads may read at once.
class Image {
 public:
  virtual ~Image() = default;
  Image() = default;
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  virtual const std::string& name() const = 0;
  virtual uint64_t size() const = 0;
  // Fills `out` from `offset`. Requires: the range lies within size().
  // Errors: kCorruption where the content is not there (a file that ends early, a broken entry);
  // kIo.
  virtual Result<void> read_at(uint64_t offset, std::span<std::byte> out) = 0;
  // The extent that starts at `offset`, at most `limit` bytes. It need not be maximal.
  // Requires: offset < size(), limit > 0.
  virtual Result<Extent> extent_at(uint64_t offset, uint64_t limit) = 0;
  // A hint that the range will be read soon.
  virtual void will_need(uint64_t /*offset*/, uint64_t /*length*/) {}
  // What File::start_writeback says, for the files that the range lies in. What passes size() is
  // left out.
  void start_writeback(uint64_t offset, uint64_t length);
  // As read_at, but what the media of the files have that the range lies in (File::read_medium).
  Result<void> read_medium(uint64_t offset, std::span<std::byte> out);

  // Images that can be written override these; the others return kUnsupported. Nothing is durable
  // before flush. No other call of this Image may run meanwhile, unless its class says so.
  // Requires: the range lies within size(). Errors: kIo, kNoSpace; kInvalidated.
  virtual Result<void> write_at(uint64_t offset, std::span<const std::byte> data);
  // Makes the range read as zeros and gives its space back where that can be done.
  virtual Result<void> punch_at(uint64_t offset, uint64_t length);
  // Makes everything written durable. Errors: kIo, kNoSpace; a failed one stays failed.
  virtual Result<void> flush();
};

// A raw image: the bytes of a file, cut to `size`.
class RawImage : public Image {
 public:
  // Requires: `file` outlives this, size <= file.size().
  RawImage(File& file, uint64_t size);
  // All of the file, which it keeps.
  explicit RawImage(std::shared_ptr<File> file);

  const std::string& name() const override { return file_.name(); }
  uint64_t size() const override { return size_; }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;
  void will_need(uint64_t offset, uint64_t length) override { file_.will_need(offset, length); }
  // These require that the file is open for writing; several threads may write at once.
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override;
  Result<void> punch_at(uint64_t offset, uint64_t length) override;
  Result<void> flush() override { return file_.flush(); }

 private:
  std::shared_ptr<File> owned_;
  File& file_;
  uint64_t size_;
};

// The same image, of whose holes and places nothing is known: all of it is read.
class UnmappedImage : public Image {
 public:
  // Requires: `image` outlives this.
  explicit UnmappedImage(Image& image) : image_(image) {}

  const std::string& name() const override { return image_.name(); }
  uint64_t size() const override { return image_.size(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    return image_.read_at(offset, out);
  }
  Result<Extent> extent_at(uint64_t /*offset*/, uint64_t limit) override {
    return Extent{limit, false, 0, nullptr, std::nullopt};
  }
  void will_need(uint64_t offset, uint64_t length) override { image_.will_need(offset, length); }

 private:
  Image& image_;
};

}  // namespace snaptool
