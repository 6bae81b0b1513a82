// SPDX-License-Identifier: Apache-2.0
// Diffs against images in vectors: round trips of chains, streams that are cut or damaged, power
// cuts while a chain is applied in place, and wrong bases.
#include "libsnap/ops/apply.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "formats/rbd/rbd_diff.h"
#include "libsnap/base/endian.h"
#include "libsnap/diff/compose.h"
#include "libsnap/diff/export.h"
#include "libsnap/diff/snapdiff.h"
#include "tests/support/crash.h"
#include "tests/support/fault_file.h"
#include "tests/support/seed.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

Cancel g_no_cancel;

Job job_of(Progress& progress, unsigned jobs = 2) { return Job{progress, g_no_cancel, jobs}; }

uint64_t below(std::mt19937_64& random, uint64_t limit) {
  return limit == 0 ? 0 : random() % limit;
}

// The next state of an image: some ranges of data, zeros and repeats, and often another size.
Bytes next_state(Bytes image, uint64_t most, std::mt19937_64& random) {
  if (below(random, 3) == 0) image.resize(below(random, most + 1));
  const size_t changes = below(random, 12);
  for (size_t i = 0; i < changes && !image.empty(); ++i) {
    const uint64_t unit = std::array{1ULL, 512ULL, 4096ULL, 65536ULL}[below(random, 4)];
    const uint64_t offset = below(random, image.size()) / unit * unit;
    const uint64_t length = std::min(image.size() - offset, unit * (1 + below(random, 20)));
    const auto from = image.begin() + static_cast<ptrdiff_t>(offset);
    if (below(random, 3) == 0) {
      std::fill_n(from, length, std::byte{0});
    } else {
      const Bytes data = random_bytes(length, random);
      std::copy(data.begin(), data.end(), from);
    }
  }
  return image;
}

// A file whose holes are where the zeros are, in pages.
std::unique_ptr<MemoryFile> file_of(const std::string& name, const Bytes& content) {
  auto file = std::make_unique<MemoryFile>(name, content.size());
  constexpr size_t kPage = 4096;
  for (size_t at = 0; at < content.size(); at += kPage) {
    const auto page = std::span(content).subspan(at, std::min(kPage, content.size() - at));
    if (std::any_of(page.begin(), page.end(), [](std::byte b) { return b != std::byte{0}; })) {
      EXPECT_TRUE(file->write_at(at, page));
    }
  }
  return file;
}

enum class Format { kSnapdiff, kRbd1, kRbd2 };

struct Exported {
  Bytes stream;
  ChangeEnd end;
};

// A writer into `exported`.
std::unique_ptr<ChangeWriter> writer_into(Format format, Exported& exported) {
  const ByteSink sink = [&exported](std::span<const std::byte> bytes) -> Result<void> {
    exported.stream.insert(exported.stream.end(), bytes.begin(), bytes.end());
    return {};
  };
  if (format == Format::kSnapdiff) return std::make_unique<SnapdiffWriter>(sink, 1);
  return std::make_unique<rbd::Writer>(sink, format == Format::kRbd1 ? 1 : 2);
}

// `base` is nothing for a full diff.
Exported export_to(Format format, const Bytes* base, const Bytes& target,
                   ExportOptions options = {}, unsigned jobs = 2) {
  Exported exported;
  const auto writer = writer_into(format, exported);
  if (format != Format::kSnapdiff) {
    // One name for all, so that each follows the one before.
    if (base != nullptr) options.from_name = "name";
    options.to_name = "name";
  }
  const auto base_file = file_of("base", base == nullptr ? Bytes() : *base);
  const auto target_file = file_of("target", target);
  RawImage base_image(*base_file, base_file->size());
  RawImage target_image(*target_file, target_file->size());
  Progress progress;
  const auto end = export_changes(base == nullptr ? nullptr : &base_image, target_image, *writer,
                                  options, job_of(progress, jobs));
  EXPECT_TRUE(end) << end.error().describe();
  if (end) exported.end = *end;
  return exported;
}

ChainLink link_of(const Bytes& stream, Format format = Format::kSnapdiff) {
  return {"diff", [&stream, format]() -> Result<std::unique_ptr<ChangeReader>> {
            ByteSource source = [&stream, at = size_t{0}](std::span<std::byte> out) mutable {
              // In odd pieces, as a pipe would.
              const size_t size = std::min({out.size(), stream.size() - at, size_t{70001}});
              std::copy_n(stream.begin() + static_cast<ptrdiff_t>(at), size, out.begin());
              at += size;
              return Result<size_t>(size);
            };
            if (format == Format::kSnapdiff) {
              SNAP_ASSIGN(auto reader, SnapdiffReader::open(std::move(source), "diff"));
              return std::unique_ptr<ChangeReader>(std::move(reader));
            }
            SNAP_ASSIGN(auto reader, rbd::Reader::open(std::move(source), "diff"));
            return std::unique_ptr<ChangeReader>(std::move(reader));
          }};
}

std::vector<ChainLink> links_of(const std::vector<Bytes>& streams,
                                Format format = Format::kSnapdiff) {
  std::vector<ChainLink> links;
  for (const Bytes& stream : streams) links.push_back(link_of(stream, format));
  return links;
}

constexpr uint64_t kSmallBatch = 1;  // a flush after every window

Result<void> apply_in_place(const std::vector<Bytes>& streams, File& image, File& journal,
                            bool resizable = true, uint64_t batch_bytes = kSmallBatch) {
  TestContext context;
  context.files.add("image", image, resizable ? FileKind::kRegular : FileKind::kBlockDevice);
  context.files.add("journal", journal);
  std::deque<MemoryFile> diffs;
  ops::ApplyRequest request;
  for (const Bytes& stream : streams) {
    const std::string name = fmt::format("diff{}", diffs.size());
    diffs.emplace_back(name, stream);
    context.files.add(name, diffs.back());
    request.diffs.paths.push_back(name);
  }
  request.diffs.linking = Linking::kOptional;
  request.options.batch_bytes = batch_bytes;
  SNAP_ASSIGN(const auto job, ops::ApplyJob::prepare(context.get(), request,
                                                     {raw_file("image"), {}, {}}, "journal"));
  SNAP_TRY(job->run());
  return {};
}

Result<Bytes> apply_to_new(const std::vector<ChainLink>& links, const Bytes* base) {
  Progress progress;
  const Job job = job_of(progress);
  SNAP_ASSIGN(Chain chain,
              Chain::open(links, base == nullptr ? 0 : base->size(), Linking::kOptional));
  Apply apply(std::move(chain));
  const auto base_file = file_of("base", base == nullptr ? Bytes() : *base);
  RawImage raw(*base_file, base_file->size());
  SNAP_ASSIGN(const ChainCheck checked,
              apply.check(base == nullptr ? nullptr : &raw, Apply::BaseSize::kExact, true,
                          std::nullopt, job));
  Bytes start = base == nullptr ? Bytes() : *base;
  start.resize(apply.shape().kept_size());
  start.resize(apply.shape().final_size());
  const auto file = file_of("new", start);
  SNAP_TRY(apply.write({file.get(), true, true}, checked, nullptr, job));
  return content_of(*file);
}

TEST(Apply, ChainsOfDiffsLeadToTheirStates) {
  std::mt19937_64 random(run_seed());
  constexpr uint64_t kMost = 7 * kMiB / 2;
  for (int n = 0; n < case_count(40); ++n) {
    SCOPED_TRACE(testing::Message() << "case " << n);
    const bool full = below(random, 2) == 0;
    std::vector<Bytes> states{next_state(Bytes(below(random, kMost)), kMost, random)};
    std::vector<Bytes> streams;
    ExportOptions options;
    options.granularity = std::array{512U, 4096U, 65536U}[below(random, 3)];
    if (full) {
      streams.push_back(export_to(Format::kSnapdiff, nullptr, states[0], options).stream);
    }
    const size_t steps = n == 0 ? 20 : 1 + below(random, 5);
    for (size_t i = 0; i < steps; ++i) {
      states.push_back(next_state(states.back(), kMost, random));
      streams.push_back(export_to(Format::kSnapdiff, &states[i], states[i + 1], options).stream);
    }
    const auto links = links_of(streams);
    const auto made = apply_to_new(links, full ? nullptr : &states[0]);
    ASSERT_TRUE(made) << made.error().describe();
    ASSERT_EQ(*made, states.back());
    if (full) continue;
    const auto image = file_of("image", states[0]);
    MemoryFile journal("journal");
    const auto done = apply_in_place(streams, *image, journal);
    ASSERT_TRUE(done) << done.error().describe();
    ASSERT_EQ(content_of(*image), states.back());
    // On a device there is junk behind the image, and its size stays.
    Bytes device = states[0];
    const Bytes junk = random_bytes(kMost + 4096 - device.size(), random);
    device.insert(device.end(), junk.begin(), junk.end());
    const auto on_device = file_of("device", device);
    MemoryFile other_journal("journal");
    ASSERT_TRUE(apply_in_place(streams, *on_device, other_journal, false));
    Bytes found = content_of(*on_device);
    ASSERT_EQ(found.size(), device.size());
    found.resize(states.back().size());
    ASSERT_EQ(found, states.back());
  }
}

Result<Exported> compose(const std::vector<Bytes>& streams, Format format) {
  Progress progress;
  Exported exported;
  SNAP_ASSIGN(Chain chain,
              Chain::open(links_of(streams, format), kMostImageBytes, Linking::kOptional));
  const auto writer = writer_into(format, exported);
  SNAP_ASSIGN(exported.end, compose_changes(chain, *writer, "test", job_of(progress)));
  return exported;
}

Result<Exported> invert(const Exported& diff, const Bytes& base) {
  Progress progress;
  Exported exported;
  SNAP_ASSIGN(Chain chain, Chain::open({link_of(diff.stream)}, base.size()));
  const auto file = file_of("base", base);
  RawImage image(*file, file->size());
  const auto writer = writer_into(Format::kSnapdiff, exported);
  SNAP_ASSIGN(exported.end,
              invert_changes(chain, image, diff.end.child_id, *writer, "test", job_of(progress)));
  return exported;
}

// A diff that writes `extents` of a MiB's only window, with the data that `after` has there.
Exported diff_of(const std::vector<ChangeExtent>& extents, const Bytes& after) {
  Exported diff;
  const auto writer = writer_into(Format::kSnapdiff, diff);
  ChangeHeader header;
  header.base_size = header.target_size = after.size();
  EXPECT_TRUE(writer->begin(header));
  ChangeRecord record;
  record.extents = extents;
  Bytes data;
  for (const ChangeExtent& extent : extents) {
    if (extent.kind != ChangeKind::kData) continue;
    data.insert(data.end(), after.begin() + extent.offset, after.begin() + extent.end());
  }
  record.data_length = static_cast<uint32_t>(data.size());
  writer->prepare(record, data);
  EXPECT_TRUE(writer->add(record));
  EXPECT_TRUE(writer->finish(diff.end));
  return diff;
}

// As many extents as a record can have, `stride` apart.
std::vector<ChangeExtent> most_extents(uint32_t first, uint32_t stride, uint32_t length,
                                       ChangeKind kind) {
  std::vector<ChangeExtent> extents;
  for (uint32_t i = 0; i < 65536 && first + i * stride + length <= kMiB; ++i) {
    extents.push_back({first + i * stride, length, kind});
  }
  return extents;
}

TEST(Compose, MoreExtentsThanARecordCanHave) {
  std::mt19937_64 random(run_seed());
  const Bytes base = random_bytes(kMiB, random);
  const Bytes other = random_bytes(kMiB, random);
  const auto data = diff_of(most_extents(0, 16, 4, ChangeKind::kData), other);
  const auto apart = diff_of(most_extents(8, 16, 4, ChangeKind::kData), other);
  const auto refused = compose({data.stream, apart.stream}, Format::kSnapdiff);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
  // Beside each other they become one.
  const auto zeros = diff_of(most_extents(4, 16, 12, ChangeKind::kZero), other);
  const auto both = compose({data.stream, zeros.stream}, Format::kSnapdiff);
  ASSERT_TRUE(both) << both.error().describe();
  EXPECT_EQ(*apply_to_new(links_of({both->stream}), &base),
            *apply_to_new(links_of({data.stream, zeros.stream}), &base));
}

TEST(Invert, MoreExtentsThanARecordCanHave) {
  std::mt19937_64 random(run_seed());
  // Each extent that lies over a border of 4 KiB gives back zeros and data.
  Bytes base = random_bytes(kMiB, random);
  for (size_t at = 0; at < base.size(); at += 8192)
    std::fill_n(base.begin() + static_cast<ptrdiff_t>(at), 4096, std::byte{0});
  const auto diff = diff_of(most_extents(4, 15, 11, ChangeKind::kData), random_bytes(kMiB, random));
  const auto there = apply_to_new(links_of({diff.stream}), &base);
  ASSERT_TRUE(there);
  const auto back = invert(diff, base);
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(*apply_to_new(links_of({back->stream}), &*there), base);
}

TEST(Compose, DoesWhatTheChainDoes) {
  std::mt19937_64 random(run_seed() + 20);
  constexpr uint64_t kMost = 7 * kMiB / 2;
  for (int n = 0; n < case_count(40); ++n) {
    SCOPED_TRACE(testing::Message() << "case " << n);
    const Format format = std::array{Format::kSnapdiff, Format::kSnapdiff, Format::kRbd1,
                                     Format::kRbd2}[below(random, 4)];
    const bool full = below(random, 3) == 0;
    std::vector<Bytes> states{next_state(Bytes(below(random, kMost)), kMost, random)};
    std::vector<Bytes> streams;
    ExportOptions options;
    options.granularity = std::array{512U, 4096U, 65536U}[below(random, 3)];
    ChangeEnd last;
    if (full) {
      const Exported one = export_to(format, nullptr, states[0], options);
      streams.push_back(one.stream);
      options.parent_id = one.end.child_id;
    }
    const size_t steps = 2 + below(random, 4);
    for (size_t i = 0; i < steps; ++i) {
      states.push_back(next_state(states.back(), kMost, random));
      const Exported one = export_to(format, &states[i], states[i + 1], options);
      streams.push_back(one.stream);
      options.parent_id = one.end.child_id;
      last = one.end;
    }
    const auto composed = compose(streams, format);
    ASSERT_TRUE(composed) << composed.error().describe();
    const auto made =
        apply_to_new({link_of(composed->stream, format)}, full ? nullptr : &states[0]);
    ASSERT_TRUE(made) << made.error().describe();
    ASSERT_EQ(*made, states.back());
    if (format != Format::kSnapdiff) continue;
    EXPECT_EQ(composed->end.child_id, last.child_id);
    // The next diff of the chain follows it.
    Bytes next = states.back();
    if (next.empty()) continue;
    next[next.size() / 2] ^= std::byte{1};
    const Bytes more = export_to(format, &states.back(), next, options).stream;
    const auto further =
        apply_to_new({link_of(composed->stream), link_of(more)}, full ? nullptr : &states[0]);
    ASSERT_TRUE(further) << further.error().describe();
    ASSERT_EQ(*further, next);
  }
}

TEST(Compose, KeepsTheSumsThatItCan) {
  std::mt19937_64 random(run_seed() + 21);
  const Bytes first = random_bytes(3 * kMiB, random);
  Bytes second = first;
  std::fill_n(second.begin(), 8192, std::byte{1});
  second[kMiB] ^= std::byte{1};
  Bytes third = second;
  std::fill_n(third.begin() + 4096, 4096, std::byte{2});  // within what changed before
  third[2 * kMiB] ^= std::byte{1};
  ExportOptions options;
  options.parent_id = Sha256::of(first);
  const Exported one = export_to(Format::kSnapdiff, &first, second, options);
  options.parent_id = one.end.child_id;
  const std::vector<Bytes> streams{one.stream,
                                   export_to(Format::kSnapdiff, &second, third, options).stream};
  const auto composed = compose(streams, Format::kSnapdiff);
  ASSERT_TRUE(composed);
  for (const size_t at : {size_t{100}, size_t{kMiB + 7}, size_t{2 * kMiB + 7}}) {
    Bytes wrong = first;
    wrong[at] ^= std::byte{8};
    const auto done = apply_to_new({link_of(composed->stream)}, &wrong);
    ASSERT_FALSE(done) << at;
    EXPECT_EQ(done.error().code(), ErrorCode::kWrongBase);
  }
  EXPECT_FALSE(compose({streams[1], streams[0]}, Format::kSnapdiff));
}

TEST(Invert, TakesItBack) {
  std::mt19937_64 random(run_seed() + 22);
  constexpr uint64_t kMost = 7 * kMiB / 2;
  for (int n = 0; n < case_count(40); ++n) {
    SCOPED_TRACE(testing::Message() << "case " << n);
    const Bytes before = next_state(Bytes(below(random, kMost)), kMost, random);
    const Bytes after = next_state(before, kMost, random);
    ExportOptions options;
    options.granularity = std::array{512U, 4096U, 65536U}[below(random, 3)];
    if (below(random, 2) == 0) options.parent_id = Sha256::of(before);
    const Exported diff = export_to(Format::kSnapdiff, &before, after, options);
    const auto inverse = invert(diff, before);
    ASSERT_TRUE(inverse) << inverse.error().describe();
    const auto made = apply_to_new({link_of(inverse->stream)}, &after);
    ASSERT_TRUE(made) << made.error().describe();
    ASSERT_EQ(*made, before);
    if (options.parent_id) {
      EXPECT_EQ(inverse->end.child_id, options.parent_id);
    }
    // Forth and back is a chain.
    const auto nothing = apply_to_new({link_of(diff.stream), link_of(inverse->stream)}, &before);
    ASSERT_TRUE(nothing) << nothing.error().describe();
    ASSERT_EQ(*nothing, before);
    if (diff.end.totals.records == 0) continue;
    Bytes wrong = before;
    if (before.size() != after.size()) {
      wrong.push_back(std::byte{0});
      const auto refused = invert(diff, wrong);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code(), ErrorCode::kWrongBase);
    }
  }
}

// What is cut off and comes back is zeros, and so is what is new on a device, though no diff has a
// record for it.
TEST(Apply, WhatNoRecordMentionsIsZeroedWhereItMustBe) {
  std::mt19937_64 random(run_seed() + 10);
  const Bytes first = random_bytes(4 * kMiB + 700, random);
  Bytes second = first;
  second.resize(kMiB + 300);
  Bytes third = second;
  third.resize(5 * kMiB + 9);
  const std::vector<Bytes> streams{export_to(Format::kSnapdiff, &first, second).stream,
                                   export_to(Format::kSnapdiff, &second, third).stream};
  const auto image = file_of("image", first);
  MemoryFile journal("journal");
  ASSERT_TRUE(apply_in_place(streams, *image, journal));
  EXPECT_EQ(content_of(*image), third);
  Bytes device = second;
  const Bytes junk = random_bytes(5 * kMiB, random);
  device.insert(device.end(), junk.begin(), junk.end());
  for (const uint64_t batch_bytes : {kSmallBatch, 16 * kMiB}) {
    const auto on_device = file_of("device", device);
    MemoryFile other_journal("journal");
    ASSERT_TRUE(apply_in_place({streams[1]}, *on_device, other_journal, false, batch_bytes));
    Bytes found = content_of(*on_device);
    found.resize(third.size());
    EXPECT_EQ(found, third);
  }
}

TEST(Apply, CephsStreamsLeadToTheSameStates) {
  std::mt19937_64 random(run_seed() + 1);
  constexpr uint64_t kMost = 3 * kMiB;
  for (int n = 0; n < case_count(20); ++n) {
    for (const Format format : {Format::kRbd1, Format::kRbd2}) {
      const Bytes before = next_state(Bytes(below(random, kMost)), kMost, random);
      const Bytes middle = next_state(before, kMost, random);
      const Bytes after = next_state(middle, kMost, random);
      const std::vector<Bytes> streams{export_to(format, &before, middle).stream,
                                       export_to(format, &middle, after).stream};
      const auto made = apply_to_new(links_of(streams, format), &before);
      ASSERT_TRUE(made) << made.error().describe();
      ASSERT_EQ(*made, after);
      const Bytes full = export_to(format, nullptr, after).stream;
      const auto restored = apply_to_new({link_of(full, format)}, nullptr);
      ASSERT_TRUE(restored) << restored.error().describe();
      ASSERT_EQ(*restored, after);
    }
  }
}

// A diff of Ceph's with few ranges, most of them of many windows.
struct WideDiff {
  Bytes stream;
  uint64_t size = 0;
  std::vector<std::pair<uint64_t, Bytes>> ranges;

  WideDiff(uint64_t from_size, uint64_t most, std::mt19937_64& random) {
    size = below(random, 2) == 0 ? from_size : below(random, most) / 512 * 512;
    uint64_t at = 0;
    while (true) {
      const uint64_t from = at + below(random, 3) * (below(random, 2) == 0 ? kWindowBytes : 512);
      if (from >= size) break;
      const bool data = below(random, 3) == 0;
      at = std::min(size, from + (data ? 512 * (1 + below(random, 9)) : below(random, most) + 1));
      ranges.emplace_back(from, data ? random_bytes(at - from, random) : Bytes(at - from));
    }
    write();
  }

  // One range of zeros: the whole image.
  explicit WideDiff(uint64_t image_size) : size(image_size) {
    ranges.emplace_back(0, Bytes(size));
    write();
  }

  void change(Bytes& image) const {
    image.resize(size);
    for (const auto& [offset, bytes] : ranges) {
      std::copy(bytes.begin(), bytes.end(), image.begin() + static_cast<ptrdiff_t>(offset));
    }
  }

 private:
  // As doc/dev/rbd-diff has it.
  void write() {
    put("rbd diff v1\n");
    put(std::string_view("f\1\0\0\0a", 6));
    put("s");
    put(size);
    for (const auto& [offset, bytes] : ranges) {
      const bool data =
          std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; });
      put(data ? "w" : "z");
      put(offset);
      put(bytes.size());
      if (data) stream.insert(stream.end(), bytes.begin(), bytes.end());
    }
    put("e");
  }

  void put(std::string_view text) {
    for (const char c : text) stream.push_back(static_cast<std::byte>(c));
  }

  void put(uint64_t value) {
    stream.resize(stream.size() + 8);
    store_le(stream.data() + stream.size() - 8, value);
  }
};

TEST(Apply, RangesOfManyWindowsAreTakenTogether) {
  std::mt19937_64 random(run_seed() + 11);
  constexpr uint64_t kMost = 9 * kMiB;
  for (int n = 0; n < case_count(40); ++n) {
    const Bytes first = random_bytes(below(random, kMost), random);
    Bytes device = random_bytes(kMost, random);
    const auto on_device = file_of("device", device);
    Bytes last = first;
    std::vector<Bytes> streams;
    for (uint64_t i = below(random, 3) + 1; i > 0; --i) {
      const WideDiff diff(last.size(), kMost, random);
      diff.change(last);
      diff.change(device);
      streams.push_back(diff.stream);
    }
    const auto links = links_of(streams, Format::kRbd1);
    const auto made = apply_to_new(links, &first);
    ASSERT_TRUE(made) << made.error().describe();
    ASSERT_EQ(*made, last);
    const auto image = file_of("image", first);
    MemoryFile journal("journal");
    const auto done = apply_in_place(streams, *image, journal, true, below(random, 9 * kMiB));
    ASSERT_TRUE(done) << done.error().describe();
    ASSERT_EQ(content_of(*image), last);
    MemoryFile other_journal("journal");
    const auto device_done = apply_in_place(streams, *on_device, other_journal, false);
    ASSERT_TRUE(device_done) << device_done.error().describe();
    Bytes found = content_of(*on_device);
    found.resize(device.size());
    ASSERT_EQ(found, device);
  }
}

// What a chain does to each window, taken at most so many at a time.
std::vector<std::pair<uint64_t, std::vector<ChangeExtent>>> effects(
    const std::vector<ChainLink>& links, uint64_t base_size, bool resizable, uint64_t most) {
  std::vector<std::pair<uint64_t, std::vector<ChangeExtent>>> effects;
  auto chain = Chain::open(links, base_size);
  EXPECT_TRUE(chain);
  auto reader = chain->read(resizable);
  EXPECT_TRUE(reader);
  ChainTools tools;
  Bytes window(kWindowBytes);
  while (reader->peek()) {
    WindowChange change;
    EXPECT_TRUE(reader->next(change, most));
    EXPECT_LE(change.windows, most);
    const auto replayed = chain->replay(change, resizable, OldContent::kUnchecked, window, tools);
    EXPECT_TRUE(replayed);
    for (uint64_t i = 0; i < change.windows; ++i) {
      effects.emplace_back(change.window + i, replayed->extents);
    }
  }
  return effects;
}

TEST(Chain, WindowsTakenTogetherAreThoseOneByOne) {
  std::mt19937_64 random(run_seed() + 12);
  constexpr uint64_t kMost = 16 * kMiB;
  for (int n = 0; n < case_count(100); ++n) {
    const uint64_t base_size = below(random, kMost);
    std::vector<Bytes> streams;
    uint64_t size = base_size;
    for (uint64_t i = below(random, 3) + 1; i > 0; --i) {
      const WideDiff diff(size, kMost, random);
      streams.push_back(diff.stream);
      size = diff.size;
    }
    const auto links = links_of(streams, Format::kRbd1);
    for (const bool resizable : {true, false}) {
      const auto one_by_one = effects(links, base_size, resizable, 1);
      for (const uint64_t most : {uint64_t{3}, UINT64_MAX}) {
        ASSERT_EQ(effects(links, base_size, resizable, most), one_by_one);
      }
    }
  }
}

TEST(Export, DoesNotDependOnThreads) {
  std::mt19937_64 random(run_seed() + 2);
  const Bytes before = random_bytes(5 * kMiB + 77, random);
  const Bytes after = next_state(next_state(before, 5 * kMiB, random), 5 * kMiB, random);
  const Bytes one = export_to(Format::kSnapdiff, &before, after, {}, 1).stream;
  for (const unsigned jobs : {2U, 7U}) {
    EXPECT_EQ(export_to(Format::kSnapdiff, &before, after, {}, jobs).stream, one);
  }
}

TEST(Apply, WrongBasesAreRefused) {
  std::mt19937_64 random(run_seed() + 3);
  const Bytes base = random_bytes(2 * kMiB, random);
  Bytes target = base;
  target[5000] ^= std::byte{1};
  target[kMiB + 9] ^= std::byte{1};
  const Bytes diff = export_to(Format::kSnapdiff, &base, target).stream;
  Bytes other = base;
  other[kMiB + 4095] ^= std::byte{4};  // in what the diff changes
  Bytes shorter = base;
  shorter.resize(2 * kMiB - 1);
  for (const Bytes& wrong : {other, shorter}) {
    const auto image = file_of("image", wrong);
    MemoryFile journal("journal");
    const auto done = apply_in_place({diff}, *image, journal);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::kWrongBase);
    EXPECT_EQ(content_of(*image), wrong);
    EXPECT_EQ(journal.size(), 0U);
  }
  // What is there already is no error.
  const auto image = file_of("image", target);
  MemoryFile journal("journal");
  EXPECT_TRUE(apply_in_place({diff}, *image, journal));
  EXPECT_EQ(content_of(*image), target);
}

TEST(Apply, AMissingLinkIsNoticedByItsIds) {
  std::mt19937_64 random(run_seed() + 4);
  std::vector<Bytes> states{random_bytes(kMiB, random)};
  std::vector<Bytes> streams;
  ExportOptions options;
  for (size_t i = 0; i < 3; ++i) {
    states.push_back(states.back());
    states.back()[i * 8192] ^= std::byte{1};  // each elsewhere: the sums do not show it
    const Exported one = export_to(Format::kSnapdiff, &states[i], states[i + 1], options);
    options.parent_id = one.end.child_id;
    streams.push_back(one.stream);
  }
  const auto good = apply_to_new(links_of(streams), &states[0]);
  ASSERT_TRUE(good);
  EXPECT_EQ(*good, states[3]);
  const auto bad = apply_to_new({link_of(streams[0]), link_of(streams[2])}, &states[0]);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code(), ErrorCode::kWrongBase);
  // Without ids, the sizes tell.
  Bytes longer = states[3];
  longer.resize(kMiB + 5);
  Bytes longest = longer;
  longest[90000] ^= std::byte{1};
  const Bytes later = export_to(Format::kSnapdiff, &longer, longest).stream;
  const auto skipped = apply_to_new({link_of(streams[0]), link_of(later)}, &states[0]);
  ASSERT_FALSE(skipped);
  EXPECT_EQ(skipped.error().code(), ErrorCode::kWrongBase);
  const auto turned = apply_to_new({link_of(streams[1]), link_of(streams[0])}, &states[1]);
  ASSERT_FALSE(turned);
}

// The same when the first one is missing: the next says what it expects of its base.
TEST(Apply, AMissingFirstLinkIsNoticedByWhatItWrote) {
  std::mt19937_64 random(run_seed() + 12);
  const Bytes first = random_bytes(4 * kMiB, random);
  Bytes second = first;
  second[5] ^= std::byte{1};
  second[3 * kMiB] ^= std::byte{1};
  Bytes third = second;
  third[2 * kMiB] ^= std::byte{1};
  const Exported one = export_to(Format::kSnapdiff, &first, second);
  MemoryFile file("one", one.stream);
  const auto expectations = expectations_of(file);
  ASSERT_TRUE(expectations);
  EXPECT_EQ(expectations->size(), 2U);
  ExportOptions options;
  options.parent_id = one.end.child_id;
  options.expectations = *expectations;
  const Bytes two = export_to(Format::kSnapdiff, &second, third, options).stream;
  const auto good = apply_to_new({link_of(two)}, &second);
  ASSERT_TRUE(good) << good.error().describe();
  EXPECT_EQ(*good, third);
  EXPECT_TRUE(apply_to_new({link_of(one.stream), link_of(two)}, &first));
  const auto bad = apply_to_new({link_of(two)}, &first);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code(), ErrorCode::kWrongBase);
  // Nor does it help that the diff's own changes are there.
  Bytes without = third;
  without[5] = first[5];
  const auto half = apply_to_new({link_of(two)}, &without);
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().code(), ErrorCode::kWrongBase);
  // Applied already is no wrong base, even where it changed what was expected.
  Bytes fourth = third;
  fourth[5] ^= std::byte{2};
  options.parent_id.reset();
  const Bytes three = export_to(Format::kSnapdiff, &second, fourth, options).stream;
  const auto again = file_of("image", fourth);
  MemoryFile unused("journal");
  EXPECT_TRUE(apply_in_place({three}, *again, unused));
  const auto image = file_of("image", third);
  MemoryFile journal("journal");
  EXPECT_TRUE(apply_in_place({two}, *image, journal));
  EXPECT_EQ(content_of(*image), third);
}

// A small stream with all kinds of elements.
struct Small {
  Bytes base;
  Bytes target;
  Bytes stream;
};
Small small_case(std::mt19937_64& random) {
  Small small;
  small.base = random_bytes(kMiB + 12288, random);
  small.target = small.base;
  small.target.resize(kMiB + 16384);
  std::fill_n(small.target.begin() + 8192, 4096, std::byte{0});
  small.target[100] ^= std::byte{1};
  small.target[kMiB + 5] ^= std::byte{1};
  std::fill_n(small.target.begin() + 16384, 512, std::byte{7});
  ExportOptions options;
  options.granularity = 512;
  options.maker = "test";
  Expectation expectation;
  expectation.extents = {{100, 50, ChangeKind::kData}, {1000, 7, ChangeKind::kData}};
  Sha256 sum;
  sum.update(std::span(small.base).subspan(100, 50));
  sum.update(std::span(small.base).subspan(1000, 7));
  expectation.sum = sum.finish_digest();
  options.expectations.push_back(expectation);
  small.stream = export_to(Format::kSnapdiff, &small.base, small.target, options).stream;
  return small;
}

// Whether the diff passes the check against that base.
Result<void> check(const Bytes& stream, Image& base, Format format = Format::kSnapdiff) {
  Progress progress;
  SNAP_ASSIGN(Chain chain, Chain::open({link_of(stream, format)}, base.size()));
  Apply apply(std::move(chain));
  SNAP_TRY(apply.check(&base, Apply::BaseSize::kExact, true, std::nullopt, job_of(progress, 1)));
  return {};
}

TEST(Snapdiff, EveryCutIsRefused) {
  std::mt19937_64 random(run_seed() + 5);
  const Small small = small_case(random);
  ASSERT_LT(small.stream.size(), 4000U);
  const auto file = file_of("base", small.base);
  RawImage base(*file, file->size());
  ASSERT_TRUE(check(small.stream, base));
  for (size_t length = 0; length < small.stream.size(); ++length) {
    if (below(random, 8) >= scaled(8)) continue;  // fewer in a shorter run
    const Bytes cut(small.stream.begin(), small.stream.begin() + static_cast<ptrdiff_t>(length));
    const auto done = check(cut, base);
    ASSERT_FALSE(done) << length;
    ASSERT_EQ(done.error().code(), ErrorCode::kCorruption) << length;
  }
  Bytes more = small.stream;
  more.push_back(std::byte{0});
  ASSERT_FALSE(check(more, base));
}

TEST(Rbd, EveryCutIsRefused) {
  std::mt19937_64 random(run_seed() + 13);
  const Bytes before = random_bytes(8192, random);
  Bytes after = before;
  after.resize(12288);
  std::fill_n(after.begin() + 4096, 512, std::byte{7});
  std::fill_n(after.begin(), 512, std::byte{0});
  ExportOptions options;
  options.granularity = 512;
  const auto file = file_of("base", before);
  RawImage base(*file, file->size());
  for (const Format format : {Format::kRbd1, Format::kRbd2}) {
    const Bytes whole = export_to(format, &before, after, options).stream;
    ASSERT_LT(whole.size(), 1000U);
    ASSERT_TRUE(check(whole, base, format));
    for (size_t length = 0; length < whole.size(); ++length) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length));
      ASSERT_FALSE(check(cut, base, format)) << length;
    }
    Bytes more = whole;
    more.push_back(std::byte{0});
    ASSERT_FALSE(check(more, base, format));
  }
}

TEST(Snapdiff, EveryFlippedBitIsRefusedOrHarmless) {
  std::mt19937_64 random(run_seed() + 6);
  const Small small = small_case(random);
  const auto file = file_of("base", small.base);
  RawImage base(*file, file->size());
  size_t harmless = 0;
  for (size_t at = 0; at < small.stream.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      if (below(random, 8) >= scaled(8)) continue;  // fewer in a shorter run
      Bytes damaged = small.stream;
      damaged[at] ^= static_cast<std::byte>(1U << bit);
      if (!check(damaged, base)) continue;
      ++harmless;
      const auto done = apply_to_new({link_of(damaged)}, &small.base);
      ASSERT_TRUE(done);
      ASSERT_EQ(*done, small.target) << "byte " << at << " bit " << bit;
    }
  }
  // Only what nothing depends on may be changed without notice: a byte or two of a zstd frame.
  EXPECT_LT(harmless, 32U);
}

TEST(Snapdiff, AnotherPayloadIsRefused) {
  std::mt19937_64 random(run_seed() + 11);
  const Bytes base(kMiB);
  const auto with_data = [&](const Bytes& data) {
    Bytes target = base;
    std::copy(data.begin(), data.end(), target.begin());
    return target;
  };
  Bytes stream = export_to(Format::kSnapdiff, &base, with_data(random_bytes(4096, random))).stream;
  const Bytes other =
      export_to(Format::kSnapdiff, &base, with_data(random_bytes(4096, random))).stream;
  ASSERT_EQ(stream.size(), other.size());
  // A good frame of another stream, with its own checksum.
  const std::array magic{std::byte{0x28}, std::byte{0xb5}, std::byte{0x2f}, std::byte{0xfd}};
  const auto at = std::search(other.begin(), other.end(), magic.begin(), magic.end());
  ASSERT_NE(at, other.end());
  std::copy_n(at, 4100, stream.begin() + (at - other.begin()));
  const auto done = apply_to_new({link_of(stream)}, &base);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::kCorruption);
}

struct CrashCase {
  Bytes first, last;
  std::vector<Bytes> streams;
  Format format = Format::kSnapdiff;
};

CrashCase snapdiff_crash_case(std::mt19937_64& random) {
  std::vector<Bytes> states{random_bytes(2 * kMiB + 4096, random)};
  Bytes next = states[0];
  next.resize(3 * kMiB + 2048);
  for (const size_t at :
       {size_t{512}, size_t{70000}, size_t{kMiB + 100}, size_t{2 * kMiB}, size_t{3 * kMiB}}) {
    std::fill_n(next.begin() + static_cast<ptrdiff_t>(at), 1500, std::byte{9});
  }
  states.push_back(next);
  next.resize(2 * kMiB + 512);  // smaller, and another change
  std::fill_n(next.begin() + 1024, 2000, std::byte{0});
  states.push_back(next);
  if (below(random, 2) == 0) {
    next.resize(2 * kMiB + 9000);  // and longer again
    states.push_back(next);
  }
  CrashCase one{states.front(), states.back(), {}};
  ExportOptions options;
  options.granularity = 512;
  for (size_t i = 0; i + 1 < states.size(); ++i) {
    one.streams.push_back(export_to(one.format, &states[i], states[i + 1], options).stream);
  }
  return one;
}

// Without sums, and with ranges of many windows.
CrashCase rbd_crash_case(std::mt19937_64& random) {
  constexpr uint64_t kMost = 4 * kMiB;
  CrashCase one{random_bytes(3 * kMiB, random), {}, {}, Format::kRbd1};
  one.last = one.first;
  const auto add = [&one](const WideDiff& diff) {
    diff.change(one.last);
    one.streams.push_back(diff.stream);
  };
  if (below(random, 2) == 0) {
    add(WideDiff(one.last.size()));
  } else {
    for (int i = 0; i < 2; ++i) add(WideDiff(one.last.size(), kMost, random));
  }
  return one;
}

// Power cuts while a chain is applied in place; returns the number of states from which it could
// not be finished. `swallow`: which file's flushes do nothing (0 the image, 1 the journal).
size_t count_bad_states(const CrashCase& one, std::mt19937_64& random, std::optional<int> swallow,
                        bool complain) {
  MemoryFile image_file("image", one.first);
  MemoryFile journal_file("journal");
  WriteLog log;
  LoggedFile image(image_file, log, swallowed_if(swallow == 0));
  LoggedFile journal(journal_file, log, swallowed_if(swallow == 1));
  const auto whole = apply_in_place(one.streams, image, journal);
  EXPECT_TRUE(whole) << whole.error().describe();
  EXPECT_EQ(content_of(image_file), one.last);
  size_t bad = 0;
  size_t visited = 0;
  log.visit_final_states(16, 8, random, [&](const auto& after, size_t, const std::string& which) {
    MemoryFile left("journal", after[1]);
    const auto open = ApplyJournal::open(left);
    if (after[0] == one.last && open && !*open) return;
    ++bad;
    if (complain) ADD_FAILURE() << "not durable at the end: " << which;
  });
  log.visit_crash_states(
      scaled(48), scaled(5), random, [&](const auto& after, size_t cut, const std::string& which) {
        ++visited;
        MemoryFile found("image", after[0]);
        MemoryFile found_journal("journal", after[1]);
        const auto resumed = apply_in_place(one.streams, found, found_journal);
        if (resumed && content_of(found) == one.last) return;
        ++bad;
        if (complain) {
          ADD_FAILURE() << (resumed ? "another image" : resumed.error().describe()) << " after "
                        << cut << " events, " << which;
        }
      });
  EXPECT_GT(visited, log.events().size());
  return bad;
}

TEST(Apply, IsFinishedFromEveryCrash) {
  std::mt19937_64 random(run_seed() + 7);
  for (int n = 0; n < 4; ++n) {
    EXPECT_EQ(count_bad_states(snapdiff_crash_case(random), random, std::nullopt, true), 0U);
    EXPECT_EQ(count_bad_states(rbd_crash_case(random), random, std::nullopt, true), 0U);
  }
}

TEST(Apply, MutantsWithoutAFlushAreCaught) {
  std::mt19937_64 random(run_seed() + 8);
  const CrashCase one = snapdiff_crash_case(random);
  EXPECT_GT(count_bad_states(one, random, 1, false), 0U) << "the journal's";
  EXPECT_GT(count_bad_states(one, random, 0, false), 0U) << "the image's";
}

TEST(Apply, WhatOthersChangedMeanwhileIsNoticed) {
  std::mt19937_64 random(run_seed() + 9);
  const Bytes base = random_bytes(3 * kMiB, random);
  Bytes target = base;
  for (size_t at = 10; at < target.size(); at += kMiB) target[at] ^= std::byte{1};
  const Bytes diff = export_to(Format::kSnapdiff, &base, target).stream;
  // Stopped while the second of three windows is written.
  MemoryFile image("image", base);
  MemoryFile journal("journal");
  size_t writes = 0;
  FaultFile failing(image, [&](const FileOperation& operation) -> Result<void> {
    if (operation.kind == FileOperation::Kind::kWrite && ++writes == 2) {
      return Error(ErrorCode::kIo, "the judge says no");
    }
    return {};
  });
  ASSERT_FALSE(apply_in_place({diff}, failing, journal));
  for (const size_t at : {size_t{10}, size_t{2 * kMiB + 10}}) {
    MemoryFile changed("image", content_of(image));
    MemoryFile same_journal("journal", content_of(journal));
    ASSERT_TRUE(changed.write_at(at + 1, std::array{std::byte{1}, std::byte{2}}));
    const auto resumed = apply_in_place({diff}, changed, same_journal);
    ASSERT_FALSE(resumed) << at;
    EXPECT_EQ(resumed.error().code(), ErrorCode::kWrongBase);
  }
  // What was done and durable is old again: it would not be written a second time.
  MemoryFile restored("image", content_of(image));
  MemoryFile same_journal("journal", content_of(journal));
  ASSERT_TRUE(restored.write_at(0, std::span(base).first(kMiB)));
  ASSERT_FALSE(apply_in_place({diff}, restored, same_journal));
  ASSERT_TRUE(apply_in_place({diff}, image, journal));
  EXPECT_EQ(content_of(image), target);
}

// All is written and durable then: that the journal stays is in the way, no more.
TEST(Apply, AJournalThatCannotBeRemovedIsNoFailure) {
  std::mt19937_64 random(run_seed() + 11);
  const Small small = small_case(random);
  const auto image = file_of("image", small.base);
  MemoryFile journal_file("journal");
  FaultFile journal(journal_file, [&](const FileOperation& operation) -> Result<void> {
    const bool removes = operation.kind == FileOperation::Kind::kResize && operation.length == 0;
    if (!removes || journal_file.size() == 0) return {};
    return Error(ErrorCode::kIo, "the folder says no");
  });
  for (int n = 0; n < 2; ++n) {  // the second time all changes are there
    const auto done = apply_in_place({small.stream}, *image, journal);
    ASSERT_TRUE(done) << done.error().describe();
    EXPECT_EQ(content_of(*image), small.target);
    MemoryFile left("journal", content_of(journal_file));
    const auto open = ApplyJournal::open(left);
    ASSERT_TRUE(open);
    EXPECT_FALSE(*open) << "it is not finished";
  }
}

}  // namespace
}  // namespace snaptool::test
