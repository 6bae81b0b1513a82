// SPDX-License-Identifier: Apache-2.0
// Any bytes as an image of a format of the table: nothing crashes, is read out of bounds or takes
// more memory than its tables need; extents cover what they say, and what they call zeros reads as
// such.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "formats/format.h"
#include "formats/vhdx/layout.h"
#include "libsnap/base/endian.h"
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

// Sums that are right, so that what they are of is looked at.
void mend_vhdx(MemoryFile& file) {
  const auto mend = [&](uint64_t offset, uint64_t length) {
    if (offset > file.size() || length > file.size() - offset) return;
    Bytes bytes(length);
    require(file.read_at(offset, bytes).has_value());
    store_le(bytes.data() + 4, vhdx::checksum_of(bytes));
    require(file.write_at(offset, bytes).has_value());
  };
  for (const uint64_t place : vhdx::kHeadersAt) mend(place, vhdx::kHeaderBytes);
  for (const uint64_t place : vhdx::kRegionTablesAt) mend(place, vhdx::kRegionTableBytes);
  constexpr uint64_t kUnit = 4096;
  Bytes unit(12);
  for (uint64_t at = 0; at + kUnit <= file.size(); at += kUnit) {
    require(file.read_at(at, unit).has_value());
    if (std::memcmp(unit.data(), "loge", 4) != 0) continue;
    const auto length = load_le<uint32_t>(unit.data() + 8);
    if (length >= kUnit && length <= 64 * kKiB) mend(at, length);
  }
}

// A file of so many MiB as the first byte says, with records of an offset (4 bytes), a length (2)
// and bytes: images of VHDX have at least 3 MiB.
std::shared_ptr<MemoryFile> unpack(std::span<const std::byte> bytes) {
  if (bytes.empty()) return std::make_shared<MemoryFile>("image", 0);
  const uint64_t size = std::min<uint64_t>(std::to_integer<uint64_t>(bytes[0]), 16) * kMiB;
  auto file = std::make_shared<MemoryFile>("image", size);
  bytes = bytes.subspan(1);
  while (bytes.size() >= 6) {
    const auto offset = load_le<uint32_t>(bytes.data());
    const size_t length = std::min<size_t>(load_le<uint16_t>(bytes.data() + 4), bytes.size() - 6);
    const auto piece = bytes.subspan(6, length);
    if (offset <= size && length <= size - offset)
      require(file->write_at(offset, piece).has_value());
    bytes = bytes.subspan(6 + length);
  }
  mend_vhdx(*file);
  return file;
}

std::shared_ptr<MemoryFile> file_with(std::span<const std::byte> bytes) {
  auto file = std::make_shared<MemoryFile>("image", bytes.size());
  require(file->write_at(0, bytes).has_value());
  return file;
}

void try_image(const access::ImageDriver& driver, const std::shared_ptr<MemoryFile>& file,
               bool with_parent, bool of_snapshot) {
  const auto facts = driver.facts(*file, g_no_cancel);
  access::ImageOptions options{g_no_cancel};
  // Whatever files an image is made of.
  options.open_part = [&](const std::string&) { return Result<std::shared_ptr<File>>(file); };
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
  // Byte 0: bit 0, with a parent; bit 1, the snapshot "one"; the rest, the format.
  constexpr std::array kFormats = {"qcow2", "rbd", "vdi", "vpc", "vhdx", "vmdk", "simg", "ewf"};
  const std::string_view format = kFormats[(data[0] >> 2U) % kFormats.size()];
  const auto& driver = *snaptool::all_drivers().find_image(format);
  const std::span bytes(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  const auto file = format == "vhdx" ? unpack(bytes) : file_with(bytes);
  try_image(driver, file, (data[0] & 1U) != 0, (data[0] & 2U) != 0);
  if (driver.check_sums != nullptr) {
    snaptool::access::ImageOptions options{g_no_cancel};
    snaptool::Progress progress;
    (void)driver.check_sums(file, options, {progress, g_no_cancel});
  }
  return 0;
}
