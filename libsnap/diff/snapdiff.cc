// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/snapdiff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <string_view>
#include <utility>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"
#include "libsnap/base/zstd.h"

namespace snaptool {
namespace {

using Digest = Sha256::Digest;

constexpr uint32_t kSkippableMagic = 0x184D2A57;
constexpr size_t kElementHead = 8;  // magic and length
constexpr uint32_t kMostElement = kMiB + 64 * kKiB;
constexpr uint32_t kMostPayload = kMiB + 64 * kKiB;
constexpr size_t kHeaderSize = 88;  // without the maker's name
constexpr size_t kMostMaker = 4096;
constexpr size_t kExpectationSize = 56;  // without extents
constexpr size_t kRecordSize = 136;      // without extents
constexpr size_t kExtentSize = 12;
constexpr uint32_t kMostExtents = 65536;
constexpr size_t kIndexSize = 56;  // without entries
constexpr size_t kIndexEntrySize = 16;
constexpr uint32_t kMostIndexEntries = 65536;
constexpr size_t kEndSize = 288;

constexpr uint64_t kIdentities = 1;  // of the features that may be ignored
constexpr uint64_t kFull = 1;
constexpr uint64_t kReverse = 2;
constexpr uint64_t kInheritedId = 4;
constexpr uint32_t kCodecNone = 0;
constexpr uint32_t kCodecZstd = 1;
constexpr uint32_t kHasOldSum = 1;

enum class Element { kHeader, kExpectation, kRecord, kIndex, kEnd, kOther };

// The name of an element; kOther is one that may be skipped.
std::optional<Element> element_kind(std::span<const std::byte> element) {
  const std::string_view name(reinterpret_cast<const char*>(element.data()) + kElementHead, 4);
  if (name == "SDH1") return Element::kHeader;
  if (name == "SDA1") return Element::kExpectation;
  if (name == "SDB1") return Element::kRecord;
  if (name == "SDX1") return Element::kIndex;
  if (name == "SDE1") return Element::kEnd;
  if (name[0] >= 'a' && name[0] <= 'z') return Element::kOther;
  return std::nullopt;
}

std::vector<std::byte> new_element(std::string_view name, size_t size) {
  std::vector<std::byte> element(size);
  store_le(element.data(), kSkippableMagic);
  store_le(element.data() + 4, static_cast<uint32_t>(size - kElementHead));
  std::memcpy(element.data() + kElementHead, name.data(), name.size());
  return element;
}

void put_digest(std::span<std::byte> element, size_t at, const std::optional<Digest>& digest) {
  const Digest bytes = digest.value_or(Digest{});
  std::copy(bytes.begin(), bytes.end(), element.begin() + static_cast<ptrdiff_t>(at));
}

Digest get_digest(std::span<const std::byte> element, size_t at) {
  Digest digest;
  std::copy_n(element.begin() + static_cast<ptrdiff_t>(at), digest.size(), digest.begin());
  return digest;
}

// Zeros stand for none.
std::optional<Digest> get_optional_digest(std::span<const std::byte> element, size_t at) {
  const Digest digest = get_digest(element, at);
  return digest == Digest{} ? std::nullopt : std::optional(digest);
}

// The chain after a record element.
Digest next_chain(const Digest& chain, std::span<const std::byte> element) {
  Sha256 hash;
  hash.update(chain);
  hash.update(element.subspan(8, 20));
  hash.update(element.subspan(36, 68));
  hash.update(element.subspan(kRecordSize));
  return hash.finish_digest();
}

void put_extents(std::byte* at, std::span<const ChangeExtent> extents) {
  for (const ChangeExtent& extent : extents) {
    store_le(at, extent.offset);
    store_le(at + 4, extent.length);
    store_le(at + 8, static_cast<uint32_t>(extent.kind));
    at += kExtentSize;
  }
}

// The chain after an expectation element.
Digest expectation_chain(const Digest& chain, std::span<const std::byte> element) {
  Sha256 hash;
  hash.update(chain);
  hash.update(element.subspan(8));
  return hash.finish_digest();
}

void add_index_entry(std::vector<std::byte>& index, uint64_t window, uint64_t position) {
  const size_t at = index.size();
  index.resize(at + kIndexEntrySize);
  store_le(index.data() + at, window);
  store_le(index.data() + at + 8, position);
}

// Identities: flags, base, target, digest over the chain and these.
constexpr size_t kIdentitiesSize = 80;
constexpr uint32_t kHasBaseContent = 1;
constexpr uint32_t kHasTargetContent = 2;

bool is_identities(std::span<const std::byte> element) {
  constexpr std::string_view kName = "sdi1";
  return element.size() == kIdentitiesSize &&
         std::memcmp(element.data() + kElementHead, kName.data(), kName.size()) == 0;
}

Digest identities_sum(std::span<const std::byte> element, const Digest& chain) {
  Sha256 hash;
  hash.update(chain);
  hash.update(element.subspan(8, 40));
  return hash.finish_digest();
}

// Takes them if they belong to the stream with this chain.
bool take_identities(std::span<const std::byte> element, const Digest& chain, ChangeEnd& end) {
  const auto flags = load_le<uint32_t>(&element[12]);
  if (identities_sum(element, chain) != get_digest(element, 48)) return false;
  const auto content_at = [&](size_t at) {
    ContentId id;
    std::copy_n(element.begin() + static_cast<ptrdiff_t>(at), id.size(), id.begin());
    return id;
  };
  if ((flags & kHasBaseContent) != 0) end.base_content = content_at(16);
  if ((flags & kHasTargetContent) != 0) end.target_content = content_at(32);
  return true;
}

// The fields of an end element that make sense by themselves.
ChangeEnd parse_end(std::span<const std::byte> element) {
  ChangeEnd end;
  end.totals.records = load_le<uint64_t>(&element[24]);
  end.totals.data_bytes = load_le<uint64_t>(&element[32]);
  end.totals.zero_bytes = load_le<uint64_t>(&element[40]);
  end.totals.discard_bytes = load_le<uint64_t>(&element[48]);
  end.length = load_le<uint64_t>(&element[16]) + kEndSize;
  end.child_id = get_digest(element, 160);
  end.base_sum = get_optional_digest(element, 192);
  end.target_sum = get_optional_digest(element, 224);
  return end;
}

bool end_is_intact(std::span<const std::byte> element) {
  return element.size() == kEndSize && load_le<uint32_t>(element.data()) == kSkippableMagic &&
         load_le<uint32_t>(&element[4]) == kEndSize - kElementHead &&
         element_kind(element) == Element::kEnd &&
         Sha256::of(element.subspan(8, 248)) == get_digest(element, 256);
}

}  // namespace

// A header of any version.
static bool is_header(std::span<const std::byte> element) {
  constexpr std::string_view kName = "SDH";
  return std::memcmp(element.data() + kElementHead, kName.data(), kName.size()) == 0;
}

bool looks_like_snapdiff(std::span<const std::byte> head) {
  return head.size() >= 12 && load_le<uint32_t>(head.data()) == kSkippableMagic && is_header(head);
}

// Compressors that no thread uses at the moment: making one costs megabytes.
class SnapdiffWriter::Compressors {
 public:
  explicit Compressors(int level) : level_(level) {}
  std::unique_ptr<ZstdCompressor> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<ZstdCompressor>(level_);
    auto compressor = std::move(free_.back());
    free_.pop_back();
    return compressor;
  }
  void give_back(std::unique_ptr<ZstdCompressor> compressor) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(compressor));
  }

 private:
  int level_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<ZstdCompressor>> free_;  // guarded by mutex_
};

SnapdiffWriter::SnapdiffWriter(ByteSink sink, int level)
    : sink_(std::move(sink)), compressors_(std::make_unique<Compressors>(level)) {}
SnapdiffWriter::~SnapdiffWriter() = default;

Result<void> SnapdiffWriter::put(std::span<const std::byte> bytes) {
  SNAP_TRY(sink_(bytes));
  position_ += bytes.size();
  return {};
}

Result<void> SnapdiffWriter::begin(const ChangeHeader& header) {
  const std::string maker = header.maker.substr(0, kMostMaker);
  auto element = new_element("SDH1", kHeaderSize + maker.size());
  const uint64_t flags = (header.full ? kFull : 0) | (header.reverse ? kReverse : 0) |
                         (header.inherited_id ? kInheritedId : 0);
  store_le(&element[24], header.identities ? kIdentities : 0);
  store_le(&element[32], flags);
  store_le(&element[40], header.full ? 0 : header.base_size.value_or(0));
  store_le(&element[48], header.target_size);
  put_digest(element, 56, header.full ? std::nullopt : header.parent_id);
  std::memcpy(element.data() + kHeaderSize, maker.data(), maker.size());
  inherited_id_ = header.inherited_id;
  identities_ = header.identities;
  header_sum_ = Sha256::of(element);
  chain_ = Sha256::of(std::span(element).subspan(8, kHeaderSize - 8));
  SNAP_TRY(put(element));
  SNAP_CHECK(header.expectations.size() <= kMostExpectations);
  for (const Expectation& expectation : header.expectations) {
    element = new_element("SDA1", kExpectationSize + kExtentSize * expectation.extents.size());
    store_le(&element[12], static_cast<uint32_t>(expectation.extents.size()));
    store_le(&element[16], expectation.window);
    put_digest(element, 24, expectation.sum);
    put_extents(element.data() + kExpectationSize, expectation.extents);
    chain_ = expectation_chain(chain_, element);
    SNAP_TRY(put(element));
  }
  return {};
}

void SnapdiffWriter::prepare(ChangeRecord& record, std::span<const std::byte> data) {
  record.new_sum = Sha256::of(data);
  record.payload.clear();
  record.compressed = !data.empty();
  if (data.empty()) return;
  auto compressor = compressors_->take();
  compressor->compress(data, record.payload);
  compressors_->give_back(std::move(compressor));
}

Result<void> SnapdiffWriter::add(ChangeRecord& record) {
  SNAP_CHECK(!record.extents.empty() && record.extents.size() <= kMostExtents && record.new_sum);
  auto element = new_element("SDB1", kRecordSize + kExtentSize * record.extents.size());
  store_le(&element[12], static_cast<uint32_t>(record.extents.size()));
  store_le(&element[16], record.window);
  store_le(&element[24], record.data_length);
  store_le(&element[28], static_cast<uint32_t>(record.payload.size()));
  store_le(&element[32], record.data_length > 0 ? kCodecZstd : kCodecNone);
  store_le(&element[36], record.old_sum ? kHasOldSum : 0U);
  put_digest(element, 40, record.new_sum);
  put_digest(element, 72, record.old_sum);
  put_extents(element.data() + kRecordSize, record.extents);
  chain_ = next_chain(chain_, element);
  put_digest(element, 104, chain_);
  add_index_entry(index_, record.window, position_);
  totals_.add(record);
  SNAP_TRY(put(element));
  SNAP_TRY(put(record.payload));
  if (index_.size() < kMostIndexEntries * kIndexEntrySize) return {};
  return put_index();
}

size_t SnapdiffWriter::most_extents() const { return kMostExtents; }

Result<void> SnapdiffWriter::put_index() {
  if (index_.empty()) return {};
  auto element = new_element("SDX1", kIndexSize + index_.size());
  store_le(&element[12], static_cast<uint32_t>(index_.size() / kIndexEntrySize));
  store_le(&element[16], index_position_);
  put_digest(element, 24, index_sum_);
  std::copy(index_.begin(), index_.end(), element.begin() + kIndexSize);
  index_.clear();
  index_position_ = position_;
  index_sum_ = Sha256::of(element);
  return put(element);
}

Result<void> SnapdiffWriter::put_identities(const ChangeEnd& end) {
  if (!identities_) return {};
  auto element = new_element("sdi1", kIdentitiesSize);
  store_le(&element[12],
           (end.base_content ? kHasBaseContent : 0) | (end.target_content ? kHasTargetContent : 0));
  const auto put_content = [&](size_t at, const std::optional<ContentId>& id) {
    if (id) std::copy(id->begin(), id->end(), element.begin() + static_cast<ptrdiff_t>(at));
  };
  put_content(16, end.base_content);
  put_content(32, end.target_content);
  put_digest(element, 48, identities_sum(element, chain_));
  return put(element);
}

Result<void> SnapdiffWriter::finish(ChangeEnd& end) {
  SNAP_TRY(put_index());
  SNAP_TRY(put_identities(end));
  if (!inherited_id_) end.child_id = chain_;
  end.totals = totals_;
  end.length = position_ + kEndSize;
  auto element = new_element("SDE1", kEndSize);
  store_le(&element[16], position_);
  store_le(&element[24], totals_.records);
  store_le(&element[32], totals_.data_bytes);
  store_le(&element[40], totals_.zero_bytes);
  store_le(&element[48], totals_.discard_bytes);
  store_le(&element[56], index_position_);
  put_digest(element, 64, index_sum_);
  put_digest(element, 96, header_sum_);
  put_digest(element, 128, chain_);
  put_digest(element, 160, end.child_id);
  put_digest(element, 192, end.base_sum);
  put_digest(element, 224, end.target_sum);
  put_digest(element, 256, Sha256::of(std::span(element).subspan(8, 248)));
  return put(element);
}

Result<std::unique_ptr<SnapdiffReader>> SnapdiffReader::open(ByteSource source, std::string name) {
  std::unique_ptr<SnapdiffReader> reader(new SnapdiffReader(std::move(source), std::move(name)));
  SNAP_TRY(reader->read_header());
  return reader;
}

Error SnapdiffReader::damaged(const std::string& what) const {
  return {ErrorCode::kCorruption,
          fmt::format("'{}' at byte {}: {}", name_, element_position_, what)};
}

Result<void> SnapdiffReader::read_exactly(std::span<std::byte> out) {
  SNAP_ASSIGN(const bool whole, input_.read(out));
  return whole ? Result<void>() : damaged("the stream ends here: it is truncated");
}

Result<bool> SnapdiffReader::read_element() {
  element_position_ = input_.position();
  SNAP_ASSIGN(const bool ended, input_.at_end());
  if (ended) return false;
  element_.resize(kElementHead + 4);
  SNAP_TRY(read_exactly(element_));
  const auto length = load_le<uint32_t>(&element_[4]);
  if (load_le<uint32_t>(element_.data()) != kSkippableMagic || length < 4 ||
      length > kMostElement) {
    return damaged("no element of a snapdiff begins here");
  }
  element_.resize(kElementHead + length);
  SNAP_TRY(read_exactly(std::span(element_).subspan(kElementHead + 4)));
  return true;
}

Result<void> SnapdiffReader::read_header() {
  SNAP_ASSIGN(const bool any, read_element());
  if (!any) return damaged("it is empty");
  if (!is_header(element_)) return damaged("it is not a snapdiff");
  if (element_kind(element_) != Element::kHeader) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is a snapdiff of version '{}'; this program reads version 1",
                             name_, static_cast<char>(element_[kElementHead + 3])));
  }
  if (element_.size() < kHeaderSize || element_.size() > kHeaderSize + kMostMaker) {
    return damaged("the header has no size that a header can have");
  }
  const auto features = load_le<uint64_t>(&element_[16]);
  if (features != 0) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' needs features that this version does not have ({:#x})", name_,
                             features));
  }
  const auto flags = load_le<uint64_t>(&element_[32]);
  if (load_le<uint32_t>(&element_[12]) != 0 || (flags & ~(kFull | kReverse | kInheritedId)) != 0) {
    return damaged("the header has flags that there are not");
  }
  header_.full = (flags & kFull) != 0;
  header_.reverse = (flags & kReverse) != 0;
  header_.inherited_id = (flags & kInheritedId) != 0;
  header_.identities = (load_le<uint64_t>(&element_[24]) & kIdentities) != 0;
  header_.base_size = load_le<uint64_t>(&element_[40]);
  header_.target_size = load_le<uint64_t>(&element_[48]);
  header_.parent_id = get_optional_digest(element_, 56);
  header_.maker.assign(reinterpret_cast<const char*>(element_.data()) + kHeaderSize,
                       element_.size() - kHeaderSize);
  if (*header_.base_size > kMostImageBytes || header_.target_size > kMostImageBytes ||
      (header_.full && (*header_.base_size != 0 || header_.parent_id))) {
    return damaged("the header contradicts itself");
  }
  header_sum_ = Sha256::of(element_);
  chain_ = Sha256::of(std::span(element_).subspan(8, kHeaderSize - 8));
  while (true) {
    SNAP_ASSIGN(has_element_, read_element());
    if (!has_element_ || element_kind(element_) != Element::kExpectation) return {};
    SNAP_TRY(read_expectation());
  }
}

Result<void> SnapdiffReader::read_expectation() {
  auto& all = header_.expectations;
  if (element_.size() < kExpectationSize || all.size() >= kMostExpectations) {
    return damaged("the expectation is too short, or one too many");
  }
  Expectation expectation;
  expectation.window = load_le<uint64_t>(&element_[16]);
  expectation.sum = get_digest(element_, 24);
  if (expectation.window > kMostImageBytes / kWindowBytes ||
      (!all.empty() && expectation.window <= all.back().window)) {
    return damaged("the windows do not ascend");
  }
  SNAP_TRY(read_extents(kExpectationSize, expectation.window * kWindowBytes, *header_.base_size,
                        expectation.extents));
  for (const ChangeExtent& extent : expectation.extents) {
    if (extent.kind != ChangeKind::kData) return damaged("an expectation of another kind");
  }
  all.push_back(std::move(expectation));
  chain_ = expectation_chain(chain_, element_);
  return {};
}

// The extents from `at` on in the element; an image of `size` bytes has them, from `start` on.
Result<void> SnapdiffReader::read_extents(size_t at, uint64_t start, uint64_t size,
                                          std::vector<ChangeExtent>& extents) {
  const auto count = load_le<uint32_t>(&element_[12]);
  if (count == 0 || count > kMostExtents || element_.size() != at + kExtentSize * count) {
    return damaged("it does not have the size of its extents");
  }
  const uint64_t limit = std::min(kWindowBytes, size - std::min(size, start));
  extents.resize(count);
  uint64_t end = 0;
  for (ChangeExtent& extent : extents) {
    const auto kind = load_le<uint32_t>(&element_[at + 8]);
    extent = {load_le<uint32_t>(&element_[at]), load_le<uint32_t>(&element_[at + 4]),
              static_cast<ChangeKind>(kind)};
    if (kind > static_cast<uint32_t>(ChangeKind::kDiscard) || extent.length == 0 ||
        extent.offset < end || uint64_t{extent.offset} + extent.length > limit) {
      return damaged("an extent does not lie where it can");
    }
    end = extent.end();
    at += kExtentSize;
  }
  return {};
}

Result<bool> SnapdiffReader::next(ChangeRecord& record) {
  if (ended_) return false;
  while (true) {
    bool any = std::exchange(has_element_, false);
    if (!any) {
      SNAP_ASSIGN(any, read_element());
    }
    if (!any) return damaged("the stream ends without its end element: it is truncated");
    const auto kind = element_kind(element_);
    if (!kind) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("'{}' at byte {}: an element that this version does not know", name_,
                               element_position_));
    }
    if (*kind == Element::kHeader || *kind == Element::kExpectation) {
      return damaged("a header or expectation among the records");
    }
    if (*kind == Element::kRecord) {
      SNAP_TRY(read_record(record));
      return true;
    }
    if (*kind == Element::kIndex) SNAP_TRY(read_index());
    if (*kind == Element::kOther && is_identities(element_)) identities_ = element_;
    if (*kind == Element::kEnd) {
      SNAP_TRY(read_end());
      return false;
    }
  }
}

Result<void> SnapdiffReader::read_record(ChangeRecord& record) {
  if (element_.size() < kRecordSize) return damaged("the record is too short");
  const auto payload = load_le<uint32_t>(&element_[28]);
  const auto codec = load_le<uint32_t>(&element_[32]);
  const auto flags = load_le<uint32_t>(&element_[36]);
  record.window = load_le<uint64_t>(&element_[16]);
  record.data_length = load_le<uint32_t>(&element_[24]);
  record.position = element_position_;
  if (codec > kCodecZstd || (flags & ~kHasOldSum) != 0) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' at byte {}: a record of a kind that this version does not know",
                             name_, element_position_));
  }
  // Anything else that is wrong with it shows here.
  chain_ = next_chain(chain_, element_);
  if (chain_ != get_digest(element_, 104)) {
    return damaged(
        "the record does not follow from the one before: it was changed, or one is "
        "missing");
  }
  if (record.window > kMostImageBytes / kWindowBytes ||
      (last_window_ && record.window <= *last_window_)) {
    return damaged("the windows do not ascend");
  }
  if (payload > kMostPayload || record.data_length > kWindowBytes ||
      (codec == kCodecNone) != (record.data_length == 0) ||
      (payload == 0) != (codec == kCodecNone)) {
    return damaged("the payload's size makes no sense");
  }
  last_window_ = record.window;
  SNAP_TRY(read_extents(kRecordSize, record.start(), header_.target_size, record.extents));
  uint64_t data = 0;
  for (const ChangeExtent& extent : record.extents) {
    if (extent.kind == ChangeKind::kData) data += extent.length;
  }
  if (data != record.data_length) return damaged("the extents' lengths are not the data's");
  record.new_sum = get_digest(element_, 40);
  record.old_sum.reset();
  if ((flags & kHasOldSum) != 0) record.old_sum = get_digest(element_, 72);
  record.compressed = codec == kCodecZstd;
  record.payload.resize(payload);
  SNAP_TRY(read_exactly(record.payload));
  add_index_entry(index_, record.window, element_position_);
  if (index_.size() > kMostIndexEntries * kIndexEntrySize) return damaged("an index is missing");
  totals_.add(record);
  return {};
}

Result<void> SnapdiffReader::read_index() {
  const bool right = element_.size() == kIndexSize + index_.size() && !index_.empty() &&
                     load_le<uint32_t>(&element_[12]) == index_.size() / kIndexEntrySize &&
                     load_le<uint64_t>(&element_[16]) == index_position_ &&
                     get_digest(element_, 24) == index_sum_ &&
                     std::equal(index_.begin(), index_.end(), element_.begin() + kIndexSize);
  if (!right) return damaged("the index is not that of the records before it");
  index_.clear();
  index_position_ = element_position_;
  index_sum_ = Sha256::of(element_);
  return {};
}

Result<void> SnapdiffReader::read_end() {
  if (!end_is_intact(element_)) return damaged("the end element is damaged");
  end_ = parse_end(element_);
  const bool inherited = header_.inherited_id;
  const bool right = load_le<uint32_t>(&element_[12]) == 0 &&
                     load_le<uint64_t>(&element_[16]) == element_position_ && index_.empty() &&
                     load_le<uint64_t>(&element_[56]) == index_position_ &&
                     get_digest(element_, 64) == index_sum_ &&
                     get_digest(element_, 96) == header_sum_ &&
                     get_digest(element_, 128) == chain_ && end_.totals == totals_ &&
                     (inherited || end_.child_id == chain_);
  if (!right) return damaged("the end element does not belong to what is before it");
  if (header_.identities && (identities_.empty() || !take_identities(identities_, chain_, end_))) {
    return damaged("the identities of the images are missing, or do not belong to this stream");
  }
  ended_ = true;
  // Nothing may follow but elements to be skipped.
  while (true) {
    SNAP_ASSIGN(const bool any, read_element());
    if (!any) return {};
    if (element_kind(element_) != Element::kOther) return damaged("more follows the end element");
  }
}

Result<ChangeEnd> read_snapdiff_end(File& file) {
  const Error cut(ErrorCode::kCorruption,
                  fmt::format("'{}' does not end as a snapdiff does: it is truncated, or more was "
                              "added",
                              file.name()));
  if (file.size() < kEndSize) return cut;
  std::vector<std::byte> element(kEndSize);
  SNAP_TRY(file.read_at(file.size() - kEndSize, element));
  if (!end_is_intact(element)) return cut;
  ChangeEnd end = parse_end(element);
  if (end.length != file.size()) return cut;
  if (file.size() < kEndSize + kIdentitiesSize) return end;
  std::vector<std::byte> before(kIdentitiesSize);
  SNAP_TRY(file.read_at(file.size() - kEndSize - kIdentitiesSize, before));
  if (is_identities(before)) (void)take_identities(before, get_digest(element, 128), end);
  return end;
}

static Error damaged_index(const File& file) {
  return {ErrorCode::kCorruption, fmt::format("the index of '{}' is damaged", file.name())};
}

// Where evenly spread records are, from the last: back through the index. No part of the file is
// read twice, whatever the index says.
static Result<std::vector<uint64_t>> spread_records(File& file) {
  SNAP_ASSIGN(const ChangeEnd end, read_snapdiff_end(file));
  std::vector<std::byte> element(kEndSize);
  SNAP_TRY(file.read_at(file.size() - kEndSize, element));
  const uint64_t step = std::max<uint64_t>(1, div_round_up(end.totals.records, kMostExpectations));
  std::vector<uint64_t> positions;
  uint64_t number = 0;  // of the record, from the last
  uint64_t limit = file.size();
  uint64_t at = load_le<uint64_t>(&element[56]);
  while (at != 0) {
    std::vector<std::byte> head(kIndexSize);
    if (limit < kIndexSize || at > limit - kIndexSize) return damaged_index(file);
    SNAP_TRY(file.read_at(at, head));
    const auto count = load_le<uint32_t>(&head[12]);
    const auto before = load_le<uint64_t>(&head[16]);
    if (element_kind(head) != Element::kIndex || count == 0 || count > kMostIndexEntries ||
        before >= at || limit - at < kIndexSize + kIndexEntrySize * count) {
      return damaged_index(file);
    }
    std::vector<std::byte> entries(kIndexEntrySize * count);
    SNAP_TRY(file.read_at(at + kIndexSize, entries));
    for (size_t i = count; i-- > 0; ++number) {
      if (number % step == step / 2 && positions.size() < kMostExpectations) {
        positions.push_back(load_le<uint64_t>(&entries[i * kIndexEntrySize + 8]));
      }
    }
    limit = std::exchange(at, before);
  }
  return positions;
}

// What the record there, of which nothing lies before `limit`, expects to find once it is applied.
// `limit` becomes where its table ends.
static Result<Expectation> expectation_at(File& file, uint64_t position, uint64_t& limit) {
  std::vector<std::byte> head(kRecordSize);
  if (position < limit || position > file.size() - kRecordSize) return damaged_index(file);
  SNAP_TRY(file.read_at(position, head));
  const auto count = load_le<uint32_t>(&head[12]);
  if (element_kind(head) != Element::kRecord || count == 0 || count > kMostExtents) {
    return damaged_index(file);
  }
  Expectation expectation;
  expectation.window = load_le<uint64_t>(&head[16]);
  expectation.sum = get_digest(head, 40);
  std::vector<std::byte> table(kExtentSize * count);
  limit = position + kRecordSize + table.size();
  if (limit > file.size()) return damaged_index(file);
  SNAP_TRY(file.read_at(position + kRecordSize, table));
  uint64_t end_of_last = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const std::byte* const from = &table[size_t{kExtentSize} * i];
    const ChangeExtent extent{load_le<uint32_t>(from), load_le<uint32_t>(from + 4),
                              ChangeKind::kData};
    const uint64_t extent_end = uint64_t{extent.offset} + extent.length;
    if (extent.length == 0 || extent.offset < end_of_last || extent_end > kWindowBytes) {
      return damaged_index(file);
    }
    end_of_last = extent_end;
    if (load_le<uint32_t>(from + 8) == static_cast<uint32_t>(ChangeKind::kData)) {
      expectation.extents.push_back(extent);
    }
  }
  return expectation;
}

Result<std::vector<Expectation>> expectations_of(File& file) {
  SNAP_ASSIGN(const auto positions, spread_records(file));
  std::vector<Expectation> expectations;
  uint64_t limit = 0;
  for (auto position = positions.rbegin(); position != positions.rend(); ++position) {
    SNAP_ASSIGN(Expectation expectation, expectation_at(file, *position, limit));
    if (expectation.window > kMostImageBytes / kWindowBytes ||
        (!expectations.empty() && expectation.window <= expectations.back().window)) {
      return damaged_index(file);
    }
    if (!expectation.extents.empty()) expectations.push_back(std::move(expectation));
  }
  return expectations;
}

ByteSource file_source(File& file) {
  return [&file, at = uint64_t{0}](std::span<std::byte> out) mutable -> Result<size_t> {
    const size_t size = std::min<uint64_t>(out.size(), file.size() - at);
    SNAP_TRY(file.read_at(at, out.first(size)));
    at += size;
    return size;
  };
}

}  // namespace snaptool
