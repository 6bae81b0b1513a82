// SPDX-License-Identifier: Apache-2.0
// The File contract, over both implementations.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "libsnap/io/memory_file.h"
#include "libsnap/io/posix_file.h"
#include "libsnap/io/sandbox.h"
#include "tests/support/model.h"
#include "tests/support/scratch.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

class FileContract : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      const int fd =
          ::open((scratch_.path() / "f").c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
      auto opened = PosixFile::adopt(fd, "f", Access::kReadWrite);
      ASSERT_TRUE(opened);
      file_ = std::move(*opened);
    } else {
      file_ = std::make_unique<MemoryFile>("f");
    }
  }
  Scratch scratch_;
  std::unique_ptr<File> file_;
};

TEST_P(FileContract, WritesReadBackAndZerosAreZeros) {
  std::mt19937_64 random(run_seed());
  ASSERT_TRUE(file_->resize(100000));
  EXPECT_EQ(file_->size(), 100000U);
  Bytes model(100000);
  for (int n = 0; n < 400; ++n) {
    const uint64_t at = random() % model.size();
    const uint64_t length = random() % std::min<uint64_t>(20000, model.size() - at + 1);
    switch (random() % 4) {
      case 0:
        ASSERT_TRUE(
            file_->zero_at(at, length, random() % 2 == 0 ? ZeroMode::kKeep : ZeroMode::kPunch));
        std::fill_n(model.begin() + static_cast<ptrdiff_t>(at), length, std::byte{0});
        break;
      case 1: {
        const uint64_t size = 50000 + random() % 50000;
        ASSERT_TRUE(file_->resize(size));
        model.resize(size);
        break;
      }
      default: {
        const Bytes data = random_bytes(length, random);
        ASSERT_TRUE(file_->write_at(at, data));
        std::copy(data.begin(), data.end(), model.begin() + static_cast<ptrdiff_t>(at));
      }
    }
    ASSERT_EQ(content_of(*file_), model);
  }
  EXPECT_TRUE(file_->flush());
}

TEST_P(FileContract, MissingDataAreAnErrorNotZeros) {
  ASSERT_TRUE(file_->resize(1000));
  Bytes out(10);
  EXPECT_TRUE(file_->read_at(990, out));
  const auto past = file_->read_at(991, out);
  ASSERT_FALSE(past);
  EXPECT_EQ(past.error().code(), ErrorCode::kCorruption);
  EXPECT_FALSE(file_->read_at(UINT64_MAX - 3, out));
  EXPECT_TRUE(file_->read_at(1000, std::span<std::byte>()));
}

TEST_P(FileContract, ExtentsTellHolesAndCoverTheFile) {
  ASSERT_TRUE(file_->resize(4 * kMiB));
  const Bytes data(kMiB, std::byte{7});
  ASSERT_TRUE(file_->write_at(kMiB, data));
  uint64_t holes = 0;
  for (uint64_t at = 0; at < file_->size();) {
    const auto extent = file_->extent_at(at, file_->size() - at);
    ASSERT_TRUE(extent);
    ASSERT_GT(extent->length, 0U);
    Bytes content(extent->length);
    ASSERT_TRUE(file_->read_at(at, content));
    if (extent->zero) {
      holes += extent->length;
      EXPECT_EQ(content, Bytes(extent->length));
    }
    at += extent->length;
  }
  EXPECT_EQ(holes, 3 * kMiB);
  const auto limited = file_->extent_at(0, 10);
  ASSERT_TRUE(limited);
  EXPECT_EQ(limited->length, 10U);
}

INSTANTIATE_TEST_SUITE_P(Both, FileContract, testing::Bool(),
                         [](const auto& which) { return which.param ? "Posix" : "Memory"; });

TEST(PosixFile, WhatIsNoFileIsRefusedByName) {
  const Scratch scratch;
  const auto folder = PosixFile::open(scratch.path().string(), {});
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(folder.error().describe().find("is a directory"), std::string::npos);
  ASSERT_EQ(::mkfifo((scratch.path() / "pipe").c_str(), 0600), 0);
  EXPECT_FALSE(
      PosixFile::open((scratch.path() / "pipe").string(), {}));  // and does not wait for a writer
  const auto missing = PosixFile::open((scratch.path() / "none").string(), {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(PosixFile::open("/dev/null", {}));
}

TEST(PosixFile, AFileThatShrinksWhileReadIsAnError) {
  const Scratch scratch;
  const std::string path = (scratch.path() / "f").string();
  std::ofstream(path) << std::string(1000, 'x');
  const auto file = PosixFile::open(path, {});
  ASSERT_TRUE(file);
  std::filesystem::resize_file(path, 100);
  Bytes out(1000);
  const auto read = (*file)->read_at(0, out);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::kCorruption);
}

TEST(PosixFile, TwoNamesOfOneFileAreOne) {
  const Scratch scratch;
  const std::string a = (scratch.path() / "a").string();
  const std::string b = (scratch.path() / "b").string();
  std::ofstream(a) << "x";
  std::filesystem::create_hard_link(a, b);
  const auto first = PosixFile::open(a, {});
  const auto second = PosixFile::open(b, {});
  ASSERT_TRUE(first && second);
  EXPECT_EQ((*first)->id(), (*second)->id());
}

TEST(PosixFile, WritebackFromSeveralThreadsBesideWritesAndFlushes) {
  const Scratch scratch;
  constexpr size_t kPiece = 64 * 1024;
  constexpr size_t kThreads = 3;
  std::mt19937_64 random(run_seed());
  const Bytes content = random_bytes(30 * kPiece, random);
  auto file = PosixFile::create((scratch.path() / "f").string());
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->resize(content.size()));
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t at = thread * kPiece; at < content.size(); at += kThreads * kPiece) {
        EXPECT_TRUE((*file)->write_at(at, std::span(content).subspan(at, kPiece)));
        (*file)->start_writeback(at, kPiece);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE((*file)->flush());
  EXPECT_EQ(content_of(**file), content);
  (*file)->start_writeback(0, content.size());
  file->reset();  // while that may be under way
}

TEST(PosixFile, WhatTheSandboxRefusesIsNoMatterOfPermissions) {
  const Scratch scratch;
  const std::string path = (scratch.path() / "f").string();
  std::ofstream(path) << "x";
  const pid_t child = ::fork();
  if (child == 0) {
    enter_sandbox({});
    const auto file = PosixFile::open(path, {});
    ::_exit(file ? 2 : file.error().remedy() == Remedy::kLeaveSandbox ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "no Landlock here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace snaptool::test
