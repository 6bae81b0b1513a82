// SPDX-License-Identifier: Apache-2.0
#include "libsnap/copy/copy_image.h"

#include <gtest/gtest.h>

#include "libsnap/io/memory_file.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

TEST(CopyImage, RangesHolesAndOldContent) {
  std::mt19937_64 random(run_seed());
  const Cancel cancel;
  MemoryFile file("source", 8 * kMiB);
  for (int n = 0; n < 40; ++n) {
    const Bytes data = random_bytes(1 + random() % 60000, random);
    ASSERT_TRUE(file.write_at(random() % (file.size() - data.size()), data));
  }
  const Bytes content = content_of(file);
  RawImage image(file, file.size());
  for (const bool zeroed : {true, false}) {
    const uint64_t offset = random() % kMiB;
    const uint64_t length = content.size() - offset - random() % kMiB;
    const Bytes expected(content.begin() + static_cast<ptrdiff_t>(offset),
                         content.begin() + static_cast<ptrdiff_t>(offset + length));
    MemoryFile target("target", length);
    if (!zeroed) {
      ASSERT_TRUE(target.write_at(0, Bytes(length, std::byte{0xee})));
    }
    Progress progress;
    ASSERT_TRUE(copy_image(image, offset, length, target, zeroed, Job{progress, cancel, 3}));
    EXPECT_EQ(content_of(target), expected);
    EXPECT_EQ(progress.transferred(), length);

    Bytes streamed;
    ASSERT_TRUE(stream_image(
        image, offset, length,
        [&](std::span<const std::byte> bytes) -> Result<void> {
          streamed.insert(streamed.end(), bytes.begin(), bytes.end());
          return {};
        },
        Job{progress, cancel, 1}));
    EXPECT_EQ(streamed, expected);
  }
}

TEST(CopyImage, ATerabyteOfNothingIsQuickAndStaysAHole) {
  MemoryFile file("source", uint64_t{1} << 40);
  RawImage image(file, file.size());
  MemoryFile target("target", uint64_t{1} << 40);
  Progress progress;
  const Cancel cancel;
  ASSERT_TRUE(copy_image(image, 0, file.size(), target, true, Job{progress, cancel, 2}));
  EXPECT_TRUE(target.extent_at(0, target.size())->zero);
}

}  // namespace
}  // namespace snaptool::test
