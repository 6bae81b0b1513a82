// SPDX-License-Identifier: Apache-2.0
#include "formats/rbd/rbd_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <set>

#include "formats/rbd/diff_index.h"
#include "formats/rbd/rbd_diff.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/printable.h"

namespace snaptool::rbd {
namespace {

constexpr std::string_view kImageBanner = "rbd image v2\n";
constexpr std::string_view kDiffsBanner = "rbd image diffs v2\n";
constexpr char kEndTag = 'E';
constexpr uint64_t kMostDiffs = 256;
constexpr size_t kMostMeta = 1000;
constexpr uint64_t kMostValue = 16 * kKiB;
constexpr uint64_t kDefaultOrder = 22;
constexpr uint64_t kLeastOrder = 12;
constexpr uint64_t kMostOrder = 25;
// Layering, exclusive lock, object map, fast diff, deep flatten: what Ceph gives a new image.
constexpr uint64_t kFeatures = 1 | 4 | 8 | 16 | 32;

// The records before the diffs. Returns where those begin.
Result<uint64_t> read_properties(const RecordFile& records, access::ImageFacts& facts,
                                 const Cancel& cancel) {
  SNAP_TRY(records.expect(0, kImageBanner));
  uint64_t at = kImageBanner.size();
  std::set<char> known;
  size_t meta = 0;
  while (true) {
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(const Record record, records.record_at(at, kEndTag));
    const char* name = record.tag == 'O'   ? "order"
                       : record.tag == 'T' ? "features"
                       : record.tag == 'U' ? "stripe_unit"
                       : record.tag == 'C' ? "stripe_count"
                                           : nullptr;
    if (name != nullptr) {
      if (!known.insert(record.tag).second)
        return records.damaged(at, "a property that is said twice");
      if (record.length != 8) return records.damaged(at, "a record of a wrong length");
      SNAP_ASSIGN(const uint64_t value, records.number_at(record.content));
      facts.details.emplace_back(name, value);
    } else if (record.tag == 'M') {
      if (++meta > kMostMeta) return records.damaged(at, "more than 1000 properties");
      SNAP_ASSIGN(const std::string key, records.text_in(record, record.content, kMostName));
      SNAP_ASSIGN(const std::string value,
                  records.text_in(record, record.content + 4 + key.size(), kMostValue));
      facts.metadata.emplace_back(key, value);
    }
    at = record.end();
    if (record.tag == kEndTag) return at;
  }
}

// An image as its diffs, the oldest first; each is up to a snapshot, the last up to now.
Result<std::vector<DiffIndex>> read_diffs(const RecordFile& records, uint64_t at,
                                          const Cancel& cancel) {
  SNAP_TRY(records.expect(at, kDiffsBanner));
  at += kDiffsBanner.size();
  if (records.file().size() - at < 8) return records.damaged(at, "the file ends here: it was cut");
  SNAP_ASSIGN(const uint64_t count, records.number_at(at));
  if (count == 0) return records.damaged(at, "an image without a diff");
  if (count > kMostDiffs) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' has {} snapshots; {} are read", records.file().name(), count - 1,
                             kMostDiffs - 1));
  }
  at += 8;
  std::vector<DiffIndex> diffs;
  for (uint64_t i = 0; i < count; ++i) {
    SNAP_ASSIGN(DiffIndex diff, DiffIndex::read(records.file(), at, cancel));
    const std::string before = i == 0 ? "" : diffs.back().to_name();
    if (i > 0 && before.empty()) {
      return records.damaged(at, "a diff follows one that leads to no snapshot");
    }
    if (diff.from_name() != before) {
      return records.damaged(at,
                             fmt::format("a diff from snapshot '{}' follows one that leads to '{}'",
                                         excerpt(diff.from_name()), excerpt(before)));
    }
    at = diff.end();
    diffs.push_back(std::move(diff));
  }
  if (records.expect(at, kBanner2)) return records.damaged(at, "more diffs than are announced");
  return diffs;
}

class DiffsImage : public Image {
 public:
  // Requires: there is a diff.
  DiffsImage(std::shared_ptr<File> file, std::vector<DiffIndex> diffs)
      : file_(std::move(file)), diffs_(std::move(diffs)) {}

  const std::string& name() const override { return file_->name(); }
  uint64_t size() const override { return diffs_.back().size(); }

  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    Extent extent;
    extent.file = file_.get();
    extent.length = std::min(limit, size() - offset);
    for (size_t i = diffs_.size(); i-- > 0; ++extent.depth) {
      DiffIndex& diff = diffs_[i];
      // The image was smaller then: what was below is gone.
      if (offset >= diff.size()) break;
      extent.length = std::min(extent.length, diff.size() - offset);
      SNAP_ASSIGN(const auto range, diff.find(offset));
      if (!range) continue;
      if (range->offset > offset) {
        extent.length = std::min(extent.length, range->offset - offset);
        continue;
      }
      extent.length = std::min(extent.length, range->end() - offset);
      if (range->data) {
        extent.file_offset = range->file_offset + (offset - range->offset);
        return extent;
      }
      break;
    }
    extent.zero = true;
    extent.file_offset.reset();
    return extent;
  }

  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    while (!out.empty()) {
      SNAP_ASSIGN(const Extent extent, extent_at(offset, out.size()));
      const auto bytes = out.first(extent.length);
      if (extent.zero) {
        std::memset(bytes.data(), 0, bytes.size());
      } else {
        SNAP_TRY(file_->read_at(*extent.file_offset, bytes));
      }
      offset += bytes.size();
      out = out.subspan(bytes.size());
    }
    return {};
  }

 private:
  std::shared_ptr<File> file_;
  std::vector<DiffIndex> diffs_;
};

// Of a snapshot by its number, as facts count them, or its name: how many diffs lead to it.
Result<size_t> find_snapshot(const std::vector<DiffIndex>& diffs, const std::string& wanted,
                             const std::string& file) {
  for (size_t i = 0; i + 1 < diffs.size(); ++i) {
    if (diffs[i].to_name() == wanted) return i + 1;
  }
  for (size_t i = 0; i + 1 < diffs.size(); ++i) {
    if (std::to_string(i + 1) == wanted) return i + 1;
  }
  return Error(ErrorCode::kNotFound, fmt::format("'{}' has no snapshot '{}'", file, wanted));
}

class StreamWriter : public access::ImageWriter {
 public:
  StreamWriter(const ByteSink& sink, std::string head, uint64_t size)
      : sink_(sink), head_(std::move(head)), size_(size), diff_(sink, 2) {}

  uint64_t unit_size() const override { return 4 * kKiB; }
  uint64_t piece_size() const override { return kWindowBytes; }

  Result<void> place(access::WritePiece& piece) override {
    SNAP_TRY(begin());
    for (size_t i = 0; i < piece.units.size();) {
      size_t end = i + 1;
      while (end < piece.units.size() && piece.units[end] == piece.units[i]) ++end;
      if (piece.units[i] == access::UnitKind::kData) {
        const uint64_t from = i * unit_size();
        const uint64_t to = std::min(end * unit_size(), piece.length);
        SNAP_TRY(diff_.add_data(piece.offset + from, piece.data.subspan(from, to - from)));
      }
      i = end;
    }
    return {};
  }

  Result<void> write(access::WritePiece& /*piece*/) override { return {}; }

  Result<void> finish() override {
    SNAP_TRY(begin());
    ChangeEnd end;
    return diff_.finish(end);
  }

 private:
  Result<void> begin() {
    if (head_.empty()) return {};
    SNAP_TRY(sink_(std::as_bytes(std::span(head_))));
    head_.clear();
    ChangeHeader header;
    header.full = true;
    header.target_size = size_;
    return diff_.begin(header);
  }

  ByteSink sink_;
  std::string head_;  // until it is written
  uint64_t size_;
  Writer diff_;
};

std::string image_head(uint64_t order) {
  std::string head(kImageBanner);
  const auto add_number = [&](uint64_t value) {
    std::array<std::byte, 8> bytes{};
    store_le(bytes.data(), value);
    head.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const auto add_property = [&](char tag, uint64_t value) {
    head += tag;
    add_number(8);
    add_number(value);
  };
  add_property('O', order);
  add_property('T', kFeatures);
  add_property('U', uint64_t{1} << order);
  add_property('C', 1);
  head += kEndTag;
  head += kDiffsBanner;
  add_number(1);
  return head;
}

}  // namespace

bool has_image_magic(std::span<const std::byte> head) {
  return head.size() >= kImageBanner.size() &&
         std::memcmp(head.data(), kImageBanner.data(), kImageBanner.size()) == 0;
}

Result<access::ImageFacts> read_image_facts(File& file, const Cancel& cancel) {
  const RecordFile records(file);
  access::ImageFacts facts;
  SNAP_ASSIGN(const uint64_t at, read_properties(records, facts, cancel));
  SNAP_ASSIGN(const auto diffs, read_diffs(records, at, cancel));
  facts.size = diffs.back().size();
  if (diffs.back().end() < file.size()) {
    facts.warnings.push_back(fmt::format("'{}' has {} bytes past its end", file.name(),
                                         file.size() - diffs.back().end()));
  }
  for (size_t i = 0; i + 1 < diffs.size(); ++i) {
    access::ImageFacts::Snapshot snapshot;
    snapshot.id = std::to_string(i + 1);
    snapshot.name = diffs[i].to_name();
    snapshot.size = diffs[i].size();
    facts.snapshots.push_back(std::move(snapshot));
  }
  return facts;
}

Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options) {
  const RecordFile records(*file);
  access::ImageFacts facts;
  SNAP_ASSIGN(const uint64_t at, read_properties(records, facts, options.cancel));
  SNAP_ASSIGN(auto diffs, read_diffs(records, at, options.cancel));
  if (options.snapshot) {
    SNAP_ASSIGN(const size_t count, find_snapshot(diffs, *options.snapshot, file->name()));
    while (diffs.size() > count) diffs.pop_back();
  }
  return std::make_unique<DiffsImage>(std::move(file), std::move(diffs));
}

Result<std::unique_ptr<access::ImageWriter>> stream_image(ByteSink sink,
                                                          const access::CreateOptions& options) {
  SNAP_CHECK(!options.parent);
  uint64_t order = kDefaultOrder;
  if (const auto given = options.settings.find("order"); given != options.settings.end()) {
    const std::string& text = given->second;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), order);
    if (failed != std::errc() || end != text.data() + text.size() || order < kLeastOrder ||
        order > kMostOrder) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("order={}: a number from 12 to 25 is wanted", text));
    }
  }
  return std::make_unique<StreamWriter>(sink, image_head(order), options.size);
}

}  // namespace snaptool::rbd
