// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/view/identity.h"

#include <gtest/gtest.h>

#include <string_view>

#include "libsnap/io/memory_file.h"

namespace snaptool {
namespace {

// A disk with some text at some places.
class Disk {
 public:
  explicit Disk(uint64_t size) : file_("disk", size), image_(file_, size) {}
  Disk& put(uint64_t at, std::string_view text) {
    EXPECT_TRUE(file_.write_at(at, std::as_bytes(std::span(text))));
    return *this;
  }
  std::vector<Identity> identities() { return *read_identities(image_); }

 private:
  MemoryFile file_;
  RawImage image_;
};

constexpr std::string_view kUuid = "0123456789abcdef";
constexpr std::string_view kUuidHex = "30313233343536373839616263646566";

TEST(Identity, EachKindInItsPlace) {
  struct Case {
    uint64_t magic_at;
    std::string_view magic;
    uint64_t uuid_at;
    std::string_view kind;
  };
  for (const Case& c :
       {Case{1080, "\x53\xef", 1128, "ext2/3/4 file system"},
        Case{0, "XFSB", 32, "XFS file system"}, Case{65600, "_BHRfS_M", 65568, "Btrfs file system"},
        Case{512, "EFI PART", 568, "GPT"}}) {
    Disk disk(kMiB);
    const auto found = disk.put(c.magic_at, c.magic).put(c.uuid_at, kUuid).identities();
    ASSERT_EQ(found.size(), 1U) << c.kind;
    EXPECT_EQ(found[0].kind, c.kind);
    EXPECT_EQ(found[0].uuid, kUuidHex);
  }
}

TEST(Identity, APhysicalVolume) {
  constexpr std::string_view kPvUuid = "abcdefghijklmnopqrstuvwxyz012345";
  Disk disk(kMiB);
  disk.put(512, "LABELONE")
      .put(512 + 20, std::string_view("\x20\0\0\0", 4))
      .put(512 + 24, "LVM2 001");
  const auto found = disk.put(512 + 32, kPvUuid).identities();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].uuid, kPvUuid);
  // An offset that points out of the label is no PV.
  disk.put(512 + 20, std::string_view("\xff\xff\xff\x7f", 4));
  EXPECT_TRUE(disk.identities().empty());
}

TEST(Identity, ShortAndEmptyDisksBearNothing) {
  for (const uint64_t size : {0, 1, 512, 1080, 1082, 65600}) {
    Disk disk(size);
    EXPECT_TRUE(disk.identities().empty()) << size;
  }
}

TEST(Identity, OnlyTheSameKindContradicts) {
  const std::vector<Identity> origin = {{"GPT", "1"}, {"XFS file system", "2"}};
  EXPECT_TRUE(contradictions(origin, origin).empty());
  EXPECT_TRUE(contradictions(origin, {{"Btrfs file system", "9"}}).empty());
  EXPECT_EQ(contradictions(origin, {{"GPT", "9"}, {"XFS file system", "2"}}).size(), 1U);
}

}  // namespace
}  // namespace snaptool
