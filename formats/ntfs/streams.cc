// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/streams.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/ntfs/lznt1.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"

namespace snaptool::ntfs {
namespace {

constexpr uint64_t kMostUnitBytes = kMiB;

std::string text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The image may be changed while it is read.
Result<Attribute> attribute_at(const Record& record, const Stream& stream, const Part& part) {
  size_t next = 0;
  SNAP_ASSIGN(const auto attribute,
              parse_attribute(record.bytes, record.head, part.record, part.offset, next));
  const bool same = attribute && attribute->type == stream.type &&
                    attribute->is_resident == stream.is_resident &&
                    attribute->first == part.first && attribute->end == part.end &&
                    (!stream.is_resident || attribute->value.size() == stream.size);
  if (same) return *attribute;
  return damaged(fmt::format("record {} was changed while it was read", part.record));
}

struct FoundPart {
  Stream stream;
  Part part;
};

bool is_before(const FoundPart& a, const FoundPart& b) {
  if (a.stream.type != b.stream.type) return a.stream.type < b.stream.type;
  if (a.stream.name != b.stream.name) return a.stream.name < b.stream.name;
  return a.part.first < b.part.first;
}

FoundPart found_part(const Record& record, const Attribute& one) {
  FoundPart found;
  found.stream.type = one.type;
  found.stream.name = text_of(one.name);
  found.stream.is_resident = one.is_resident;
  found.stream.flags = one.flags;
  found.stream.unit_bits = one.unit_bits;
  found.stream.size = one.size;
  found.stream.initialized = one.initialized;
  found.part = {record.id, one.offset, one.first, one.end};
  return found;
}

class FileLoader {
 public:
  FileLoader(Volume& volume, uint64_t id) : volume_(volume), id_(id) {}

  Result<std::shared_ptr<const File>> load() {
    SNAP_ASSIGN(const auto base, volume_.record(id_));
    if (!base->head.is_base()) {
      return Error(ErrorCode::kNotFound,
                   fmt::format("record {} is a part of record {}", id_, base->head.base.id));
    }
    file_->id = id_;
    file_->sequence = base->head.sequence;
    file_->is_used = base->head.is_used;
    file_->is_folder = base->head.is_folder;
    std::optional<Attribute> list;
    SNAP_TRY(Volume::visit_attributes(*base, [&](const Attribute& one) -> Result<bool> {
      if (one.type == kAttributeList) list = one;
      return true;
    }));
    if (list) {
      SNAP_TRY(add_listed(*base, *list));
    } else {
      SNAP_TRY(Volume::visit_attributes(*base, [&](const Attribute& one) -> Result<bool> {
        found_.push_back(found_part(*base, one));
        return true;
      }));
    }
    SNAP_TRY(join());
    return std::shared_ptr<const File>(file_);
  }

 private:
  struct Wanted {
    uint64_t record = 0;
    uint16_t instance = 0;
    uint16_t sequence = 0;
    uint32_t type = 0;
    uint64_t first = 0;
  };

  Result<void> add_listed(const Record& base, const Attribute& attribute) {
    Stream list = found_part(base, attribute).stream;
    list.parts = {found_part(base, attribute).part};
    SNAP_ASSIGN(const std::vector<std::byte> bytes,
                StreamReader(volume_).read_all(list, kMostListBytes));
    std::vector<Wanted> wanted;
    found_.push_back(found_part(base, attribute));
    SNAP_TRY(visit_list(bytes, id_, [&](const ListEntry& entry) -> Result<void> {
      if (entry.type == kAttributeList) return {};  // it is known already
      wanted.push_back(
          {entry.record.id, entry.instance, entry.record.sequence, entry.type, entry.first});
      return {};
    }));
    // By record, so that each is looked at once.
    std::sort(wanted.begin(), wanted.end(), [](const Wanted& a, const Wanted& b) {
      return a.record != b.record ? a.record < b.record : a.instance < b.instance;
    });
    for (size_t at = 0; at < wanted.size();) {
      size_t end = at + 1;
      while (end < wanted.size() && wanted[end].record == wanted[at].record) ++end;
      SNAP_TRY(add_record(std::span(wanted).subspan(at, end - at)));
      at = end;
    }
    return {};
  }

  Result<void> add_record(std::span<const Wanted> wanted) {
    SNAP_TRY(volume_.pages().poll());
    auto record = volume_.record(wanted[0].record);
    if (!record && record.error().code() == ErrorCode::kNotFound) {
      return damaged(fmt::format("the list of the attributes of record {} names record {} of {}",
                                 id_, wanted[0].record, volume_.records()));
    }
    if (!record) return std::move(record).error();
    const RecordHead& head = (*record)->head;
    const bool is_own =
        (*record)->id == id_ || (head.base == Reference{id_, file_->sequence} && head.is_used);
    // A free file's own parts were freed with it.
    const bool is_free_part = !file_->is_used && !head.is_used && head.base.id == id_;
    if (!(is_own && head.sequence == wanted[0].sequence) && !is_free_part &&
        !(is_own && !file_->is_used)) {
      return damaged(
          fmt::format("record {} is not, or no more, a part of record {}", wanted[0].record, id_));
    }
    size_t matched = 0;
    SNAP_TRY(Volume::visit_attributes(**record, [&](const Attribute& one) -> Result<bool> {
      const auto entry = std::lower_bound(
          wanted.begin(), wanted.end(), one.instance,
          [](const Wanted& a, uint16_t instance) { return a.instance < instance; });
      if (entry == wanted.end() || entry->instance != one.instance || entry->type != one.type ||
          entry->first != one.first) {
        return true;
      }
      found_.push_back(found_part(**record, one));
      ++matched;
      return true;
    }));
    if (matched >= wanted.size()) return {};
    return damaged(fmt::format("record {} does not have all attributes that record {} lists",
                               wanted[0].record, id_));
  }

  // Parts of one attribute follow one another.
  Result<void> join() {
    std::stable_sort(found_.begin(), found_.end(), is_before);
    for (FoundPart& found : found_) {
      if (found.part.first == 0) {
        const Stream* const before = file_->streams.empty() ? nullptr : &file_->streams.back();
        const bool again = before != nullptr && before->type == found.stream.type &&
                           before->name == found.stream.name;
        if (again && (!found.stream.is_resident || !before->is_resident)) return broken(found);
        file_->streams.push_back(std::move(found.stream));
        file_->streams.back().parts.push_back(found.part);
        continue;
      }
      Stream* const whole = file_->streams.empty() ? nullptr : &file_->streams.back();
      if (whole == nullptr || whole->type != found.stream.type ||
          whole->name != found.stream.name || whole->is_resident ||
          whole->parts.back().end != found.part.first) {
        return broken(found);
      }
      whole->parts.push_back(found.part);
    }
    return {};
  }

  Error broken(const FoundPart& found) const {
    return damaged(fmt::format("attribute 0x{:x} of record {} has parts that do not fit",
                               found.stream.type, id_));
  }

  Volume& volume_;
  const uint64_t id_;
  std::shared_ptr<File> file_ = std::make_shared<File>();
  std::vector<FoundPart> found_;
};

// Makes segments of runs: cuts them at what is initialized and at the size, and puts the runs of a
// unit together where the stream is compressed.
class Segmenter {
 public:
  Segmenter(Volume& volume, const Stream& stream, uint64_t from, const VisitSegment& visit)
      : volume_(volume), stream_(stream), from_(from), visit_(visit) {}

  Result<void> run() {
    if (stream_.size == 0) return {};
    if (stream_.is_resident) {
      SNAP_TRY(visit_({Segment::Kind::kWithin, 0, stream_.size, 0}));
      return {};
    }
    SNAP_TRY(check_unit());
    for (const Part& part : stream_.parts) {
      if (ended_) return {};
      if (can_skip(part)) continue;
      SNAP_TRY(add_part(part));
    }
    if (ended_) return {};
    SNAP_TRY(finish_unit());
    if (ended_ || done_ >= stream_.size) return {};
    return damaged(fmt::format("attribute 0x{:x} of record {} has clusters for {} bytes of {}",
                               stream_.type, stream_.parts[0].record, done_, stream_.size));
  }

 private:
  uint64_t bytes_of(uint64_t clusters) const { return clusters << volume_.boot().cluster_bits; }
  uint64_t unit_clusters() const { return uint64_t{1} << stream_.unit_bits; }

  Result<void> check_unit() const {
    if (!stream_.is_compressed()) return {};
    if ((stream_.flags & kIsCompressed) != 1) {
      return Error(
          ErrorCode::kUnsupported,
          fmt::format("attribute 0x{:x} of record {} is compressed by method {}", stream_.type,
                      stream_.parts[0].record, stream_.flags & kIsCompressed));
    }
    if (stream_.unit_bits > 16 || bytes_of(unit_clusters()) > kMostUnitBytes) {
      return damaged(fmt::format("record {} is compressed in units of 2^{} clusters",
                                 stream_.parts[0].record, stream_.unit_bits));
    }
    return {};
  }

  // A part that ends before where it is read from, unless a unit passes its end.
  bool can_skip(const Part& part) {
    if (bytes_of(part.end) > from_) return false;
    if (stream_.is_compressed() && (!unit_.empty() || part.end % unit_clusters() != 0)) {
      return false;
    }
    done_ = bytes_of(part.end);
    return true;
  }

  Result<void> add_part(const Part& part) {
    SNAP_ASSIGN(const auto record, volume_.record(part.record));
    SNAP_ASSIGN(const Attribute attribute, attribute_at(*record, stream_, part));
    return visit_mapping(attribute, part.record, volume_.boot().clusters,
                         [&](const Run& run) -> Result<bool> {
                           SNAP_TRY(count(run));
                           SNAP_TRY(stream_.is_compressed() ? add_to_unit(run) : add(run));
                           return !ended_;
                         });
  }

  // No stream has more clusters than the volume: else some are there twice.
  Result<void> count(const Run& run) {
    if (run.place) clusters_ += run.length;
    if (clusters_ <= volume_.boot().clusters) return {};
    return damaged(fmt::format("attribute 0x{:x} of record {} has more clusters than there are",
                               stream_.type, stream_.parts[0].record));
  }

  Result<void> add(const Run& run) {
    const uint64_t end = bytes_of(run.first + run.length);
    if (!run.place) return zeros_up_to(end);
    SNAP_TRY(data_up_to(end, {Segment::Kind::kPlace, 0, 0, bytes_of(*run.place)}));
    return zeros_up_to(end);
  }

  // What is initialized of it.
  Result<void> data_up_to(uint64_t end, Segment segment) {
    end = std::min({end, stream_.initialized, stream_.size});
    if (ended_ || done_ >= end) return {};
    segment.offset = done_;
    segment.length = end - done_;
    done_ = end;
    return give(segment);
  }
  Result<void> zeros_up_to(uint64_t end) {
    end = std::min(end, stream_.size);
    if (ended_ || done_ >= end) return {};
    const Segment segment{Segment::Kind::kZeros, done_, end - done_, 0};
    done_ = end;
    return give(segment);
  }
  Result<void> give(const Segment& segment) {
    if (segment.offset + segment.length > from_) {
      SNAP_ASSIGN(const bool goes_on, visit_(segment));
      ended_ = !goes_on;
    }
    ended_ = ended_ || done_ >= stream_.size;
    return {};
  }

  Result<void> add_to_unit(Run run) {
    while (run.length > 0 && !ended_) {
      const uint64_t within = run.first % unit_clusters();
      uint64_t taken = std::min(run.length, unit_clusters() - within);
      if (within == 0 && run.length >= unit_clusters()) {
        SNAP_TRY(finish_unit());
        taken = run.length / unit_clusters() * unit_clusters();
        SNAP_TRY(add({run.first, taken, run.place}));
      } else {
        if (within == 0) SNAP_TRY(finish_unit());
        unit_.push_back({run.first, taken, run.place});
      }
      run.first += taken;
      run.length -= taken;
      if (run.place) *run.place += taken;
    }
    return {};
  }

  // A unit that has all of its clusters is as it is; one that has none is zeros.
  Result<void> finish_unit() {
    if (unit_.empty() || ended_) return {};
    const std::vector<Run> unit = std::move(unit_);
    unit_.clear();
    const uint64_t first = unit[0].first / unit_clusters() * unit_clusters();
    uint64_t held = 0;
    bool has_hole = false;
    bool is_mixed = unit[0].first != first;
    Segment segment{Segment::Kind::kPacked, 0, 0, 0, bytes_of(first)};
    for (const Run& run : unit) {
      is_mixed = is_mixed || (has_hole && run.place);
      has_hole = has_hole || !run.place;
      if (!run.place) continue;
      held += run.length;
      segment.packed.push_back(run);
    }
    if (is_mixed) {
      return damaged(fmt::format("record {} has a unit of compression with clusters past a hole",
                                 stream_.parts[0].record));
    }
    const uint64_t end = bytes_of(first + unit_clusters());
    if (held == unit_clusters()) {
      for (const Run& run : unit) SNAP_TRY(add(run));
      return {};
    }
    if (held > 0) SNAP_TRY(data_up_to(end, std::move(segment)));
    return zeros_up_to(end);
  }

  Volume& volume_;
  const Stream& stream_;
  const uint64_t from_;
  const VisitSegment& visit_;
  uint64_t done_ = 0;
  uint64_t clusters_ = 0;
  bool ended_ = false;
  std::vector<Run> unit_;  // runs of the unit that is not yet whole
};

bool are_same(const std::vector<Run>& a, const std::vector<Run>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Run& x, const Run& y) {
    return x.place == y.place && x.length == y.length;
  });
}

}  // namespace

const Stream* File::find(uint32_t type, Bytes name) const {
  for (const Stream& stream : streams) {
    if (stream.type == type && stream.name == text_of(name)) return &stream;
  }
  return nullptr;
}

Result<std::shared_ptr<const File>> load_file(Volume& volume, uint64_t id) {
  return FileLoader(volume, id).load();
}

Result<void> visit_segments(Volume& volume, const Stream& stream, uint64_t from,
                            const VisitSegment& visit) {
  return Segmenter(volume, stream, from, visit).run();
}

Result<void> visit_clusters(Volume& volume, const Stream& stream,
                            const std::function<Result<bool>(const Run&)>& visit) {
  if (stream.is_resident) return {};
  for (const Part& part : stream.parts) {
    SNAP_ASSIGN(const auto record, volume.record(part.record));
    SNAP_ASSIGN(const Attribute attribute, attribute_at(*record, stream, part));
    SNAP_TRY(visit_mapping(attribute, part.record, volume.boot().clusters, visit));
  }
  return {};
}

Result<std::vector<std::byte>> value_of(Volume& volume, const Stream& stream) {
  SNAP_CHECK(stream.is_resident);
  const Part& part = stream.parts[0];
  SNAP_ASSIGN(const auto record, volume.record(part.record));
  SNAP_ASSIGN(const Attribute attribute, attribute_at(*record, stream, part));
  return std::vector<std::byte>(attribute.value.begin(), attribute.value.end());
}

Result<void> StreamReader::read(const Stream& stream, uint64_t offset, std::span<std::byte> out) {
  SNAP_CHECK(offset <= stream.size && out.size() <= stream.size - offset);
  const uint64_t end = offset + out.size();
  return visit_segments(volume_, stream, offset, [&](const Segment& one) -> Result<bool> {
    const uint64_t from = std::max(one.offset, offset);
    const uint64_t to = std::min(one.offset + one.length, end);
    if (from >= to) return one.offset < end;
    SNAP_TRY(volume_.pages().poll());
    const std::span<std::byte> piece = out.subspan(from - offset, to - from);
    switch (one.kind) {
      case Segment::Kind::kPlace:
        SNAP_TRY(volume_.pages().read_data(one.place + (from - one.offset), piece));
        break;
      case Segment::Kind::kZeros:
        std::fill(piece.begin(), piece.end(), std::byte{0});
        break;
      case Segment::Kind::kPacked:
        SNAP_TRY(read_packed(stream, one, from, piece));
        break;
      case Segment::Kind::kWithin: {
        SNAP_ASSIGN(const std::vector<std::byte> value, value_of(volume_, stream));
        std::copy_n(value.begin() + static_cast<ptrdiff_t>(from), piece.size(), piece.begin());
        break;
      }
    }
    return to < end;
  });
}

Result<void> StreamReader::read_packed(const Stream& stream, const Segment& segment,
                                       uint64_t offset, std::span<std::byte> out) {
  const unsigned bits = volume_.boot().cluster_bits;
  const uint64_t unit_bytes = uint64_t{1} << (stream.unit_bits + bits);
  if (unit_.size() != unit_bytes || !are_same(unit_of_, segment.packed)) {
    unit_of_.clear();
    std::vector<std::byte> packed;
    for (const Run& run : segment.packed) {
      const size_t done = packed.size();
      packed.resize(done + (run.length << bits));
      SNAP_TRY(volume_.pages().read_data(*run.place << bits, std::span(packed).subspan(done)));
    }
    unit_.resize(unit_bytes);
    const auto unpacked = unpack_lznt1(packed, unit_);
    if (!unpacked) {
      return Error(unpacked.error())
          .with_context(fmt::format("byte {} of attribute 0x{:x} of record {}", segment.unit,
                                    stream.type, stream.parts[0].record));
    }
    unit_of_ = segment.packed;
  }
  std::memcpy(out.data(), unit_.data() + (offset - segment.unit), out.size());
  return {};
}

Result<std::vector<std::byte>> StreamReader::read_all(const Stream& stream, size_t most) {
  if (stream.size > most) {
    return damaged(fmt::format("attribute 0x{:x} of record {} has {} bytes", stream.type,
                               stream.parts[0].record, stream.size));
  }
  std::vector<std::byte> all(stream.size);
  SNAP_TRY(read(stream, 0, all));
  return all;
}

Result<bool> BitReader::at(uint64_t index) {
  if (index / 8 >= stream_.size) return false;
  const uint64_t start = round_down(index / 8, kWindow);
  if (start_ != start) {
    start_ = UINT64_MAX;
    window_.resize(std::min(kWindow, stream_.size - start));
    SNAP_TRY(reader_.read(stream_, start, window_));
    start_ = start;
  }
  return (std::to_integer<unsigned>(window_[index / 8 - start]) >> (index % 8) & 1U) != 0;
}

}  // namespace snaptool::ntfs
