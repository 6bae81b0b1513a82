// SPDX-License-Identifier: Apache-2.0
// Power cuts while an image is made of a device that held another one, in every format that can be
// made of one: what is there is the old image, the new one, or none.
#include <gtest/gtest.h>

#include <algorithm>

#include "formats/format.h"
#include "libsnap/ops/convert_image.h"
#include "tests/support/crash.h"
#include "tests/support/seed.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

using access::ImageDriver;

constexpr uint64_t kDeviceBytes = 12 * kMiB;
const Cancel g_never_cancel;

// A block device.
class LoggedDevice : public LoggedFile {
 public:
  using LoggedFile::LoggedFile;
  Result<void> resize(uint64_t /*size*/) override {
    return Error(ErrorCode::kUnsupported, "a device");
  }
};

// Some data, and zeros, that the format's blocks do not fit.
Bytes some_content(uint64_t size, std::mt19937_64& random) {
  Bytes content(size);
  for (uint64_t at = 0; at < size; at += 300 * kKiB) {
    const uint64_t length = std::min<uint64_t>(size - at, 512 + random() % (200 * kKiB));
    const Bytes data = random_bytes(length, random);
    std::copy(data.begin(), data.end(), content.begin() + static_cast<ptrdiff_t>(at));
  }
  return content;
}

void make_image(const ImageDriver& driver, File& file, const Bytes& content) {
  MemoryFile source("source", content.size());
  ASSERT_TRUE(source.write_at(0, content));
  RawImage image(source, content.size());
  access::CreateOptions options;
  options.size = content.size();
  options.before = access::Before::kUnknown;
  for (const access::ImageSetting& setting : driver.settings) {
    // Those of VHDX are larger than the device.
    if (setting.name == "block_size") options.settings["block_size"] = "1M";
  }
  auto writer = driver.create(file, options);
  ASSERT_TRUE(writer) << writer.error().describe();
  ASSERT_TRUE(access::forget_old_image(file));
  Progress progress;
  const auto made = ops::convert_image(image, **writer, {}, Job{progress, g_never_cancel, 1});
  ASSERT_TRUE(made) << made.error().describe();
  ASSERT_TRUE(file.flush());
}

// The image that a device holds, if it looks like one of the format.
std::optional<Bytes> image_on(const ImageDriver& driver, const Bytes& device) {
  const auto file = std::make_shared<MemoryFile>("device", device.size());
  EXPECT_TRUE(file->write_at(0, device));
  const auto found = all_drivers().detect_image(*file);
  if (!found || *found != &driver) return std::nullopt;
  const auto image = driver.open(file, access::ImageOptions{g_never_cancel});
  if (!image) return std::nullopt;
  Bytes content((*image)->size());
  if (!(*image)->read_at(0, content)) return std::nullopt;
  return content;
}

// How many states are neither of the two images.
size_t count_wrong(const ImageDriver& driver, FlushFault fault, std::mt19937_64& random) {
  MemoryFile device("device", kDeviceBytes);
  EXPECT_TRUE(device.write_at(0, random_bytes(kDeviceBytes, random)));
  const Bytes before = some_content(1'500'160, random);
  const Bytes after = some_content(1'400'320, random);
  {
    WriteLog unseen;
    LoggedDevice logged(device, unseen);
    make_image(driver, logged, before);
  }
  Bytes start(kDeviceBytes);
  EXPECT_TRUE(device.read_at(0, start));
  EXPECT_EQ(image_on(driver, start), before) << driver.name;
  WriteLog log;
  LoggedDevice logged(device, log, fault);
  make_image(driver, logged, after);
  size_t wrong = 0;
  log.visit_crash_states(4, scaled(3), random,
                         [&](const std::vector<Bytes>& files, size_t, const auto&) {
                           const auto content = image_on(driver, files.front());
                           if (content && *content != before && *content != after) ++wrong;
                         });
  Bytes end(kDeviceBytes);
  EXPECT_TRUE(device.read_at(0, end));
  EXPECT_EQ(image_on(driver, end), after) << driver.name;
  return wrong;
}

TEST(ConvertCrash, ADeviceHoldsTheOldImageOrTheNewOneOrNone) {
  std::mt19937_64 random(run_seed());
  size_t tried = 0;
  for (const ImageDriver& driver : all_drivers().images) {
    if (driver.kind != access::ImageKind::kImage || driver.create == nullptr) continue;
    ++tried;
    EXPECT_EQ(count_wrong(driver, FlushFault::kNone, random), 0U) << driver.name;
    EXPECT_GT(count_wrong(driver, FlushFault::kSwallowed, random), 0U)
        << driver.name << ": without flushes nothing is wrong, so this shows nothing";
  }
  EXPECT_GE(tried, 3U);
}

}  // namespace
}  // namespace snaptool::test
