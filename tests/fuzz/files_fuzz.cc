// SPDX-License-Identifier: Apache-2.0
// Any bytes as a file system: what is opened can be walked to its end in bounded time; runs are in
// order and lie within it, names are fit to be names, content is what the runs say, and what the
// space is used for is said of all of it.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "formats/format.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"
#include "libsnap/io/memory_file.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/model.h"

namespace snaptool::test {
namespace {

constexpr uint64_t kMostSeen = 20'000;  // of nodes, entries and runs, for an input's time
constexpr uint64_t kMostRead = 8 * kKiB;

void demand(bool condition) {
  if (!condition) std::abort();
}

// So many times 32 KiB as the second byte says, with records of an offset (4 bytes), a length (2)
// and bytes. Bit 0 of the first byte: no sums, so that what they are of is looked at.
std::shared_ptr<MemoryFile> unpack_disk(std::span<const std::byte> bytes) {
  const bool summed = (bytes[0] & std::byte{1}) == std::byte{0};
  const uint64_t size = std::to_integer<uint64_t>(bytes[1]) * 32 * kKiB;
  auto file = std::make_shared<MemoryFile>("image", size);
  bytes = bytes.subspan(2);
  while (bytes.size() >= 6) {
    const auto offset = load_le<uint32_t>(bytes.data());
    const size_t length = std::min<size_t>(load_le<uint16_t>(bytes.data() + 4), bytes.size() - 6);
    if (offset <= size && length <= size - offset) {
      demand(file->write_at(offset, bytes.subspan(6, length)).has_value());
    }
    bytes = bytes.subspan(6 + length);
  }
  constexpr uint64_t kFeaturesAt = 1024 + 0x64;
  constexpr uint32_t kSums = 0x410;
  Bytes features(4);
  if (!summed && size > kFeaturesAt + 4) {
    demand(file->read_at(kFeaturesAt, features).has_value());
    store_le(features.data(), load_le<uint32_t>(features.data()) & ~kSums);
    demand(file->write_at(kFeaturesAt, features).has_value());
  }
  return file;
}

class FilesWalk {
 public:
  FilesWalk(access::FileSystem& fs, Image& image) : fs_(fs), image_(image) {}

  void walk() {
    uint64_t before = 0;
    (void)fs_.visit_nodes([&](const access::FileNode& node) -> Result<void> {
      demand((node.id > before || !fs_.type().starts_with("ext")) && !node.deleted);
      before = node.id;
      SNAP_TRY(count());
      try_node(node);
      return {};
    });
    for (uint64_t id = 0; id < 40; ++id) {
      const auto node = fs_.node(id);
      if (node) try_node(*node);
    }
    (void)fs_.visit_ids_at(0, image_.size(), [&](uint64_t id) -> Result<void> {
      demand(id > 0);
      return count();
    });
    space();
  }

 private:
  Result<void> count() {
    if (++seen_ > kMostSeen) return Error(ErrorCode::kInterrupted, "enough");
    return {};
  }

  void try_node(const access::FileNode& node) {
    uint64_t end = 0;
    (void)fs_.visit_runs(node, [&](const access::FileRun& run) -> Result<void> {
      demand(run.offset == end && run.length > 0 && run.offset < node.size);
      end += run.length;
      demand(!run.place || (*run.place < fs_.size() && run.length <= fs_.size() - *run.place));
      compare(node, run);
      return count();
    });
    if (node.type == access::NodeType::kLink) {
      const auto target = fs_.target(node);
      demand(!target || target->size() == node.size);
    }
    if (node.type != access::NodeType::kFolder) return;
    (void)fs_.visit_entries(node, true, [&](const access::FileEntry& entry) -> Result<void> {
      demand(!entry.name.empty() && entry.name != "." && entry.name != "..");
      demand(node.encrypted ||
             entry.name.find_first_of(std::string("/\0", 2)) == std::string::npos);
      return count();
    });
  }

  void compare(const access::FileNode& node, const access::FileRun& run) {
    if (!run.place) return;
    const uint64_t length = std::min({run.length, node.size - run.offset, kMostRead});
    Bytes read(length, std::byte{1});
    if (!fs_.read(node, run.offset, read)) return;
    demand(*run.place <= image_.size() && length <= image_.size() - *run.place);
    Bytes there(length);
    demand(image_.read_at(*run.place, there).has_value());
    demand(read == there);
  }

  void space() {
    for (uint64_t at = 0; at < std::min(fs_.size(), image_.size()) && ++seen_ < 2 * kMostSeen;) {
      const auto use = fs_.space_at(at);
      if (!use) {
        at += fs_.block_size();
        continue;
      }
      demand(use->second > at);
      at = use->second;
    }
  }

  access::FileSystem& fs_;
  Image& image_;
  uint64_t seen_ = 0;
};

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(files)(const uint8_t* data, size_t size) {
  using namespace snaptool;
  if (size < 2 || size > 256 * kKiB) return 0;
  const auto file = test::unpack_disk(std::span(reinterpret_cast<const std::byte*>(data), size));
  RawImage image(file);
  const Cancel cancel;
  std::vector<std::byte> head(std::min<uint64_t>(file->size(), access::kFileSystemHead));
  if (!image.read_at(0, head)) return 0;
  for (const access::FileSystemDriver& driver : all_drivers().file_systems) {
    if (!driver.probe(head)) continue;
    const auto fs = driver.open(image, cancel);
    if (fs) test::FilesWalk(**fs, image).walk();
    break;
  }
  return 0;
}
