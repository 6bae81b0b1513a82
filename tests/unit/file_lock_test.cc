// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/file_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "libsnap/io/posix_file.h"
#include "tests/support/scratch.h"

namespace snaptool::test {
namespace {

class FileLock : public testing::Test {
 protected:
  void SetUp() override {
    path_ = (scratch_.path() / "image").string();
    std::ofstream(path_) << std::string(1000, 'x');
  }
  // Somebody else, who read-locks bytes of the file as QEMU does.
  int lock_bytes(std::initializer_list<off_t> bytes) {
    const int fd = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    for (const off_t byte : bytes) {
      struct flock lock {};
      lock.l_type = F_RDLCK;
      lock.l_start = byte;
      lock.l_len = 1;
      EXPECT_EQ(::fcntl(fd, F_OFD_SETLK, &lock), 0);
    }
    return fd;
  }
  ErrorCode failure(Access access) {
    const auto file = PosixFile::open(path_, {.access = access});
    return file ? ErrorCode::kInvalidArgument : file.error().code();
  }
  bool opens(Access access) { return PosixFile::open(path_, {.access = access}).has_value(); }

  Scratch scratch_;
  std::string path_;
};

TEST_F(FileLock, ReadersShare) {
  const auto first = PosixFile::open(path_, {});
  const auto second = PosixFile::open(path_, {});
  EXPECT_TRUE(first && second);
}

TEST_F(FileLock, AWriterIsAlone) {
  {
    const auto writer = PosixFile::open(path_, {.access = Access::kReadWrite});
    ASSERT_TRUE(writer);
    EXPECT_EQ(failure(Access::kRead), ErrorCode::kBusy);
    EXPECT_EQ(failure(Access::kReadWrite), ErrorCode::kBusy);
    EXPECT_TRUE(PosixFile::open(path_, {.access = Access::kRead, .force_share = true}));
  }
  EXPECT_TRUE(opens(Access::kReadWrite));  // the lock ended with its holder
  const auto reader = PosixFile::open(path_, {});
  EXPECT_EQ(failure(Access::kReadWrite), ErrorCode::kBusy);
}

TEST_F(FileLock, QemusWriterStopsAReader) {
  const int fd = lock_bytes({100, 101, 203});  // reads, writes, refuses resizing by others
  EXPECT_EQ(failure(Access::kRead), ErrorCode::kBusy);
  EXPECT_EQ(failure(Access::kReadWrite), ErrorCode::kBusy);
  ::close(fd);
  EXPECT_TRUE(opens(Access::kRead));
}

TEST_F(FileLock, QemusReaderStopsOnlyAWriter) {
  const int fd = lock_bytes({100, 201, 203});
  EXPECT_TRUE(opens(Access::kRead));
  EXPECT_EQ(failure(Access::kReadWrite), ErrorCode::kBusy);
  ::close(fd);
}

TEST_F(FileLock, AReadOnlyFileCanBeRead) {
  ASSERT_EQ(::chmod(path_.c_str(), 0400), 0);
  EXPECT_TRUE(opens(Access::kRead));
}

}  // namespace
}  // namespace snaptool::test
