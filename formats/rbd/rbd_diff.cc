// SPDX-License-Identifier: Apache-2.0
#include "formats/rbd/rbd_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"

namespace snaptool::rbd {
namespace {

void add_number(std::vector<std::byte>& bytes, uint64_t value) {
  bytes.resize(bytes.size() + 8);
  store_le(bytes.data() + bytes.size() - 8, value);
}

// A record that is no range. Version 2 has the length of what follows the tag.
void add_record(std::vector<std::byte>& bytes, int version, char tag,
                std::span<const std::byte> content) {
  bytes.push_back(static_cast<std::byte>(tag));
  if (version == 2) add_number(bytes, content.size());
  bytes.insert(bytes.end(), content.begin(), content.end());
}

std::vector<std::byte> name_content(const std::string& name) {
  std::vector<std::byte> content(4 + name.size());
  store_le(content.data(), static_cast<uint32_t>(name.size()));
  std::memcpy(content.data() + 4, name.data(), name.size());
  return content;
}

}  // namespace

bool looks_like_diff(std::span<const std::byte> head) {
  constexpr std::string_view kStart = "rbd diff v";
  return head.size() >= kStart.size() &&
         std::memcmp(head.data(), kStart.data(), kStart.size()) == 0;
}

int version_of(std::span<const std::byte> head) {
  if (head.size() < kBanner1.size()) return 0;
  const std::string_view text(reinterpret_cast<const char*>(head.data()), kBanner1.size());
  return text == kBanner1 ? 1 : text == kBanner2 ? 2 : 0;
}

Result<void> Writer::put(std::span<const std::byte> bytes) {
  SNAP_TRY(sink_(bytes));
  position_ += bytes.size();
  return {};
}

Result<void> Writer::begin(const ChangeHeader& header) {
  std::vector<std::byte> bytes;
  for (const char c : version_ == 1 ? kBanner1 : kBanner2) {
    bytes.push_back(static_cast<std::byte>(c));
  }
  if (!header.from_name.empty()) {
    add_record(bytes, version_, 'f', name_content(header.from_name));
  }
  if (!header.to_name.empty()) add_record(bytes, version_, 't', name_content(header.to_name));
  std::vector<std::byte> size;
  add_number(size, header.target_size);
  add_record(bytes, version_, 's', size);
  return put(bytes);
}

Result<void> Writer::put_range(char tag, uint64_t offset, std::span<const std::byte> data,
                               uint64_t length) {
  std::vector<std::byte> head{static_cast<std::byte>(tag)};
  if (version_ == 2) add_number(head, 16 + data.size());
  add_number(head, offset);
  add_number(head, length);
  SNAP_TRY(put(head));
  return put(data);
}

void Writer::prepare(ChangeRecord& record, std::span<const std::byte> data) {
  record.compressed = false;
  record.payload.resize(data.size());
  if (!data.empty()) std::memcpy(record.payload.data(), data.data(), data.size());
}

Result<void> Writer::add(ChangeRecord& record) {
  SNAP_CHECK(!record.compressed);
  std::span<const std::byte> data = record.payload;
  for (const ChangeExtent& extent : record.extents) {
    const uint64_t offset = record.start() + extent.offset;
    if (extent.kind == ChangeKind::kData) {
      SNAP_TRY(put_range('w', offset, data.first(extent.length), extent.length));
      data = data.subspan(extent.length);
    } else {
      SNAP_TRY(put_range('z', offset, {}, record.windows * extent.length));
    }
  }
  totals_.add(record);
  return {};
}

Result<void> Writer::finish(ChangeEnd& end) {
  const std::byte tag{'e'};
  SNAP_TRY(put({&tag, 1}));
  end.totals = totals_;
  end.length = position_;
  return {};
}

Result<std::unique_ptr<Reader>> Reader::open(ByteSource source, std::string name) {
  std::unique_ptr<Reader> reader(new Reader(std::move(source), std::move(name)));
  std::vector<std::byte> banner(kBanner1.size());
  SNAP_TRY(reader->read_exactly(banner));
  reader->version_ = version_of(banner);
  if (reader->version_ == 0 && looks_like_diff(banner)) {
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("'{}' is a diff of rbd's of another version than 1 and 2", reader->name_));
  }
  if (reader->version_ == 0) return reader->damaged("it is no diff of rbd's");
  reader->header_.full = true;  // until a name to start from is found
  while (!reader->range_ && !reader->ended_) SNAP_TRY(reader->read_tag());
  if (!reader->has_size_) return reader->damaged("it does not say how large the image is");
  return reader;
}

Error Reader::damaged(const std::string& what) const {
  return {ErrorCode::kCorruption, fmt::format("'{}' at byte {}: {}", name_, tag_position_, what)};
}

Result<void> Reader::read_exactly(std::span<std::byte> out) {
  SNAP_ASSIGN(const bool whole, input_.read(out));
  return whole ? Result<void>() : damaged("the stream ends here: it was cut");
}

Result<uint64_t> Reader::read_number() {
  std::array<std::byte, 8> bytes{};
  SNAP_TRY(read_exactly(bytes));
  return load_le<uint64_t>(bytes.data());
}

Result<std::string> Reader::read_name() {
  std::array<std::byte, 4> bytes{};
  SNAP_TRY(read_exactly(bytes));
  const auto length = load_le<uint32_t>(bytes.data());
  if (length > kMostName) return damaged("a name of more than 4096 bytes");
  std::string name(length, 0);
  SNAP_TRY(read_exactly(std::as_writable_bytes(std::span(name))));
  return name;
}

Result<void> Reader::skip(uint64_t length) {
  std::array<std::byte, 4096> unused{};
  while (length > 0) {
    const auto piece = std::span(unused).first(std::min<uint64_t>(length, unused.size()));
    SNAP_TRY(read_exactly(piece));
    length -= piece.size();
  }
  return {};
}

Result<void> Reader::skip_protection(uint64_t length) {
  if (length != kSaidOfProtection) return skip(length);
  std::array<std::byte, 2> bytes{};
  SNAP_TRY(read_exactly(bytes));
  if (bytes[1] == std::byte{0}) return skip(length - bytes.size());
  next_tag_ = static_cast<char>(bytes[1]);
  return {};
}

// Reads one tag with what belongs to it, but for a range's data.
Result<void> Reader::read_tag() {
  tag_position_ = input_.position() - (next_tag_ ? 1 : 0);
  std::array<std::byte, 1> byte{};
  if (!next_tag_) SNAP_TRY(read_exactly(byte));
  const char tag = next_tag_.value_or(static_cast<char>(byte[0]));
  next_tag_.reset();
  if (tag == 'e') return check_end();
  std::optional<uint64_t> length;
  if (version_ == 2) {
    SNAP_ASSIGN(length, read_number());
  }
  const uint64_t start = input_.position();
  if (tag == 'f') {
    SNAP_ASSIGN(header_.from_name, read_name());
    header_.full = false;
  } else if (tag == 't') {
    SNAP_ASSIGN(header_.to_name, read_name());
  } else if (tag == 's') {
    SNAP_ASSIGN(header_.target_size, read_number());
    if (header_.target_size > kMostImageBytes || ranges_end_ > 0 || has_size_) {
      return damaged("a size that cannot be");
    }
    has_size_ = true;
  } else if (tag == 'w' || tag == 'z') {
    return read_range(tag, length);
  } else if (!length) {
    return damaged("a tag that there is not");
  } else if (tag == 'p') {
    return skip_protection(*length);
  } else {
    return skip(*length);
  }
  if (length && input_.position() - start != *length) return damaged("a record of a wrong length");
  return {};
}

Result<void> Reader::read_range(char tag, std::optional<uint64_t> length) {
  if (!has_size_) return damaged("a range before the image's size");
  Range range;
  range.data = tag == 'w';
  SNAP_ASSIGN(range.offset, read_number());
  SNAP_ASSIGN(range.length, read_number());
  const uint64_t size = header_.target_size;
  if (range.offset > size || range.length > size - range.offset) {
    return damaged("a range that passes the end of the image");
  }
  if (length && *length != 16 + (range.data ? range.length : 0)) {
    return damaged("a record of a wrong length");
  }
  if (range.offset < ranges_end_) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' at byte {}: the ranges do not ascend", name_, tag_position_));
  }
  ranges_end_ = range.offset + range.length;
  if (range.length > 0) range_ = range;
  return {};
}

Result<void> Reader::check_end() {
  ended_ = true;
  end_.length = input_.position();
  SNAP_ASSIGN(const bool nothing, input_.at_end());
  return nothing ? Result<void>() : damaged("more follows the end");
}

Result<bool> Reader::next(ChangeRecord& record) {
  record = {};
  while (true) {
    while (!range_ && !ended_) SNAP_TRY(read_tag());
    if (!range_) break;
    const uint64_t window = range_->offset / kWindowBytes;
    if (record.extents.empty()) {
      record.window = window;
      record.position = tag_position_;
    }
    if (record.window != window) break;
    const uint64_t offset = range_->offset % kWindowBytes;
    const uint64_t length = std::min(range_->length, kWindowBytes - offset);
    if (!range_->data && length == kWindowBytes) record.windows = range_->length / kWindowBytes;
    record.extents.push_back({static_cast<uint32_t>(offset), static_cast<uint32_t>(length),
                              range_->data ? ChangeKind::kData : ChangeKind::kDiscard});
    if (range_->data) {
      const size_t at = record.payload.size();
      record.payload.resize(at + length);
      SNAP_TRY(read_exactly(std::span(record.payload).subspan(at)));
      record.data_length += static_cast<uint32_t>(length);
    }
    range_->offset += record.windows * length;
    range_->length -= record.windows * length;
    if (range_->length == 0) range_.reset();
  }
  if (record.extents.empty()) return false;
  end_.totals.add(record);
  return true;
}

}  // namespace snaptool::rbd
