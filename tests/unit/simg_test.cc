// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>

#include "formats/simg/checksum.h"
#include "formats/simg/layout.h"
#include "formats/simg/simg_image.h"
#include "libsnap/base/crc32.h"
#include "libsnap/base/endian.h"
#include "libsnap/io/memory_file.h"

namespace snaptool::simg {
namespace {

const Cancel g_simg_cancel;
constexpr uint32_t kTestBlock = 8;

// An image whose chunks are added one by one.
class SimgFile {
 public:
  SimgFile& raw(std::string_view text) { return add(ChunkType::kRaw, text.size() / 8, text); }
  SimgFile& fill(std::string_view word, uint64_t blocks) {
    return add(ChunkType::kFill, blocks, word);
  }
  SimgFile& dont_care(uint64_t blocks) { return add(ChunkType::kDontCare, blocks, ""); }
  SimgFile& sum(uint32_t value) {
    std::string bytes(4, '\0');
    store_le(reinterpret_cast<std::byte*>(bytes.data()), value);
    return add(ChunkType::kCrc, 0, bytes);
  }
  SimgFile& checksum(uint32_t value) {
    header_.checksum = value;
    return *this;
  }

  std::shared_ptr<File> make(const std::string& name) {
    header_.block_size = kTestBlock;
    const auto head = encode_header(header_);
    std::string all(reinterpret_cast<const char*>(head.data()), head.size());
    all += chunks_;
    return std::make_shared<MemoryFile>(name, std::as_bytes(std::span(all)));
  }

 private:
  SimgFile& add(ChunkType type, uint64_t blocks, std::string_view content) {
    ChunkHeader chunk;
    chunk.type = type;
    chunk.blocks = static_cast<uint32_t>(blocks);
    chunk.total_bytes = static_cast<uint32_t>(kChunkHeaderBytes + content.size());
    const auto head = encode_chunk(chunk);
    chunks_.append(reinterpret_cast<const char*>(head.data()), head.size());
    chunks_ += content;
    header_.blocks += chunk.blocks;
    ++header_.chunks;
    return *this;
  }

  Header header_;
  std::string chunks_;
};

uint32_t simg_crc(std::string_view text) { return crc32(std::as_bytes(std::span(text))); }

std::string simg_content(Image& image) {
  std::string content(image.size(), '?');
  const auto read = image.read_at(0, std::as_writable_bytes(std::span(content)));
  return read ? content : read.error().describe();
}

TEST(Simg, SumsOfFills) {
  OutputSum sum;
  std::string content = "some bytes";
  sum.add(std::as_bytes(std::span(content)));
  for (const uint64_t length : {0, 4, 8, 12, 400, 4096, 65532}) {
    sum.add_fill(0x64636261, length);
    for (uint64_t i = 0; i < length; i += 4) content += "abcd";
    EXPECT_EQ(sum.value(), simg_crc(content)) << length;
    sum.add_fill(0, length);
    content.append(length, '\0');
    EXPECT_EQ(sum.value(), simg_crc(content)) << length;
  }
}

TEST(Simg, SumsAreCompared) {
  const std::string before = "01234567abcdabcdabcdabcd";
  const std::string all = before + std::string(8, '\0') + "89abcdef";
  const auto image = [&](uint32_t first, uint32_t last) {
    SimgFile file;
    file.raw("01234567").fill("abcd", 2).sum(first).dont_care(1).raw("89abcdef");
    return file.checksum(last).make("x");
  };
  const uint32_t first = simg_crc(before);
  const uint32_t last = simg_crc(all);
  EXPECT_TRUE(check_sums(*image(first, last), g_simg_cancel));
  EXPECT_TRUE(check_sums(*image(first, 0), g_simg_cancel));
  const auto wrong_chunk = check_sums(*image(first + 1, last), g_simg_cancel);
  ASSERT_FALSE(wrong_chunk);
  EXPECT_EQ(wrong_chunk.error().code(), ErrorCode::kCorruption);
  EXPECT_NE(wrong_chunk.error().describe().find("before byte 24"), std::string::npos);
  const auto wrong_image = check_sums(*image(first, last ^ 0x80000000), g_simg_cancel);
  ASSERT_FALSE(wrong_image);
  EXPECT_NE(wrong_image.error().describe().find("whole image"), std::string::npos);
  // To read it, none is compared.
  EXPECT_TRUE(open_image(image(0, 1), {g_simg_cancel}));
}

TEST(Simg, PartsLieOverOneAnother) {
  const auto first = SimgFile().raw("AAAAAAAABBBBBBBB").dont_care(2).fill("wxyz", 2).make("x.0");
  const auto second = SimgFile().dont_care(1).raw("bbbbbbbb").dont_care(3).raw("11111111");
  auto copy = second;
  const auto image = open_parts({first, copy.make("x.1")}, {g_simg_cancel});
  ASSERT_TRUE(image) << image.error().describe();
  EXPECT_EQ(simg_content(**image),
            "AAAAAAAAbbbbbbbb" + std::string(16, '\0') + "wxyzwxyz" + "11111111");
  // A fill of zeros is something.
  const auto last = SimgFile().dont_care(5).fill(std::string(4, '\0'), 1).make("x.2");
  const auto three = open_parts({first, copy.make("x.1"), last}, {g_simg_cancel});
  ASSERT_TRUE(three) << three.error().describe();
  EXPECT_EQ(simg_content(**three).substr(40), std::string(8, '\0'));
  const auto extent = (**three).extent_at(16, 32);
  ASSERT_TRUE(extent);
  EXPECT_TRUE(extent->zero);
  EXPECT_EQ(extent->length, 16);
}

TEST(Simg, PartsOfOtherSizesAreRefused) {
  const auto first = SimgFile().dont_care(6).make("x.0");
  const auto image = open_parts({first, SimgFile().dont_care(5).make("x.1")}, {g_simg_cancel});
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code(), ErrorCode::kCorruption);
  EXPECT_NE(image.error().describe().find("'x.0'"), std::string::npos);
  EXPECT_NE(image.error().describe().find("'x.1'"), std::string::npos);
}

}  // namespace
}  // namespace snaptool::simg
