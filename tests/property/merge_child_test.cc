// SPDX-License-Identifier: Apache-2.0
// Power cuts while an overlay is merged into its parent: below the overlay, the parent shows the
// same at any time, and once more of the same makes it equal.
#include "libsnap/ops/merge_child.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "formats/format.h"
#include "libsnap/ops/convert_image.h"
#include "tests/support/crash.h"
#include "tests/support/scratch.h"
#include "tests/support/seed.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

const Cancel g_uncancelled;

Result<ops::ChildMerged> merge(File& parent, File& child) {
  // Names that are there; what is in them is the test's.
  const Scratch scratch;
  const auto place = [&](const std::string& name) {
    const std::string path = scratch.path() / name;
    std::ofstream(path).put('x');
    return path;
  };
  ops::ChildMergeRequest request;
  request.parent = access::FileSpec(place("parent"));
  request.child = place("child");
  TestContext context;
  context.files.add(request.parent.path(), parent);
  context.files.add(request.child, child);
  return ops::merge_child(context.get(2), request);
}

// A qcow2 image of what differs between the two.
std::unique_ptr<MemoryFile> overlay_of(const Bytes& parent, const Bytes& content) {
  MemoryFile base("parent", parent);
  MemoryFile source("source", content);
  RawImage below(base, parent.size());
  RawImage image(source, content.size());
  auto file = std::make_unique<MemoryFile>("child", 0);
  access::CreateOptions options;
  options.size = content.size();
  options.parent.emplace();
  options.parent->name = "parent";
  options.parent->format = "raw";
  options.settings["cluster_size"] = "512";
  auto writer = all_drivers().find_image("qcow2")->create(*file, options);
  EXPECT_TRUE(writer);
  ops::ConvertOptions convert;
  convert.base = &below;
  Progress progress;
  EXPECT_TRUE(ops::convert_image(image, **writer, convert, Job{progress, g_uncancelled, 1}));
  return file;
}

Bytes shown_by(MemoryFile& child, const Bytes& parent) {
  access::ImageOptions options{g_uncancelled};
  options.parent = std::make_shared<RawImage>(std::make_shared<MemoryFile>("parent", parent));
  const std::shared_ptr<File> lent(&child, [](File*) {});
  const auto image = all_drivers().find_image("qcow2")->open(lent, options);
  EXPECT_TRUE(image);
  Bytes bytes((*image)->size());
  EXPECT_TRUE((*image)->read_at(0, bytes));
  return bytes;
}

struct Case {
  Bytes parent;
  Bytes content;
};

Case some_case(std::mt19937_64& random) {
  Case one;
  one.parent = random_bytes(512 * (1 + random() % 60), random);
  one.content = one.parent;
  one.content.resize(512 * (1 + random() % 60));
  for (int i = 0; i < 6; ++i) {
    const uint64_t at = random() % one.content.size();
    const uint64_t length = std::min<uint64_t>(one.content.size() - at, 1 + random() % 5000);
    const Bytes data = random() % 3 == 0 ? Bytes(length) : random_bytes(length, random);
    std::copy(data.begin(), data.end(), one.content.begin() + static_cast<ptrdiff_t>(at));
  }
  return one;
}

// What the parent must be at least: the image, and what it had behind that.
bool begins_with(const Bytes& parent, const Bytes& content) {
  return parent.size() >= content.size() &&
         std::equal(content.begin(), content.end(), parent.begin());
}

// Crash states after which something is lost, or which another run does not mend. `emptied`: a
// mutant, where the child is emptied, as qemu-img commit does, without waiting for the flush.
size_t count_lost(const Case& one, bool emptied, std::mt19937_64& random) {
  const auto child = overlay_of(one.parent, one.content);
  EXPECT_EQ(shown_by(*child, one.parent), one.content);
  MemoryFile parent("parent", one.parent);
  WriteLog log;
  LoggedFile logged(parent, log);
  const auto merged = merge(logged, *child);
  EXPECT_TRUE(merged) << merged.error().describe();
  EXPECT_TRUE(begins_with(content_of(parent), one.content));
  size_t lost = 0;
  log.visit_crash_states(
      6, scaled(8), random, [&](const std::vector<Bytes>& files, size_t, const std::string&) {
        const Bytes& torn = files.front();
        if (emptied) {
          lost += begins_with(torn, one.content) ? 0 : 1;
          return;
        }
        MemoryFile again("parent", torn);
        const bool shows = shown_by(*child, torn) == one.content;
        const bool mended =
            merge(again, *child).has_value() && begins_with(content_of(again), one.content);
        lost += shows && mended ? 0 : 1;
      });
  return lost;
}

TEST(MergeChild, APowerCutLosesNothing) {
  std::mt19937_64 random(run_seed());
  size_t lost_by_mutant = 0;
  for (int i = 0; i < case_count(600); ++i) {
    const Case one = some_case(random);
    EXPECT_EQ(count_lost(one, false, random), 0U);
    lost_by_mutant += count_lost(one, true, random);
  }
  EXPECT_GT(lost_by_mutant, 0U)
      << "a child that is emptied too early loses nothing: this shows nothing";
}

}  // namespace
}  // namespace snaptool::test
