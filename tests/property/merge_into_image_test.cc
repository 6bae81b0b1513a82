// SPDX-License-Identifier: Apache-2.0
// Power cuts while an image is merged into a parent that is an image of a format: below the child,
// the parent shows the same at any time, and once more of the same makes it equal.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "formats/format.h"
#include "formats/vpc/layout.h"
#include "libsnap/base/endian.h"
#include "libsnap/ops/convert_image.h"
#include "libsnap/ops/merge_child.h"
#include "tests/support/crash.h"
#include "tests/support/scratch.h"
#include "tests/support/seed.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

constexpr uint64_t kBlock = 256 * kKiB;
const Cancel g_never;

// What was made, and what is below it: the first is the lowest.
struct Layer {
  std::string format;
  Bytes file;
};
using Chain = std::vector<Layer>;

std::unique_ptr<Image> open_layer(const Chain& chain, size_t index) {
  access::ImageOptions options{g_never};
  auto file = std::make_shared<MemoryFile>("layer", chain[index].file);
  if (chain[index].format == "raw") return std::make_unique<RawImage>(std::move(file));
  if (index > 0) options.parent = open_layer(chain, index - 1);
  auto image = all_drivers().find_image(chain[index].format)->open(std::move(file), options);
  return image ? *std::move(image) : nullptr;
}

// What the topmost layer shows; nothing where it cannot be read.
Bytes shown_by(const Chain& chain) {
  const auto image = open_layer(chain, chain.size() - 1);
  if (image == nullptr) return {};
  Bytes bytes(image->size());
  return image->read_at(0, bytes) ? bytes : Bytes();
}

Uuid some_uuid(std::mt19937_64& random) {
  Uuid uuid;
  for (std::byte& byte : uuid) byte = static_cast<std::byte>(random());
  return uuid;
}

// Blocks of a VHD image, some absent; of a differencing one, some sectors, and junk in the others.
class SmallVhd {
 public:
  SmallVhd(vpc::Type type, uint64_t size, const Uuid& parent, std::mt19937_64& random)
      : random_(random) {
    footer_.type = type;
    footer_.size = size;
    footer_.uuid = some_uuid(random);
    header_.table_offset = vpc::kFooterBytes + vpc::kHeaderBytes;
    header_.blocks = div_round_up(size, kBlock);
    header_.block_size = kBlock;
    header_.parent = parent;
  }

  const Uuid& uuid() const { return footer_.uuid; }

  Bytes make() {
    const auto footer = vpc::encode_footer(footer_);
    put(0, footer);
    put(vpc::kFooterBytes, header());
    Bytes table(512, std::byte{0xff});
    put(header_.table_offset, table);
    for (uint64_t block = 0; block < header_.blocks; ++block) {
      if (random_() % 3 == 0) continue;
      store_be(table.data() + 4 * block, static_cast<uint32_t>(bytes_.size() / kSectorSize));
      add_block();
    }
    put(header_.table_offset, table);
    put(bytes_.size(), footer);
    return bytes_;
  }

 private:
  void put(uint64_t offset, const Bytes& bytes) {
    bytes_.resize(std::max<uint64_t>(bytes_.size(), offset + bytes.size()));
    std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<ptrdiff_t>(offset));
  }

  // What only differencing images have is not written by snaptool.
  Bytes header() const {
    Bytes bytes = vpc::encode_header(header_);
    std::copy(header_.parent.begin(), header_.parent.end(), bytes.begin() + 40);
    std::string_view name = "below";
    for (size_t i = 0; i < name.size(); ++i) bytes[65 + 2 * i] = static_cast<std::byte>(name[i]);
    store_be(bytes.data() + 36, uint32_t{0});
    uint32_t sum = 0;
    for (const std::byte byte : bytes) sum += std::to_integer<uint32_t>(byte);
    store_be(bytes.data() + 36, ~sum);
    return bytes;
  }

  void add_block() {
    Bytes bits(kSectorSize);
    const bool differs = footer_.type == vpc::Type::kDifferencing;
    std::fill_n(bits.begin(), kBlock / kSectorSize / 8, differs ? std::byte{0} : std::byte{0xff});
    for (int i = 0; i < 5 && differs; ++i) {
      const uint64_t from = random_() % 64;
      for (uint64_t n = from; n < from + random_() % 3; ++n)
        bits[n] = static_cast<std::byte>(random_());
    }
    put(bytes_.size(), bits);
    put(bytes_.size(), random_() % 4 == 0 ? Bytes(kBlock) : random_bytes(kBlock, random_));
  }

  std::mt19937_64& random_;
  vpc::Footer footer_;
  vpc::Header header_;
  Bytes bytes_;
};

// The parent is the last but one.
Chain vhd_chain(std::mt19937_64& random) {
  const uint64_t size = kSectorSize * (1 + random() % 1500);
  Chain chain;
  const bool differs = random() % 2 == 0;
  if (differs) chain.push_back({"raw", random_bytes(size, random)});
  const vpc::Type type = differs ? vpc::Type::kDifferencing : vpc::Type::kDynamic;
  SmallVhd parent(type, size, {}, random);
  chain.push_back({"vpc", parent.make()});
  chain.push_back({"vpc", SmallVhd(vpc::Type::kDifferencing, size, parent.uuid(), random).make()});
  return chain;
}

Bytes made_of(const std::string& format, const Bytes& content, Image* below,
              access::CreateOptions options) {
  MemoryFile source("source", content);
  RawImage image(source, content.size());
  MemoryFile file("made", 0);
  options.size = content.size();
  auto writer = all_drivers().find_image(format)->create(file, options);
  EXPECT_TRUE(writer);
  ops::ConvertOptions convert;
  convert.base = below;
  Progress progress;
  EXPECT_TRUE(ops::convert_image(image, **writer, convert, Job{progress, g_never, 1}));
  return content_of(file);
}

// A qcow2 overlay over VHDX: the parent's identity is not asked for.
Chain vhdx_chain(std::mt19937_64& random) {
  Bytes content(2 * kMiB + kSectorSize * (random() % 1000));
  const Bytes data = random_bytes(100 * kKiB, random);
  std::copy(data.begin(), data.end(), content.begin() + (random() % 2 == 0 ? 0 : 1200 * kKiB));
  access::CreateOptions options;
  options.settings["block_size"] = "1M";
  Chain chain{{"vhdx", made_of("vhdx", content, nullptr, options)}};
  for (int i = 0; i < 6; ++i) {
    const Bytes piece = random_bytes(1 + random() % 5000, random);
    std::copy(piece.begin(), piece.end(),
              content.begin() + static_cast<ptrdiff_t>(random() % (content.size() - 5000)));
  }
  access::CreateOptions over;
  over.parent.emplace();
  over.parent->name = "parent";
  over.parent->format = "vhdx";
  over.settings["cluster_size"] = "512";
  const auto below = open_layer(chain, 0);
  chain.push_back({"qcow2", made_of("qcow2", content, below.get(), over)});
  return chain;
}

// Merges the topmost layer into the one below it, which is `parent`.
Result<ops::ChildMerged> merge(const Chain& chain, File& parent) {
  const Scratch scratch;
  TestContext context;
  context.policy.follow_parents = access::Parents::kAnywhere;
  std::vector<std::unique_ptr<MemoryFile>> files;
  const auto add = [&](const std::string& name, File& file) {
    const std::string path = scratch.path() / name;
    std::ofstream(path).put('x');
    context.files.add(path, file);
    return path;
  };
  const auto add_layer = [&](const std::string& name, const Layer& layer) {
    files.push_back(std::make_unique<MemoryFile>(name, layer.file));
    return add(name, *files.back());
  };
  ops::ChildMergeRequest request;
  request.parent = access::FileSpec(add("parent", parent));
  request.child = add_layer("child", chain.back());
  if (chain.size() > 2) add_layer("below", chain.front());
  return ops::merge_child(context.get(2), request);
}

// Crash states after which something is lost, or which another run does not mend.
size_t count_lost(const Chain& chain, FlushFault fault, size_t sampled, std::mt19937_64& random) {
  const Bytes content = shown_by(chain);
  EXPECT_FALSE(content.empty());
  Chain torn = chain;
  Layer& below = torn[torn.size() - 2];
  const auto parent_shows = [&](const Bytes& file) {
    Chain parents(torn.begin(), torn.end() - 1);
    parents.back().file = file;
    return shown_by(parents) == content;
  };
  MemoryFile parent("parent", below.file);
  WriteLog log;
  LoggedFile logged(parent, log, fault);
  const auto merged = merge(chain, logged);
  EXPECT_TRUE(merged) << merged.error().describe();
  EXPECT_TRUE(parent_shows(content_of(parent)));
  size_t lost = 0;
  log.visit_crash_states(
      2, sampled, random, [&](const std::vector<Bytes>& files, size_t, const std::string&) {
        below.file = files.front();
        const bool shows = shown_by(torn) == content;
        MemoryFile again("parent", below.file);
        const bool mended = merge(torn, again).has_value() && parent_shows(content_of(again));
        lost += shows && mended ? 0 : 1;
      });
  return lost;
}

void check(Chain (*make)(std::mt19937_64&), int cases, size_t sampled) {
  std::mt19937_64 random(run_seed());
  size_t lost_by_mutant = 0;
  for (int i = 0; i < case_count(cases); ++i) {
    const Chain chain = make(random);
    EXPECT_EQ(count_lost(chain, FlushFault::kNone, sampled, random), 0U);
    lost_by_mutant += count_lost(chain, FlushFault::kSwallowed, sampled, random);
  }
  EXPECT_GT(lost_by_mutant, 0U) << "without flushes nothing is lost: this shows nothing";
}

TEST(MergeIntoImage, APowerCutLosesNothingOfVhd) { check(vhd_chain, 100, scaled(60)); }
TEST(MergeIntoImage, APowerCutLosesNothingOfVhdx) { check(vhdx_chain, 25, scaled(2)); }

}  // namespace
}  // namespace snaptool::test
