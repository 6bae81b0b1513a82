// SPDX-License-Identifier: Apache-2.0
#include "formats/vmdk/extents.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/vmdk/layout.h"
#include "libsnap/base/check.h"

namespace snaptool::vmdk {
namespace {

using Part = ExtentImage::Part;
using Run = ExtentImage::Run;

uint64_t total_of(const std::vector<ExtentImage::Piece>& pieces) {
  uint64_t total = 0;
  for (const ExtentImage::Piece& piece : pieces) total += piece.size;
  return total;
}

class FlatPart : public Part {
 public:
  FlatPart(std::shared_ptr<File> file, uint64_t start) : file_(std::move(file)), start_(start) {}

  Result<Run> run_at(uint64_t offset, uint64_t limit) override {
    Run run;
    run.kind = Run::Kind::kData;
    run.length = limit;
    run.file = file_.get();
    run.offset = start_ + offset;
    return run;
  }

 private:
  std::shared_ptr<File> file_;
  uint64_t start_;  // bytes
};

class ZeroPart : public Part {
 public:
  Result<Run> run_at(uint64_t /*offset*/, uint64_t limit) override {
    Run run;
    run.length = limit;
    return run;
  }
};

class ClosedPart : public Part {
 public:
  explicit ClosedPart(std::string name) : name_(std::move(name)) {}

  Result<Run> run_at(uint64_t /*offset*/, uint64_t /*limit*/) override {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' has an extent that may not be read (NOACCESS)", name_));
  }

 private:
  std::string name_;
};

}  // namespace

Result<void> ExtentImage::Part::read_packed(const Run& /*run*/, uint64_t /*offset*/,
                                            std::span<std::byte> /*out*/) {
  SNAP_CHECK(false);
  return {};
}

ExtentImage::ExtentImage(std::shared_ptr<File> file, std::vector<Piece> pieces,
                         std::shared_ptr<Image> parent)
    : MappedImage(std::move(file), total_of(pieces), std::move(parent)) {
  uint64_t at = 0;
  for (Piece& piece : pieces) {
    placed_.push_back({at, at + piece.size, std::move(piece.part)});
    at += piece.size;
  }
}

const ExtentImage::Placed& ExtentImage::placed_at(uint64_t offset) const {
  const auto found = std::upper_bound(placed_.begin(), placed_.end(), offset,
                                      [](uint64_t at, const Placed& one) { return at < one.end; });
  SNAP_CHECK(found != placed_.end());
  return *found;
}

Result<ExtentImage::Run> ExtentImage::run_at(uint64_t offset, uint64_t limit) {
  const Placed& one = placed_at(offset);
  return one.part->run_at(offset - one.start, std::min(limit, one.end - offset));
}

Result<void> ExtentImage::read_packed(const Run& run, uint64_t offset, std::span<std::byte> out) {
  const Placed& one = placed_at(offset);
  return one.part->read_packed(run, offset - one.start, out);
}

std::unique_ptr<Part> make_flat_part(std::shared_ptr<File> file, uint64_t start) {
  return std::make_unique<FlatPart>(std::move(file), start);
}

std::unique_ptr<Part> make_zero_part() { return std::make_unique<ZeroPart>(); }

std::unique_ptr<Part> make_closed_part(const std::string& name) {
  return std::make_unique<ClosedPart>(name);
}

Error in_file(Error error, const File& file) {
  return std::move(error).with_context(fmt::format("'{}'", file.name()));
}

}  // namespace snaptool::vmdk
