// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/output_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "tests/support/model.h"
#include "tests/support/scratch.h"

namespace snaptool::test {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

size_t files_in(const std::filesystem::path& folder) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    count += entry.exists() ? 1 : 0;
  return count;
}

class Output : public testing::Test {
 protected:
  Result<void> write(const std::filesystem::path& path, bool replace, bool commit,
                     const std::vector<const File*>& inputs = {}) {
    SNAP_ASSIGN(const auto output, OutputFile::create(path.string(), 3, inputs, replace));
    SNAP_TRY(output->file().write_at(0, std::as_bytes(std::span("new", 3))));
    if (commit) SNAP_TRY(output->commit());
    return {};
  }
  Scratch scratch_;
};

TEST_F(Output, AppearsWholeOrNotAtAll) {
  const auto path = scratch_.path() / "out";
  ASSERT_TRUE(write(path, false, false));
  EXPECT_EQ(files_in(scratch_.path()), 0U);
  ASSERT_TRUE(write(path, false, true));
  EXPECT_EQ(text_of(path), "new");
  EXPECT_EQ(files_in(scratch_.path()), 1U);
}

// Where the file system shares blocks; elsewhere nothing happens.
TEST_F(Output, AClone) {
  const auto source_path = scratch_.path() / "source";
  const Bytes content(300000, std::byte{7});
  std::ofstream(source_path).write(reinterpret_cast<const char*>(content.data()), 300000);
  const auto source = PosixFile::open(source_path.string(), {});
  ASSERT_TRUE(source);
  const auto out = (scratch_.path() / "out").string();
  for (const uint64_t size : {uint64_t{100}, uint64_t{400000}}) {
    const uint64_t kept = std::min<uint64_t>(size, 250001);
    const auto output = OutputFile::create(out, size, {}, true);
    ASSERT_TRUE(output);
    const auto cloned = (*output)->clone(**source, kept);
    ASSERT_TRUE(cloned);
    Bytes expected(size);
    if (*cloned) std::copy_n(content.begin(), kept, expected.begin());
    EXPECT_EQ(content_of((*output)->file()), expected);
  }
  MemoryFile memory("memory", content);
  const auto output = OutputFile::create(out, 10, {}, true);
  ASSERT_TRUE(output);
  const auto cloned = (*output)->clone(memory, 10);
  ASSERT_TRUE(cloned);
  EXPECT_FALSE(*cloned);
}

TEST_F(Output, AnExistingFileIsOnlyReplacedOnRequest) {
  const auto path = scratch_.path() / "out";
  std::ofstream(path) << "old";
  const auto refused = write(path, false, true);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(text_of(path), "old");
  ASSERT_TRUE(write(path, true, false));
  EXPECT_EQ(text_of(path), "old");  // not committed
  ASSERT_TRUE(write(path, true, true));
  EXPECT_EQ(text_of(path), "new");
  EXPECT_EQ(files_in(scratch_.path()), 1U);
}

TEST_F(Output, AFileThatAppearsMeanwhileIsNotReplaced) {
  const auto path = scratch_.path() / "out";
  auto output = OutputFile::create(path.string(), 3, {}, false);
  ASSERT_TRUE(output);
  std::ofstream(path) << "theirs";
  EXPECT_FALSE((*output)->commit());
  output->reset();
  EXPECT_EQ(text_of(path), "theirs");
  EXPECT_EQ(files_in(scratch_.path()), 1U);
}

TEST_F(Output, AnInputIsNeverTheOutput) {
  const auto path = scratch_.path() / "in";
  std::ofstream(path) << "precious";
  std::filesystem::create_symlink(path, scratch_.path() / "alias");
  const auto input = PosixFile::open(path.string(), {});
  ASSERT_TRUE(input);
  for (const char* name : {"in", "alias"}) {
    const auto refused = write(scratch_.path() / name, true, true, {input->get()});
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().describe().find("is an input"), std::string::npos);
  }
  EXPECT_EQ(text_of(path), "precious");
}

TEST_F(Output, ASymbolicLinkIsFollowed) {
  const auto real = scratch_.path() / "real";
  std::ofstream(real) << "old";
  std::filesystem::create_symlink(real, scratch_.path() / "alias");
  ASSERT_TRUE(write(scratch_.path() / "alias", true, true));
  EXPECT_TRUE(std::filesystem::is_symlink(scratch_.path() / "alias"));
  EXPECT_EQ(text_of(real), "new");
}

TEST_F(Output, IsAsPrivateAsWhatItWasMadeFrom) {
  namespace fs = std::filesystem;
  const auto path = scratch_.path() / "in";
  std::ofstream(path) << "private";
  for (const auto& [mode, expected] : {std::pair{0600, 0600}, {0644, 0644}, {0400, 0600}}) {
    fs::permissions(path, static_cast<fs::perms>(mode));
    const auto input = PosixFile::open(path.string(), {});
    ASSERT_TRUE(input);
    const auto out = scratch_.path() / fmt::format("out{:o}", mode);
    ASSERT_TRUE(write(out, false, true, {input->get()}));
    EXPECT_EQ(static_cast<int>(fs::status(out).permissions()) & ~022, expected & ~022);
    EXPECT_EQ(static_cast<int>(fs::status(out).permissions()) & 022, 0);
  }
}

TEST_F(Output, AllowsNoMoreThanTheProcessDoes) {
  namespace fs = std::filesystem;
  const auto path = scratch_.path() / "source";
  std::ofstream(path) << "secret";
  fs::permissions(path, static_cast<fs::perms>(0666));
  const auto source = PosixFile::open(path.string(), {});
  ASSERT_TRUE(source);
  const mode_t before = ::umask(027);
  const auto done = write(scratch_.path() / "out", false, true, {source->get()});
  const mode_t after = ::umask(before);
  ASSERT_TRUE(done);
  EXPECT_EQ(static_cast<int>(fs::status(scratch_.path() / "out").permissions()), 0640);
  EXPECT_EQ(after, 027U);
}

TEST_F(Output, KeepsTheModeOfWhatItReplaces) {
  namespace fs = std::filesystem;
  const auto path = scratch_.path() / "out";
  std::ofstream(path) << "old";
  fs::permissions(path, static_cast<fs::perms>(0751));
  ASSERT_TRUE(write(path, true, true));
  EXPECT_EQ(static_cast<int>(fs::status(path).permissions()), 0751);
}

TEST_F(Output, DoesNotReplaceWhatSomebodyHasOpen) {
  const auto path = scratch_.path() / "out";
  std::ofstream(path) << "theirs";
  const auto theirs = PosixFile::open(path.string(), {.access = Access::kReadWrite});
  ASSERT_TRUE(theirs);
  const auto refused = write(path, true, true);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kBusy);
  EXPECT_EQ(text_of(path), "theirs");
}

TEST_F(Output, IsMadeBehindLinksThatLeadToNothingYet) {
  namespace fs = std::filesystem;
  fs::create_directory(scratch_.path() / "folder");
  fs::create_symlink("folder/second", scratch_.path() / "first");  // relative, over another link
  fs::create_symlink(scratch_.path() / "none", scratch_.path() / "folder" / "second");
  ASSERT_TRUE(write(scratch_.path() / "first", false, true));
  EXPECT_TRUE(fs::is_symlink(scratch_.path() / "first"));
  EXPECT_TRUE(fs::is_symlink(scratch_.path() / "folder" / "second"));
  EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(scratch_.path() / "none")));
}

TEST_F(Output, IsNotMadeBehindLinksInACircle) {
  namespace fs = std::filesystem;
  fs::create_symlink("b", scratch_.path() / "a");
  fs::create_symlink("a", scratch_.path() / "b");
  for (const bool replace : {false, true}) {
    const auto refused = write(scratch_.path() / "a", replace, true);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kIo);
  }
}

TEST_F(Output, GoesOnOnlyWithAPartOfItsOwn) {
  namespace fs = std::filesystem;
  const auto path = scratch_.path() / "out";
  const auto partial = scratch_.path() / "out.partial";
  const auto victim = scratch_.path() / "victim";
  std::ofstream(victim) << "old";
  const auto resume = [&] { return OutputFile::resume(path.string(), 3, {}, true); };
  fs::create_hard_link(victim, partial);
  EXPECT_FALSE(resume());
  fs::remove(partial);
  fs::create_symlink(victim, partial);
  EXPECT_FALSE(resume());
  fs::remove(partial);
  fs::create_symlink(scratch_.path() / "none", partial);
  EXPECT_FALSE(resume());
  fs::remove(partial);
  std::ofstream(partial) << "old";
  fs::permissions(partial, static_cast<fs::perms>(0666));
  EXPECT_FALSE(resume());
  fs::permissions(partial, static_cast<fs::perms>(0644));
  const auto resumed = resume();
  ASSERT_TRUE(resumed);
  EXPECT_TRUE((*resumed)->is_resumed());
  EXPECT_EQ(text_of(victim), "old");
}

}  // namespace
}  // namespace snaptool::test
