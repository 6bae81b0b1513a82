// SPDX-License-Identifier: Apache-2.0
// Any bytes as an image of a format of the table: nothing crashes, is read out of bounds or takes
// more memory than its tables need; extents cover what they say, and what they call zeros reads as
// such.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "formats/format.h"
#include "libsnap/io/memory_file.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/model.h"

namespace snaptool::test {
namespace {

const Cancel g_no_cancel;
constexpr uint64_t kParentBytes = 20'000;

void require(bool condition) {
  if (!condition) std::abort();
}

// Keeps its file.
class Parent : public RawImage {
 public:
  explicit Parent(std::unique_ptr<MemoryFile> file)
      : RawImage(*file, kParentBytes), file_(std::move(file)) {}

 private:
  std::unique_ptr<MemoryFile> file_;
};

void read_from(Image& image, uint64_t offset) {
  for (int steps = 0; offset < image.size() && steps < 32; ++steps) {
    const uint64_t limit = std::min<uint64_t>(image.size() - offset, kMiB);
    const auto extent = image.extent_at(offset, limit);
    Bytes out(std::min<uint64_t>(limit, 3000), std::byte{1});
    const auto read = image.read_at(offset, out);
    if (!extent) return;
    require(extent->length > 0 && extent->length <= limit);
    if (extent->zero) {
      require(read || out.size() > extent->length);
      const uint64_t known = std::min<uint64_t>(out.size(), extent->length);
      require(!read || std::all_of(out.begin(), out.begin() + static_cast<ptrdiff_t>(known),
                                   [](std::byte byte) { return byte == std::byte{0}; }));
    }
    offset += extent->length;
  }
}

void try_image(const access::ImageDriver& driver, const Bytes& bytes, bool with_parent,
               bool of_snapshot) {
  const auto file = std::make_shared<MemoryFile>("image", bytes.size());
  require(file->write_at(0, bytes).has_value());
  const auto facts = driver.facts(*file, g_no_cancel);
  access::ImageOptions options{g_no_cancel};
  if (with_parent) {
    auto below = std::make_unique<MemoryFile>("parent", kParentBytes);
    require(below->write_at(0, Bytes(kParentBytes / 2, std::byte{7})).has_value());
    options.parent = std::make_shared<Parent>(std::move(below));
  }
  if (of_snapshot) options.snapshot = "one";
  const auto image = driver.open(file, options);
  require(!image || facts.has_value());
  if (!image) return;
  require(of_snapshot || (*image)->size() == facts->size);
  for (const uint64_t start : {uint64_t{0}, (*image)->size() / 2,
                               (*image)->size() - std::min<uint64_t>((*image)->size(), 700)}) {
    read_from(**image, start);
  }
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(image)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;
  if (size < 1 || size > 256 * 1024) return 0;
  // Byte 0: bit 0, with a parent; bit 1, the snapshot "one"; bit 2, of rbd, else qcow2.
  const auto* const start = reinterpret_cast<const std::byte*>(data) + 1;
  try_image(*snaptool::all_drivers().find_image((data[0] & 4U) != 0 ? "rbd" : "qcow2"),
            Bytes(start, start + (size - 1)), (data[0] & 1U) != 0, (data[0] & 2U) != 0);
  return 0;
}
