// SPDX-License-Identifier: Apache-2.0
#include "formats/ewf/ewf_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "formats/common/zlib_format.h"
#include "formats/ewf/header_text.h"
#include "formats/ewf/layout.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/idle_pool.h"
#include "libsnap/base/printable.h"

namespace snaptool::ewf {
namespace {

constexpr uint64_t kMostNewSize = uint64_t{1} << 46U;  // 64 TiB
constexpr uint64_t kLeastNewChunk = 8 * kKiB;
constexpr size_t kMostEntries = 16375;  // of a table, as every reader takes them
constexpr size_t kMostValue = 2999;     // bytes of a text: EnCase takes no more
constexpr uint64_t kLeastPiece = 128 * kKiB;
constexpr int kWindowBits = 15;  // zlib's most

// How an image is made.
struct Plan {
  Volume volume;
  int level = 1;  // of zlib; 0: nothing but zeros is compressed
  HeaderValues header;
  bool derives_identifier = false;  // from the content, so that it is the same again
  uint64_t group = 0;    // bytes of chunks that get a table of their own, or a chunk more
  uint64_t segment = 0;  // bytes of a segment at most; 0: there is one
  const Cancel* cancel = nullptr;

  uint64_t chunk() const { return volume.chunk_bytes(); }
  uint64_t size() const { return volume.size(); }
};

// What is in a WritePiece::sizes of a chunk that is stored as it is: its sum.
constexpr size_t kPlain = kSumBytes;

class EwfWriter : public access::ImageWriter {
 public:
  // `begin_segment` is called before each.
  EwfWriter(ByteSink sink, std::function<Result<void>()> begin_segment, Plan plan)
      : sink_(std::move(sink)),
        begin_segment_(std::move(begin_segment)),
        plan_(std::move(plan)),
        zeros_(plan_.chunk()) {}

  uint64_t unit_size() const override { return plan_.chunk(); }
  uint64_t piece_size() const override { return std::max(plan_.chunk(), kLeastPiece); }

  Result<void> prepare(access::WritePiece& piece) override {
    auto deflater = deflaters_.take(
        [this] { return std::make_unique<Deflater>(kWindowBits, std::max(1, plan_.level)); });
    piece.sizes.assign(piece.units.size(), 0);
    piece.packed.resize(piece.units.size() * plan_.chunk());
    auto rest = std::span(piece.packed);
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] != access::UnitKind::kData) continue;
      const auto content = unit_of(piece, i);
      std::optional<size_t> packed;
      if (plan_.level > 0) packed = pack_zlib(*deflater, content, rest.first(content.size()));
      if (!packed) store_le(rest.data(), adler32(content));
      piece.sizes[i] = packed.value_or(kPlain);
      rest = rest.subspan(piece.sizes[i]);
    }
    return {};
  }

  Result<void> place(access::WritePiece& piece) override {
    if (image_at_ == 0 && piece.offset == 0) SNAP_TRY(begin_image(unit_of(piece, 0)));
    SNAP_TRY(zeros_to(piece.offset));
    add_to_sums(piece.data);
    auto rest = std::span<const std::byte>(piece.packed);
    for (size_t i = 0; i < piece.units.size(); ++i) {
      const auto content = unit_of(piece, i);
      const auto stored = rest.first(piece.sizes[i]);
      rest = rest.subspan(stored.size());
      if (stored.empty()) {
        SNAP_TRY(add_zero_chunk(content.size()));
      } else if (stored.size() == kPlain) {
        SNAP_TRY(add_chunk(content.size(), content, stored, 0));
      } else {
        SNAP_TRY(add_chunk(content.size(), stored, {}, kCompressedBit));
      }
    }
    return {};
  }

  Result<void> write(access::WritePiece& /*piece*/) override { return {}; }

  Result<void> finish() override {
    SNAP_TRY(zeros_to(plan_.size()));
    SNAP_TRY(end_group());
    SNAP_TRY(put_section("data", encode_volume(plan_.volume)));
    std::array<std::byte, kHashBytes> hash{};
    std::array<std::byte, kDigestBytes> digest{};
    std::array<std::byte, 64> sum{};
    const size_t md5 = md5_.finish(sum);
    sums_.push_back({"md5", hex_of(std::span(sum).first(md5))});
    std::copy_n(sum.begin(), md5, hash.begin());
    std::copy_n(sum.begin(), md5, digest.begin());
    const size_t sha1 = sha1_.finish(sum);
    sums_.push_back({"sha1", hex_of(std::span(sum).first(sha1))});
    std::copy_n(sum.begin(), sha1, digest.begin() + static_cast<ptrdiff_t>(md5));
    put_sum(hash);
    put_sum(digest);
    SNAP_TRY(put_section("digest", digest));
    SNAP_TRY(put_section("hash", hash));
    return put(encode_last_section("done", at_));
  }
  std::vector<access::ImageSum> sums() const override { return sums_; }

 private:
  std::span<const std::byte> unit_of(const access::WritePiece& piece, uint64_t unit) const {
    const uint64_t at = unit * plan_.chunk();
    return piece.data.subspan(at, std::min(plan_.chunk(), piece.data.size() - at));
  }

  void add_to_sums(std::span<const std::byte> content) {
    md5_.update(content);
    sha1_.update(content);
  }

  // What is before `offset` and did not come is zeros.
  Result<void> zeros_to(uint64_t offset) {
    SNAP_TRY(begin_image(std::span(zeros_).first(std::min(plan_.chunk(), plan_.size()))));
    while (image_at_ < offset) {
      if (plan_.cancel != nullptr && plan_.cancel->requested()) {
        return Error(ErrorCode::kInterrupted, "interrupted");
      }
      const uint64_t length = std::min(plan_.chunk(), offset - image_at_);
      add_to_sums(std::span(zeros_).first(length));
      SNAP_TRY(add_zero_chunk(length));
    }
    return {};
  }

  // All of one length are the same.
  Result<void> add_zero_chunk(uint64_t length) {
    if (zero_length_ != length) {
      Deflater deflater(kWindowBits);
      zero_chunk_.resize(length);
      const auto packed = pack_zlib(deflater, std::span(zeros_).first(length), zero_chunk_);
      SNAP_CHECK(packed.has_value());
      zero_chunk_.resize(*packed);
      zero_length_ = length;
    }
    return add_chunk(length, zero_chunk_, {}, kCompressedBit);
  }

  // A chunk of so many bytes of the image, and what is stored of it.
  Result<void> add_chunk(uint64_t length, std::span<const std::byte> stored,
                         std::span<const std::byte> sum, uint32_t bit) {
    entries_.push_back(static_cast<uint32_t>(kSectionBytes + group_.size()) | bit);
    group_.insert(group_.end(), stored.begin(), stored.end());
    group_.insert(group_.end(), sum.begin(), sum.end());
    image_at_ += length;
    if (entries_.size() < kMostEntries && group_.size() < plan_.group) return {};
    return end_group();
  }

  // Writes the chunks that wait, and their table, twice.
  Result<void> end_group() {
    if (entries_.empty()) return {};
    SNAP_TRY(make_room());
    TableHeader header;
    header.entries = static_cast<uint32_t>(entries_.size());
    header.base = at_;
    SNAP_TRY(put_section("sectors", group_));
    const auto head = encode_table_header(header);
    std::vector<std::byte> table(head.begin(), head.end());
    table.resize(head.size() + kEntryBytes * entries_.size() + kSumBytes);
    const auto body = std::span(table).subspan(head.size());
    for (size_t i = 0; i < entries_.size(); ++i) {
      store_le(body.data() + kEntryBytes * i, entries_[i]);
    }
    put_sum(body);
    SNAP_TRY(put_section("table", table));
    SNAP_TRY(put_section("table2", table));
    entries_.clear();
    group_.clear();
    ++segment_groups_;
    return {};
  }

  // Begins another segment where what waits does not fit this one.
  Result<void> make_room() {
    constexpr uint64_t kEnd = 4 * kSectionBytes + kVolumeBytes + kHashBytes + kDigestBytes;
    const uint64_t table =
        kSectionBytes + kTableHeaderBytes + kEntryBytes * entries_.size() + kSumBytes;
    const uint64_t size = kSectionBytes + group_.size() + 2 * table + kEnd;
    if (plan_.segment == 0 || segment_groups_ == 0 || at_ + size <= plan_.segment) return {};
    SNAP_TRY(put(encode_last_section("next", at_)));
    SNAP_TRY(begin_file());
    return put_section("data", encode_volume(plan_.volume));
  }

  Result<void> begin_file() {
    SNAP_TRY(begin_segment_());
    at_ = 0;
    segment_groups_ = 0;
    ++segment_;
    return put(encode_file_header(segment_));
  }

  // The sink may not be used before the first piece. `first`: the image's first chunk.
  Result<void> begin_image(std::span<const std::byte> first) {
    if (segment_ > 0) return {};
    SNAP_TRY(begin_file());
    const std::vector<std::byte> text = encode_header2_text(plan_.header);
    if (plan_.derives_identifier) derive_identifier(text, first);
    const auto header2 = packed_text(text);
    SNAP_TRY(put_section("header2", header2));
    SNAP_TRY(put_section("header2", header2));
    SNAP_TRY(put_section("header", packed_text(encode_header_text(plan_.header))));
    return put_section("volume", encode_volume(plan_.volume));
  }

  void derive_identifier(std::span<const std::byte> text, std::span<const std::byte> first) {
    const auto volume = encode_volume(plan_.volume);
    std::vector<std::byte> seed(volume.begin(), volume.end());
    seed.insert(seed.end(), text.begin(), text.end());
    seed.insert(seed.end(), first.begin(), first.end());
    plan_.volume.set_identifier = derived_identifier(seed);
  }

  static std::vector<std::byte> packed_text(const std::vector<std::byte>& text) {
    Deflater deflater(kWindowBits);
    std::vector<std::byte> packed(2 * text.size() + kKiB);
    const auto length = pack_zlib(deflater, text, packed);
    SNAP_CHECK(length.has_value());
    packed.resize(*length);
    return packed;
  }

  Result<void> put_section(std::string_view type, std::span<const std::byte> body) {
    SNAP_TRY(put(encode_section(type, at_, body.size())));
    return put(body);
  }

  Result<void> put(std::span<const std::byte> bytes) {
    at_ += bytes.size();
    return sink_(bytes);
  }

  ByteSink sink_;
  std::function<Result<void>()> begin_segment_;
  Plan plan_;
  IdlePool<Deflater> deflaters_;
  std::vector<access::ImageSum> sums_;
  Hash md5_{HashAlgorithm::kMd5};
  Hash sha1_{HashAlgorithm::kSha1};
  std::vector<std::byte> zeros_;       // of a chunk
  std::vector<std::byte> zero_chunk_;  // compressed
  uint64_t zero_length_ = 0;           // the bytes that it stands for
  RawBytes group_;                     // chunks that wait for their table
  std::vector<uint32_t> entries_;      // of that table
  uint64_t image_at_ = 0;              // what is before it was put, bytes of the image
  unsigned segment_ = 0;               // the number of the one that is written
  uint64_t segment_groups_ = 0;        // that it has
  uint64_t at_ = 0;                    // its bytes that were written
};

Error bad_value(const std::string& name, const std::string& value, std::string_view wanted) {
  return {ErrorCode::kInvalidArgument, fmt::format("{}={}: {}", name, excerpt(value), wanted)};
}

std::string given(const access::CreateOptions& options, const std::string& name) {
  const auto found = options.settings.find(name);
  return found == options.settings.end() ? "" : found->second;
}

Result<void> plan_compression(const access::CreateOptions& options, Plan& plan) {
  const std::string value = given(options, "compression");
  if (value.empty() || value == "fast") {
    plan.level = plan.volume.compression = 1;
  } else if (value == "best") {
    plan.level = 9;
    plan.volume.compression = 2;
  } else if (value == "none" && !options.compress) {
    plan.level = plan.volume.compression = 0;
  } else {
    return bad_value("compression", value,
                     options.compress ? "fast or best is wanted" : "none, fast or best is wanted");
  }
  return {};
}

Result<void> plan_chunks(const access::CreateOptions& options, Plan& plan) {
  Volume& volume = plan.volume;
  volume.sector_bytes = kSectorSize;
  volume.sectors = options.size / kSectorSize;
  uint64_t chunk = 32 * kKiB;
  if (const std::string value = given(options, "chunk"); !value.empty()) {
    const auto size = parse_size(value);
    if (!size || !std::has_single_bit(*size) || *size < kLeastNewChunk || *size > kMostChunk) {
      return bad_value("chunk", value, "a power of 2 from 8k to 16M is wanted");
    }
    chunk = *size;
  }
  if (options.size > kMostNewSize || div_round_up(options.size, chunk) > UINT32_MAX) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("{} bytes are more than an E01 image is made with in chunks of {}",
                             options.size, format_size(chunk)));
  }
  volume.chunk_sectors = static_cast<uint32_t>(chunk / kSectorSize);
  volume.chunks = static_cast<uint32_t>(div_round_up(options.size, chunk));
  volume.error_sectors = volume.chunk_sectors;
  constexpr uint64_t kLeastGroup = 8 * kMiB;
  constexpr uint64_t kMostGroup = 64 * kMiB;
  constexpr uint64_t kManyGroups = 65536;
  plan.group = kLeastGroup;
  while (plan.group < kMostGroup && options.size / plan.group > kManyGroups) plan.group *= 2;
  return {};
}

// Seconds since 1970: when it is made, or as the environment says, so that it can be made again.
// Errors: kInvalidArgument.
Result<std::optional<uint64_t>> time_of_environment() {
  const char* const epoch = std::getenv("SOURCE_DATE_EPOCH");  // NOLINT: nobody sets variables
  if (epoch == nullptr) return std::optional<uint64_t>();
  const std::string text = epoch;
  uint64_t seconds = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (failed == std::errc() && end == text.data() + text.size() && seconds <= UINT32_MAX) {
    return std::optional(seconds);
  }
  return Error(ErrorCode::kInvalidArgument, fmt::format("SOURCE_DATE_EPOCH={}: seconds since 1970 "
                                                        "are wanted",
                                                        excerpt(text)));
}

// Who made it, and when; of the user only what is given.
Result<void> plan_header(const access::CreateOptions& options, Plan& plan) {
  static constexpr std::array<std::pair<const char*, const char*>, 5> kValues = {
      {{"case_number", "c"},
       {"evidence_number", "n"},
       {"description", "a"},
       {"examiner", "e"},
       {"notes", "t"}}};
  for (const auto& [name, key] : kValues) {
    const std::string value = given(options, name);
    if (value.size() > kMostValue || !can_be_header_value(value)) {
      return bad_value(name, value, "a line of text of up to 2999 bytes is wanted");
    }
    plan.header[key] = value;
  }
  SNAP_ASSIGN(const auto fixed, time_of_environment());
  const uint64_t seconds = fixed.value_or(static_cast<uint64_t>(std::time(nullptr)));
  plan.header["m"] = plan.header["u"] = fmt::format("{}", seconds);
  plan.header["av"] = "snaptool";
  plan.header["ov"] = "Linux";
  plan.derives_identifier = fixed.has_value();
  if (!fixed) plan.volume.set_identifier = random_uuid(UuidOrder::kGuid);
  return {};
}

// Requires: plan_chunks was done.
Result<void> plan_segments(const access::CreateOptions& options, Plan& plan) {
  const std::string name(kSegmentSize);
  const std::string value = given(options, name);
  if (value.empty()) return {};
  const auto size = parse_size(value);
  constexpr uint64_t kChunksOfSegment = 8;
  const uint64_t least = std::max<uint64_t>(kMiB, kChunksOfSegment * plan.chunk());
  if (!size || *size < least) {
    return bad_value(name, value, fmt::format("{} or more is wanted", format_size(least)));
  }
  plan.segment = *size;
  plan.group = std::min(plan.group, plan.segment / 4);
  return {};
}

Result<Plan> plan_image(const access::CreateOptions& options) {
  SNAP_CHECK(!options.parent && options.size % kSectorSize == 0);
  constexpr uint8_t kFixedDisk = 1;
  constexpr uint8_t kImageOfDevice = 3;
  Plan plan;
  plan.volume.media_type = kFixedDisk;
  plan.volume.media_flags = kImageOfDevice;
  plan.cancel = options.cancel;
  SNAP_TRY(plan_compression(options, plan));
  SNAP_TRY(plan_chunks(options, plan));
  SNAP_TRY(plan_segments(options, plan));
  SNAP_TRY(plan_header(options, plan));
  return plan;
}

}  // namespace

Result<std::unique_ptr<access::ImageWriter>> stream_image(ByteSink sink,
                                                          const access::CreateOptions& options) {
  SNAP_ASSIGN(Plan plan, plan_image(options));
  return std::make_unique<EwfWriter>(
      std::move(sink), [] { return Result<void>(); }, std::move(plan));
}

Result<std::unique_ptr<access::ImageWriter>> stream_parts(access::PartsSink sink,
                                                          const access::CreateOptions& options) {
  SNAP_ASSIGN(Plan plan, plan_image(options));
  return std::make_unique<EwfWriter>(std::move(sink.write), std::move(sink.begin_part),
                                     std::move(plan));
}

}  // namespace snaptool::ewf
