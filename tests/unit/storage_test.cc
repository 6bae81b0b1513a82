// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/storage.h"

#include <gtest/gtest.h>

#include "libsnap/io/memory_file.h"
#include "libsnap/io/posix_file.h"
#include "tests/support/scratch.h"

namespace snaptool {
namespace {

constexpr FileId kOne{1, 10};
constexpr FileId kTwo{1, 11};

// What lies behind real loop devices is in tests/cli/mistakes_test.py.
TEST(Storage, OverlapsWhereBothHaveAByte) {
  EXPECT_TRUE(overlap({kOne, 0, 100}, {kOne, 0, 100}));
  EXPECT_TRUE(overlap({kOne, 0, 100}, {kOne, 99, 1}));
  EXPECT_TRUE(overlap({kOne, 50, 10}, {kOne, 0, 100}));
  EXPECT_FALSE(overlap({kOne, 0, 100}, {kOne, 100, 100}));
  EXPECT_FALSE(overlap({kOne, 0, 100}, {kTwo, 0, 100}));
  EXPECT_FALSE(overlap({kOne, 0, 0}, {kOne, 0, 100}));
}

TEST(Storage, OfAFileOrUnknownDeviceIsItself) {
  for (const FileId id : {kOne, FileId{0, 0xfffffff}}) {
    const Storage storage = storage_of({id, 0, 4096});
    EXPECT_EQ(storage.id, id);
    EXPECT_EQ(storage.offset, 0U);
    EXPECT_EQ(storage.size, 4096U);
  }
}

TEST(Storage, FilesShareItOnlyWithThemselves) {
  const test::Scratch scratch;
  const auto a = PosixFile::create(scratch.path() / "a");
  const auto b = PosixFile::create(scratch.path() / "b");
  const auto again = PosixFile::open(scratch.path() / "a", {Access::kRead, true});
  ASSERT_TRUE(a && b && again);
  EXPECT_TRUE(share_storage(**a, **again));  // even with nothing in it
  EXPECT_FALSE(share_storage(**a, **b));
  const MemoryFile memory("memory", 4096);
  EXPECT_FALSE(share_storage(memory, memory));
}

}  // namespace
}  // namespace snaptool
