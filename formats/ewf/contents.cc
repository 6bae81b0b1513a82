// SPDX-License-Identifier: Apache-2.0
#include "formats/ewf/contents.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/common/zlib_format.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/printable.h"

namespace snaptool::ewf {
namespace {

constexpr size_t kMostTables = size_t{1} << 20U;  // 512 TiB of an image, as most writers make them
constexpr size_t kMostText = kMiB;                // of a header
constexpr int kMostTexts = 8;                     // that are looked at: writers have three
constexpr size_t kMostProblems = 64;
constexpr size_t kMostErrorLists = 1024;

// A table that was just read, whose copy may follow.
struct PendingTable {
  Section section;
  Result<TableHeader> header;
};

// Reads the sections of one segment, and adds what they say.
class SegmentReader {
 public:
  SegmentReader(Contents& contents, uint32_t segment, const Cancel& cancel)
      : contents_(contents), segment_(segment), file_(contents.file_of(segment)), cancel_(cancel) {}

  // What the file calls itself. `expected`: what it must; 0: anything.
  Result<unsigned> read(unsigned expected) {
    std::array<std::byte, kFileHeaderBytes> header{};
    if (file_.size() < header.size()) return broken("its header is cut off");
    SNAP_TRY(file_.read_at(0, header));
    SNAP_ASSIGN(const unsigned number, parse_file_header(header));
    if (expected != 0 && number != expected) {
      return broken(
          fmt::format("it is segment {} of an image, not {} as its name says", number, expected));
    }
    auto read = read_sections();
    // Where it breaks off, a table may have been read whose copy was not.
    if (!read && pending_) (void)add_pending();
    SNAP_TRY(read);
    if (segment_ > 0 && !identified_) contents_.belongs_together = false;
    return number;
  }

 private:
  Result<void> read_sections() {
    for (uint64_t at = kFileHeaderBytes;;) {
      if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      std::array<std::byte, kSectionBytes> bytes{};
      if (file_.size() < kSectionBytes || at > file_.size() - kSectionBytes) {
        return broken(fmt::format("it ends at byte {}, within its sections: it was cut", at));
      }
      SNAP_TRY(file_.read_at(at, bytes));
      auto section = parse_section(bytes, at, file_.size());
      if (!section) {
        return std::move(section).error().with_context(fmt::format("at byte {}", at));
      }
      if (pending_ && section->type != "table2") SNAP_TRY(add_pending());
      auto read = read_section(*section);
      if (!read) {
        return std::move(read).error().with_context(
            fmt::format("the section '{}' at byte {}", excerpt(section->type), at));
      }
      if (section->last) return end(*section);
      at = section->end;
    }
  }

  Result<void> end(const Section& section) {
    contents_.finished = section.type == "done";
    if (contents_.finished || section.type == "next") return {};
    return broken(fmt::format("it ends with the section '{}' at byte {}: it was not finished",
                              excerpt(section.type), section.start));
  }

  Result<void> read_section(const Section& section) {
    if (pending_ && section.type == "table2") return add_copy(section);
    if (section.type == "volume" || section.type == "disk") return read_volume(section);
    if (section.type == "data") return read_data(section);
    if (section.type == "sectors") {
      sectors_ = section;
      tables_of_sectors_ = 0;
    }
    if (section.type == "table" || section.type == "table2") return read_table(section);
    if (section.type == "header" || section.type == "header2") return read_text(section);
    if (section.type == "hash") return read_hash(section);
    if (section.type == "digest") return read_digest(section);
    if (section.type == "error2") return read_errors(section);
    return {};  // sessions of discs, and what others have added
  }

  Result<std::vector<std::byte>> read_body(const Section& section, size_t size) {
    if (section.body_size() < size) return broken("it is too short");
    std::vector<std::byte> bytes(size);
    SNAP_TRY(file_.read_at(section.body(), bytes));
    return bytes;
  }

  Result<Volume> volume_of(const Section& section) {
    const bool smart = section.body_size() < kVolumeBytes;
    SNAP_ASSIGN(const auto bytes, read_body(section, smart ? kSmartVolumeBytes : kVolumeBytes));
    return parse_volume(bytes);
  }

  Result<void> read_volume(const Section& section) {
    if (contents_.volume) return broken("the image has another one");
    SNAP_ASSIGN(contents_.volume, volume_of(section));
    return {};
  }

  // The same again, as the last segment and all but the first have it.
  Result<void> read_data(const Section& section) {
    const bool smart = section.body_size() < kVolumeBytes;
    SNAP_ASSIGN(const auto bytes, read_body(section, smart ? kSmartVolumeBytes : kVolumeBytes));
    if (!has_right_sum(bytes)) {
      // Some writers leave it out.
      const bool is_left_out = load_le<uint32_t>(bytes.data() + bytes.size() - kSumBytes) == 0;
      if (!is_left_out) problem(section, "its Adler-32 is wrong");
      return {};
    }
    SNAP_ASSIGN(const Volume data, parse_volume(bytes));
    if (!contents_.volume) {
      contents_.volume = data;
      return {};
    }
    const Volume& known = *contents_.volume;
    if (!is_same_medium(known, data)) {
      return broken(
          fmt::format("it is of another image: of {} sectors of {} bytes in {} chunks of "
                      "{}, not of {} of {} in {} of {}",
                      data.sectors, data.sector_bytes, data.chunks, data.chunk_sectors,
                      known.sectors, known.sector_bytes, known.chunks, known.chunk_sectors));
    }
    identified_ =
        can_tell_apart(data.set_identifier) && known.set_identifier == data.set_identifier;
    const bool says = !is_null(known.set_identifier) && !is_null(data.set_identifier);
    if (!says || known.set_identifier == data.set_identifier) return {};
    return broken(fmt::format("it is of the image {}, not of {}",
                              uuid_text(data.set_identifier, UuidOrder::kGuid),
                              uuid_text(known.set_identifier, UuidOrder::kGuid)));
  }

  Result<void> read_table(const Section& section) {
    SNAP_ASSIGN(const auto bytes, read_body(section, kTableHeaderBytes));
    if (section.type == "table2") {
      problem(section, "its table is missing, and it is used instead");
    }
    pending_.emplace(PendingTable{section, parse_table_header(bytes)});
    return {};
  }

  Result<void> add_pending() {
    const PendingTable table = std::move(*pending_);
    pending_.reset();
    auto added = table.header ? add_table(table.section, *table.header, 0)
                              : Result<void>(table.header.error());
    if (added) return added;
    return std::move(added).error().with_context(
        fmt::format("the section 'table' at byte {}", table.section.start));
  }

  // table2, right after its table.
  Result<void> add_copy(const Section& section) {
    const PendingTable table = std::move(*pending_);
    pending_.reset();
    SNAP_ASSIGN(const auto bytes, read_body(section, kTableHeaderBytes));
    const auto header = parse_table_header(bytes);
    if (!table.header && !header) return header.error();
    if (!table.header) {
      problem(table.section, "it is damaged, and table2 is used instead");
      return add_table(section, *header, 0);
    }
    if (!header) {
      problem(section, "the copy of a table is damaged");
      return add_table(table.section, *table.header, 0);
    }
    if (header->entries != table.header->entries || header->base != table.header->base) {
      return broken("it is not as the table that it is the copy of");
    }
    if (section.body_size() <
        kTableHeaderBytes + sum_bytes() + kEntryBytes * uint64_t{header->entries}) {
      return broken("it is too short for its entries");
    }
    return add_table(table.section, *table.header, section.body() + kTableHeaderBytes);
  }

  uint64_t sum_bytes() const {
    return contents_.volume && contents_.volume->is_smart ? 0 : kSumBytes;
  }

  Result<void> add_table(const Section& section, const TableHeader& header, uint64_t copy) {
    if (header.entries == 0) return {};
    Table table;
    table.segment = segment_;
    table.entries = header.entries;
    table.first_chunk = contents_.chunks;
    table.base = header.base;
    table.position = section.body() + kTableHeaderBytes;
    table.copy = copy;
    table.has_sum = sum_bytes() != 0;
    const uint64_t bytes = kTableHeaderBytes + kEntryBytes * uint64_t{header.entries} + sum_bytes();
    if (section.body_size() < bytes) {
      return broken(fmt::format("{} entries do not fit it", header.entries));
    }
    if (header.base > file_.size()) return broken("its entries count from past the file's end");
    // The first writers put the chunks after the entries.
    table.data_start = sectors_ ? sectors_->body() : section.body() + bytes;
    table.data_end = sectors_ ? sectors_->end : section.end;
    if (sectors_ && ++tables_of_sectors_ > 1) SNAP_TRY(divide_sectors(table));
    contents_.chunks += header.entries;
    if (contents_.tables.size() == kMostTables) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("an image with more than {} tables is not read", kMostTables));
    }
    contents_.tables.push_back(table);
    return {};
  }

  // Tables that share their sectors take them one after the other, so that no byte is of two
  // chunks.
  Result<void> divide_sectors(Table& table) {
    Table& before = contents_.tables.back();
    for (const uint64_t position : {table.position, table.copy}) {
      if (position == 0) continue;  // there is no copy
      std::array<std::byte, kEntryBytes> first{};
      SNAP_TRY(file_.read_at(position, first));
      const uint64_t start = table.base + (load_le<uint32_t>(first.data()) & kMostOffset);
      if (start <= before.data_start || start >= before.data_end) continue;
      before.data_end = start;
      table.data_start = start;
      return {};
    }
    return broken("its chunks are not after those of the table before it");
  }

  Result<void> read_text(const Section& section) {
    const bool utf16 = section.type == "header2";
    if (++texts_ > kMostTexts) return {};
    auto values = text_of(section, utf16);
    if (!values) {
      if (values.error().code() != ErrorCode::kCorruption) return values.error();
      problem(section, values.error().describe());
      return {};
    }
    // header2 has more, and is preferred.
    if (utf16 ? has_header2_ : !contents_.header.empty()) return {};
    contents_.header = std::move(*values);
    has_header2_ = utf16;
    return {};
  }

  Result<HeaderValues> text_of(const Section& section, bool utf16) {
    if (section.body_size() > kMostText) return broken("it is too long");
    SNAP_ASSIGN(const auto packed, read_body(section, section.body_size()));
    RawBytes text(kMostText);
    Inflater inflater;
    SNAP_ASSIGN(const size_t length, unpack_zlib(inflater, packed, text));
    return parse_header_text(std::span(text).first(length), utf16);
  }

  // Those that are all zeros are none.
  static std::string sum_text(std::span<const std::byte> sum) {
    const bool none =
        std::all_of(sum.begin(), sum.end(), [](std::byte byte) { return byte == std::byte{0}; });
    return none ? "" : hex_of(sum);
  }

  Result<void> read_hash(const Section& section) {
    SNAP_ASSIGN(const auto bytes, read_body(section, kHashBytes));
    if (!has_right_sum(bytes)) {
      problem(section, "its Adler-32 is wrong");
      return {};
    }
    set_sum(section, contents_.md5, std::span(bytes).first(16));
    return {};
  }

  Result<void> read_digest(const Section& section) {
    SNAP_ASSIGN(const auto bytes, read_body(section, kDigestBytes));
    if (!has_right_sum(bytes)) {
      problem(section, "its Adler-32 is wrong");
      return {};
    }
    set_sum(section, contents_.md5, std::span(bytes).first(16));
    set_sum(section, contents_.sha1, std::span(bytes).subspan(16, 20));
    return {};
  }

  void set_sum(const Section& section, std::string& known, std::span<const std::byte> sum) {
    const std::string text = sum_text(sum);
    if (text.empty()) return;
    if (!known.empty() && known != text) problem(section, "a sum in it is not the one before it");
    known = text;
  }

  Result<void> read_errors(const Section& section) {
    SNAP_ASSIGN(const auto bytes, read_body(section, kErrorHeaderBytes));
    ErrorList errors;
    errors.segment = segment_;
    errors.entries = load_le<uint32_t>(bytes.data());
    errors.position = section.body() + kErrorHeaderBytes;
    const uint64_t size = kErrorHeaderBytes + kErrorBytes * uint64_t{errors.entries} + kSumBytes;
    if (!has_right_sum(bytes) || section.body_size() < size) {
      problem(section, "its header is damaged");
      return {};
    }
    if (contents_.errors.size() < kMostErrorLists) contents_.errors.push_back(errors);
    return {};
  }

  void problem(const Section& section, std::string_view what) {
    if (contents_.problems.size() >= kMostProblems) return;
    contents_.problems.push_back(fmt::format("'{}': the section '{}' at byte {}: {}", file_.name(),
                                             excerpt(section.type), section.start, what));
  }

  Contents& contents_;
  uint32_t segment_;
  File& file_;
  const Cancel& cancel_;
  std::optional<Section> sectors_;  // the last one in this file
  size_t tables_of_sectors_ = 0;    // so many tables lead into it
  std::optional<PendingTable> pending_;
  bool identified_ = false;  // it has the identifier of the image
  bool has_header2_ = false;
  int texts_ = 0;
};

Result<unsigned> add_segment(Contents& contents, std::shared_ptr<File> file, unsigned expected,
                             const Cancel& cancel) {
  contents.files.push_back(std::move(file));
  const auto segment = static_cast<uint32_t>(contents.files.size() - 1);
  auto number = SegmentReader(contents, segment, cancel).read(expected);
  if (number) return number;
  return in_file(std::move(number).error(), contents.file_of(segment));
}

std::string last_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// The segments after the first.
Result<void> read_others(Contents& contents, const std::string& first, const OpenPart& open,
                         const Cancel& cancel) {
  constexpr unsigned kMostSegments = 0xffff;
  for (unsigned number = 2; !contents.finished; ++number) {
    const auto name = segment_name(last_of(first), number);
    if (!name || number > kMostSegments || !open) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("'{}' goes on in another segment, which its name does not lead to "
                               "(x.E01, x.E02 and so on are wanted)",
                               first));
    }
    SNAP_ASSIGN(auto next, open(*name));
    SNAP_TRY(add_segment(contents, std::move(next), number, cancel));
  }
  return {};
}

}  // namespace

Error in_file(Error error, const File& file) {
  return std::move(error).with_context(fmt::format("'{}'", file.name()));
}

Result<Contents> read_segment(std::shared_ptr<File> file, const Cancel& cancel) {
  Contents contents;
  SNAP_ASSIGN(contents.first_number, add_segment(contents, std::move(file), 0, cancel));
  return contents;
}

Result<Contents> read_contents(std::shared_ptr<File> file, const OpenPart& open, bool what_is_left,
                               const Cancel& cancel) {
  const std::string first = file->name();
  Contents contents;
  auto number = add_segment(contents, std::move(file), 0, cancel);
  if (number && *number != 1) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is segment {} of an image: the first one is to be named", first,
                             *number));
  }
  contents.first_problems = contents.problems.size();
  auto read = number ? read_others(contents, first, open, cancel) : Result<void>(number.error());
  if (!read) {
    const ErrorCode code = read.error().code();
    const bool is_damage = code == ErrorCode::kCorruption || code == ErrorCode::kNotFound;
    if (!what_is_left || !contents.volume || !is_damage) return read.error();
    contents.is_cut = true;
    contents.problems.push_back(read.error().describe());
  }
  if (contents.volume) return contents;
  return Error(ErrorCode::kCorruption, fmt::format("'{}' has no section 'volume'", first));
}

}  // namespace snaptool::ewf
